// Vocabularies of GGUF files: "gpt2" (byte-level BPE) and "llama" (SentencePiece by scores).
#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "text/utf8.h"
#include "tokenizer/bpe.h"
#include "tokenizer/gguf_pre.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/sentencepiece.h"

namespace ingot::tokenizer {
namespace {

enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

Status Check(const GgufVocabulary& gguf) {
  if (gguf.tokens.empty()) return InvalidArgument("tokenizer.ggml.tokens is empty");
  if (gguf.tokens.size() > size_t{1} << 24) return Unsupported("tokenizer.ggml.tokens: {} tokens", gguf.tokens.size());
  if (!gguf.scores.empty() && gguf.scores.size() != gguf.tokens.size()) {
    return InvalidArgument("tokenizer.ggml.scores: {} scores of {} tokens", gguf.scores.size(), gguf.tokens.size());
  }
  if (!gguf.token_types.empty() && gguf.token_types.size() != gguf.tokens.size()) {
    return InvalidArgument("tokenizer.ggml.token_type: {} types of {} tokens", gguf.token_types.size(),
                           gguf.tokens.size());
  }
  for (size_t id = 0; id < gguf.scores.size(); ++id) {
    if (std::isnan(gguf.scores[id])) return InvalidArgument("tokenizer.ggml.scores[{}] is no number", id);
  }
  return {};
}

int32_t IdOr(const GgufVocabulary& gguf, const std::optional<int64_t>& id, int32_t fallback) {
  return id && *id >= 0 && *id < static_cast<int64_t>(gguf.tokens.size()) ? static_cast<int32_t>(*id) : fallback;
}

int32_t TypeOf(const GgufVocabulary& gguf, size_t id) {
  return gguf.token_types.empty() ? kNormal : gguf.token_types[id];
}

// Control tokens, and user-defined ones that are a turn's markers, are the template's alone.
bool IsSpecialToken(const GgufVocabulary& gguf, size_t id) {
  const int32_t type = TypeOf(gguf, id);
  if (type == kControl || type == kUnknown) return true;
  const auto named = [&](const std::optional<int64_t>& other) { return other && *other == static_cast<int64_t>(id); };
  if (named(gguf.bos_id) || named(gguf.eos_id) || named(gguf.eot_id) || named(gguf.eom_id)) return true;
  return type == kUserDefined && IsTurnMarker(gguf.tokens[id]);
}

// Registers special and user-defined tokens; returns which tokens the model must not produce.
std::vector<bool> AddTokens(const GgufVocabulary& gguf, Pipeline& pipeline) {
  std::vector<bool> excluded(gguf.tokens.size());
  pipeline.special.resize(gguf.tokens.size());
  for (size_t id = 0; id < gguf.tokens.size(); ++id) {
    const bool special = IsSpecialToken(gguf, id);
    if (!special && TypeOf(gguf, id) != kUserDefined) continue;
    excluded[id] = special;
    if (gguf.tokens[id].size() > 1024) continue;
    AddToken(pipeline, {.id = static_cast<int32_t>(id), .content = gguf.tokens[id], .special = special});
  }
  return excluded;
}

void AddEnds(const GgufVocabulary& gguf, bool add_bos, Pipeline& pipeline) {
  pipeline.eos_id = IdOr(gguf, gguf.eos_id, pipeline.eos_id);
  if (gguf.add_bos.value_or(add_bos) && pipeline.bos_id >= 0) pipeline.prefix = {pipeline.bos_id};
  if (gguf.add_eos.value_or(false) && pipeline.eos_id >= 0) pipeline.suffix = {pipeline.eos_id};
}

// Merges of tokens that the vocabulary lacks never apply.
std::vector<std::pair<std::string, std::string>> SplitMerges(const GgufVocabulary& gguf, const TokenTable& table) {
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(gguf.merges.size());
  for (const std::string& merge : gguf.merges) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) continue;
    std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    if (table.Find(left) < 0 || table.Find(right) < 0 || table.Find(left + right) < 0) continue;
    merges.emplace_back(std::move(left), std::move(right));
  }
  return merges;
}

// Whether some token can only come of merges: one of several characters that are tokens themselves.
bool NeedsMerges(const GgufVocabulary& gguf, const TokenTable& table) {
  const auto is_merged = [&](const std::string& token) {
    size_t count = 0;
    for (size_t at = 0; at < token.size(); ++count) {
      const auto length = static_cast<size_t>(DecodeUtf8(token.data() + at, token.data() + token.size()).length);
      if (table.Find(std::string_view(token).substr(at, length)) < 0) return false;
      at += length;
    }
    return count > 1;
  };
  for (size_t id = 0; id < gguf.tokens.size(); ++id) {
    if (TypeOf(gguf, id) == kNormal && is_merged(gguf.tokens[id])) return true;
  }
  return false;
}

Result<Pipeline> ReadGpt2(const GgufVocabulary& gguf) {
  const std::string_view pre = gguf.pre.empty() ? "default" : std::string_view(gguf.pre);
  const GgufPre* const kind = FindGgufPre(pre);
  if (kind == nullptr) {
    return Unsupported(
        "tokenizer.ggml.pre \"{}\" is not known; --tokenizer-pre names another that splits text in the same way: {}",
        pre, KnownGgufPres());
  }
  if (gguf.pre.empty()) {
    Log(LogLevel::kWarning,
        "tokenizer.ggml.pre is missing: text is split as \"default\" splits it, which is a guess; --tokenizer-pre sets "
        "it ({})",
        KnownGgufPres());
  }
  Pipeline pipeline;
  pipeline.table = std::make_unique<TokenTable>(gguf.tokens);
  if (gguf.merges.empty() && NeedsMerges(gguf, *pipeline.table))
    return InvalidArgument("tokenizer.ggml.merges is missing or empty; a vocabulary of kind gpt2 cannot do without");
  for (const std::string_view regex : kind->patterns) {
    INGOT_ASSIGN_OR_RETURN(Pattern pattern, Pattern::OfRegex(regex));
    pipeline.pre_tokenizers.push_back(MakeSplit(std::move(pattern), SplitBehavior::kIsolated, false));
  }
  if (gguf.add_space_prefix.value_or(false))
    pipeline.pre_tokenizers.insert(pipeline.pre_tokenizers.begin(), MakePrefixSpace());
  if (kind->nfc) pipeline.normalizers.push_back(MakeNfc());
  BpeParams params;
  params.table = pipeline.table.get();
  params.excluded = AddTokens(gguf, pipeline);
  params.merges = SplitMerges(gguf, *pipeline.table);
  params.byte_level = true;
  params.ignore_merges = kind->ignore_merges;
  INGOT_ASSIGN_OR_RETURN(pipeline.model, BpeModel::Create(std::move(params)));
  pipeline.decode.byte_level = true;
  pipeline.keeps_invalid_bytes = pipeline.normalizers.empty();
  pipeline.bos_id = IdOr(gguf, gguf.bos_id, -1);
  AddEnds(gguf, kind->add_bos, pipeline);
  return pipeline;
}

Result<Pipeline> ReadLlama(const GgufVocabulary& gguf) {
  Pipeline pipeline;
  pipeline.table = std::make_unique<TokenTable>(gguf.tokens);
  const std::vector<bool> excluded = AddTokens(gguf, pipeline);
  SentencePieceBpeParams params;
  params.table = pipeline.table.get();
  params.scores = gguf.scores;
  params.scores.resize(gguf.tokens.size());
  params.unk_id = IdOr(gguf, gguf.unk_id, -1);
  params.byte_fallback = true;
  for (size_t id = 0; id < gguf.tokens.size(); ++id) {
    const int32_t type = TypeOf(gguf, id);
    const bool valid = type >= kNormal && type <= kByte && !excluded[id];
    params.types.push_back(valid ? static_cast<PieceType>(type) : PieceType::kControl);
    if (type == kUnknown && params.unk_id < 0) params.unk_id = static_cast<int32_t>(id);
  }
  pipeline.model = std::make_unique<SentencePieceBpe>(std::move(params));
  SpacingParams spacing;
  spacing.add_dummy_prefix = gguf.add_space_prefix.value_or(true);
  spacing.remove_extra_whitespaces = false;
  pipeline.decode = SentencePieceDecodePlan(spacing.add_dummy_prefix);
  pipeline.pre_tokenizers.push_back(std::make_unique<SentencePieceNormalizer>(std::move(spacing)));
  pipeline.bos_id = IdOr(gguf, gguf.bos_id, IdOr(gguf, 1, -1));
  pipeline.eos_id = IdOr(gguf, 2, -1);
  AddEnds(gguf, true, pipeline);
  return pipeline;
}

}  // namespace

Result<Pipeline> ReadGgufVocabulary(const Vocabulary& vocabulary) {
  const GgufVocabulary& gguf = *vocabulary.gguf;
  INGOT_RETURN_IF_ERROR(Check(gguf));
  if (gguf.model == "gpt2") return ReadGpt2(gguf);
  if (gguf.model == "llama") return ReadLlama(gguf);
  return Unsupported("tokenizer.ggml.model \"{}\"", gguf.model);
}

}  // namespace ingot::tokenizer
