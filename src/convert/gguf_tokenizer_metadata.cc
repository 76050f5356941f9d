// Any vocabulary as tokenizer.ggml.* keys.
#include <algorithm>
#include <unordered_map>

#include "base/json.h"
#include "convert/tokenizer_files.h"
#include "tokenizer/gguf_pre.h"
#include "tokenizer/sentencepiece_model.h"
#include "tokenizer/splitters.h"

namespace ingot::convert {
namespace {

enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// A tokenizer.json's parts that matter here.
struct BpeParts {
  std::vector<std::string> merges;    // "left right"
  std::string unknown;                // the model's unk_token
  std::vector<std::string> patterns;  // of the pre-tokenizers, in order
  bool byte_level = false, byte_fallback = false, nfc = false, ignore_merges = false, prepends_space = false;
};

Status ReadPreTokenizer(const JsonView& step, BpeParts* parts) {
  INGOT_ASSIGN_OR_RETURN(const std::string type, step.String("type"));
  if (type == "Sequence") {
    INGOT_ASSIGN_OR_RETURN(const JsonView steps, step.Get("pretokenizers"));
    INGOT_ASSIGN_OR_RETURN(const auto* list, steps.AsArray());
    for (size_t i = 0; i < list->size(); ++i) INGOT_RETURN_IF_ERROR(ReadPreTokenizer(steps.At(i), parts));
    return {};
  }
  if (type == "ByteLevel") {
    parts->byte_level = true;
    INGOT_ASSIGN_OR_RETURN(parts->prepends_space, step.Bool("add_prefix_space", parts->prepends_space));
    INGOT_ASSIGN_OR_RETURN(const bool use_regex, step.Bool("use_regex", true));
    if (use_regex) parts->patterns.emplace_back(tokenizer::kGpt2Pattern);
    return {};
  }
  if (type == "Digits") {
    INGOT_ASSIGN_OR_RETURN(const bool individual, step.Bool("individual_digits", false));
    parts->patterns.emplace_back(individual ? std::string(tokenizer::kDigitPattern) : R"(\p{N}+)");
    return {};
  }
  if (type == "Split") {
    INGOT_ASSIGN_OR_RETURN(const JsonView pattern, step.Get("pattern"));
    INGOT_ASSIGN_OR_RETURN(const std::string regex, pattern.String("Regex", ""));
    INGOT_ASSIGN_OR_RETURN(const std::string behavior, step.String("behavior", "Isolated"));
    INGOT_ASSIGN_OR_RETURN(const bool invert, step.Bool("invert", false));
    // A pattern that covers every text may as well say what it does not keep.
    const bool isolates = invert ? behavior == "Removed" : behavior == "Isolated";
    parts->patterns.push_back(isolates && !regex.empty() ? regex : fmt::format("{} ({})", regex, behavior));
    return {};
  }
  if (type == "Metaspace") {
    INGOT_ASSIGN_OR_RETURN(const std::string scheme, step.String("prepend_scheme", "always"));
    parts->prepends_space = scheme != "never";
    return {};
  }
  return Unsupported("{}.type \"{}\": GGUF has no name for it", step.path(), type);
}

Status ReadNormalizer(const JsonView& step, BpeParts* parts) {
  INGOT_ASSIGN_OR_RETURN(const std::string type, step.String("type"));
  if (type == "Sequence") {
    INGOT_ASSIGN_OR_RETURN(const JsonView steps, step.Get("normalizers"));
    INGOT_ASSIGN_OR_RETURN(const auto* list, steps.AsArray());
    for (size_t i = 0; i < list->size(); ++i) INGOT_RETURN_IF_ERROR(ReadNormalizer(steps.At(i), parts));
    return {};
  }
  if (type == "NFC") parts->nfc = true;
  if (type == "Prepend") parts->prepends_space = true;
  return {};
}

Status ReadMerges(const JsonView& model, BpeParts* parts) {
  INGOT_ASSIGN_OR_RETURN(const JsonView merges, model.Get("merges"));
  INGOT_ASSIGN_OR_RETURN(const auto* list, merges.AsArray());
  parts->merges.reserve(list->size());
  for (const auto& merge : *list) {
    if (merge.is_string()) {
      parts->merges.emplace_back(merge.get_string());
    } else if (merge.is_array() && merge.get_array().size() == 2 && merge.get_array()[0].is_string() &&
               merge.get_array()[1].is_string()) {
      parts->merges.push_back(std::string(merge.get_array()[0].get_string()) + " " +
                              std::string(merge.get_array()[1].get_string()));
    } else {
      return InvalidArgument("{}: a merge is neither a string nor a pair", merges.path());
    }
  }
  return {};
}

Result<BpeParts> ReadTokenizerJson(const Vocabulary& vocabulary) {
  INGOT_ASSIGN_OR_RETURN(const auto json, ParseJson(vocabulary.tokenizer_json, "tokenizer.json"));
  const JsonView root(json, "tokenizer.json");
  INGOT_ASSIGN_OR_RETURN(const JsonView model, root.Get("model"));
  INGOT_ASSIGN_OR_RETURN(const std::string type, model.String("type", "BPE"));
  if (type != "BPE")
    return Unsupported("tokenizer.json: model.type \"{}\" has no form in GGUF here; only BPE has", type);
  BpeParts parts;
  INGOT_ASSIGN_OR_RETURN(parts.byte_fallback, model.Bool("byte_fallback", false));
  INGOT_ASSIGN_OR_RETURN(parts.ignore_merges, model.Bool("ignore_merges", false));
  INGOT_ASSIGN_OR_RETURN(parts.unknown, model.String("unk_token", "<unk>"));
  INGOT_RETURN_IF_ERROR(ReadMerges(model, &parts));
  if (const auto step = root.Find("pre_tokenizer")) INGOT_RETURN_IF_ERROR(ReadPreTokenizer(*step, &parts));
  if (const auto step = root.Find("normalizer")) INGOT_RETURN_IF_ERROR(ReadNormalizer(*step, &parts));
  return parts;
}

// "<0x0A>"
bool IsByteToken(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.back() == '>';
}

struct Tokens {
  std::vector<std::string> texts;
  std::vector<int32_t> types;
};

Tokens ReadTokens(const tokenizer::Tokenizer& tokenizer, const Vocabulary& vocabulary, bool byte_fallback,
                  int64_t vocab_size) {
  Tokens tokens;
  for (int64_t id = 0; id < vocab_size; ++id) {
    std::string text = id < tokenizer.vocab_size() ? tokenizer.IdToToken(static_cast<int32_t>(id)) : "";
    int32_t type = kNormal;
    if (text.empty()) {
      text = fmt::format("[PAD{}]", id);
      type = kUnused;
    } else if (tokenizer.IsSpecial(static_cast<int32_t>(id))) {
      type = kControl;
    } else if (byte_fallback && IsByteToken(text)) {
      type = kByte;
    }
    tokens.texts.push_back(std::move(text));
    tokens.types.push_back(type);
  }
  // Added tokens that are not special are matched whole too: GGUF calls them user-defined.
  const auto json = ParseJson(vocabulary.tokenizer_json, "tokenizer.json");
  if (!json) return tokens;
  const auto added = JsonView(*json, "").Find("added_tokens");
  if (!added || !added->value().is_array()) return tokens;
  for (size_t i = 0; i < added->value().get_array().size(); ++i) {
    const auto id = added->At(i).Int("id", -1);
    if (id && *id >= 0 && *id < vocab_size && tokens.types[static_cast<size_t>(*id)] == kNormal)
      tokens.types[static_cast<size_t>(*id)] = kUserDefined;
  }
  return tokens;
}

// SentencePiece's scores, from the ranks of merges: the token that the first merge makes scores highest; characters and
// bytes, which no merge makes, score lowest, as they are never chosen over a merge.
std::vector<float> ScoresOfMerges(const Tokens& tokens, const std::vector<std::string>& merges) {
  std::unordered_map<std::string, size_t> rank;
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t space = merges[i].find(' ', 1);
    if (space != std::string::npos) rank.emplace(merges[i].substr(0, space) + merges[i].substr(space + 1), i);
  }
  std::vector<float> scores;
  for (const std::string& text : tokens.texts) {
    const auto found = rank.find(text);
    scores.push_back(found == rank.end() ? -static_cast<float>(merges.size()) - 1 : -static_cast<float>(found->second));
  }
  return scores;
}

// The id of a token that tokenizer_config.json names: "eos_token": "</s>", or {"content": "</s>", …}; -1 if none.
int32_t NamedToken(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer, const char* key) {
  const auto json = ParseJson(vocabulary.tokenizer_config_json, "tokenizer_config.json");
  if (!json) return -1;
  const auto token = JsonView(*json, "").Find(key);
  if (!token) return -1;
  const auto spelling = token->value().is_string() ? token->AsString() : token->String("content", "");
  return spelling && !spelling->empty() ? tokenizer.TokenToId(*spelling) : -1;
}

void AddId(const char* key, int64_t id, formats::GgufMetadata* metadata) {
  if (id >= 0) metadata->emplace_back(key, static_cast<uint32_t>(id));
}

void AddCommon(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer, const std::string& chat_template,
               formats::GgufMetadata* metadata) {
  AddId("tokenizer.ggml.bos_token_id", tokenizer.bos_id(), metadata);
  const int32_t eos = MainEos(vocabulary, tokenizer);
  AddId("tokenizer.ggml.eos_token_id", eos, metadata);
  const auto other = std::ranges::find_if(vocabulary.eos_ids, [&](int64_t id) { return id != eos; });
  if (other != vocabulary.eos_ids.end() && *other < tokenizer.vocab_size())
    AddId("tokenizer.ggml.eot_token_id", *other, metadata);
  AddId("tokenizer.ggml.padding_token_id", PadId(vocabulary, tokenizer), metadata);
  metadata->emplace_back("tokenizer.ggml.add_bos_token", tokenizer.adds_bos());
  const std::vector<int32_t> ids = tokenizer.Encode("a");
  if (eos >= 0 && !ids.empty() && ids.back() == eos) metadata->emplace_back("tokenizer.ggml.add_eos_token", true);
  if (!chat_template.empty()) metadata->emplace_back("tokenizer.chat_template", chat_template);
}

formats::GgufMetadata FromGguf(const GgufVocabulary& gguf, const std::string& chat_template) {
  formats::GgufMetadata metadata = {{"tokenizer.ggml.model", gguf.model}, {"tokenizer.ggml.tokens", gguf.tokens}};
  if (!gguf.pre.empty()) metadata.emplace_back("tokenizer.ggml.pre", gguf.pre);
  if (!gguf.scores.empty()) metadata.emplace_back("tokenizer.ggml.scores", gguf.scores);
  if (!gguf.token_types.empty()) metadata.emplace_back("tokenizer.ggml.token_type", gguf.token_types);
  // llama.cpp wants the key, empty or not.
  if (gguf.model == "gpt2" || !gguf.merges.empty()) metadata.emplace_back("tokenizer.ggml.merges", gguf.merges);
  const std::pair<const char*, const std::optional<int64_t>*> ids[] = {
      {"bos", &gguf.bos_id}, {"eos", &gguf.eos_id},     {"eot", &gguf.eot_id},
      {"eom", &gguf.eom_id}, {"unknown", &gguf.unk_id}, {"padding", &gguf.pad_id}};
  for (const auto& [name, id] : ids) {
    if (*id) AddId(fmt::format("tokenizer.ggml.{}_token_id", name).c_str(), **id, &metadata);
  }
  const std::pair<const char*, const std::optional<bool>*> flags[] = {
      {"add_bos_token", &gguf.add_bos}, {"add_eos_token", &gguf.add_eos}, {"add_space_prefix", &gguf.add_space_prefix}};
  for (const auto& [name, flag] : flags) {
    if (*flag) metadata.emplace_back(fmt::format("tokenizer.ggml.{}", name), **flag);
  }
  if (!chat_template.empty()) metadata.emplace_back("tokenizer.chat_template", chat_template);
  return metadata;
}

// tokenizer.model as it is: its scores are the ones that GGUF wants.
Result<formats::GgufMetadata> FromSentencePiece(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer,
                                                const std::string& chat_template, int64_t vocab_size) {
  INGOT_ASSIGN_OR_RETURN(const auto model, tokenizer::ParseSentencePieceModel(vocabulary.sentencepiece_model));
  if (model.kind != tokenizer::SentencePieceModel::Kind::kBpe)
    return Unsupported("tokenizer.model: a unigram model has no form in GGUF here; only BPE has");
  Tokens tokens = ReadTokens(tokenizer, vocabulary, true, vocab_size);
  std::vector<float> scores = model.scores;
  scores.resize(static_cast<size_t>(vocab_size), -1e4f);
  for (size_t id = 0; id < model.types.size() && id < tokens.types.size(); ++id)
    tokens.types[id] = static_cast<int32_t>(model.types[id]);
  formats::GgufMetadata metadata = {
      {"tokenizer.ggml.model", std::string("llama")}, {"tokenizer.ggml.pre", std::string("default")},
      {"tokenizer.ggml.tokens", tokens.texts},        {"tokenizer.ggml.scores", scores},
      {"tokenizer.ggml.token_type", tokens.types},    {"tokenizer.ggml.add_space_prefix", model.add_dummy_prefix}};
  AddId("tokenizer.ggml.unknown_token_id", model.unk_id, &metadata);
  AddCommon(vocabulary, tokenizer, chat_template, &metadata);
  return metadata;
}

}  // namespace

int32_t MainEos(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer) {
  std::vector<int64_t> candidates;
  if (vocabulary.gguf && vocabulary.gguf->eos_id) candidates.push_back(*vocabulary.gguf->eos_id);
  candidates.push_back(NamedToken(vocabulary, tokenizer, "eos_token"));
  candidates.insert(candidates.end(), vocabulary.eos_ids.begin(), vocabulary.eos_ids.end());
  candidates.insert(candidates.end(), tokenizer.eos_ids().begin(), tokenizer.eos_ids().end());
  for (const int64_t id : candidates) {
    if (std::ranges::find(tokenizer.eos_ids(), id) != tokenizer.eos_ids().end()) return static_cast<int32_t>(id);
  }
  return -1;
}

int64_t PadId(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer) {
  const int64_t id =
      vocabulary.gguf ? vocabulary.gguf->pad_id.value_or(-1) : NamedToken(vocabulary, tokenizer, "pad_token");
  return id < tokenizer.vocab_size() ? id : -1;
}

Result<formats::GgufMetadata> GgufTokenizerMetadata(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer,
                                                    const std::string& chat_template, int64_t vocab_size) {
  if (vocabulary.gguf) return FromGguf(*vocabulary.gguf, chat_template);
  if (vocabulary.tokenizer_json.empty()) return FromSentencePiece(vocabulary, tokenizer, chat_template, vocab_size);
  INGOT_ASSIGN_OR_RETURN(const BpeParts parts, ReadTokenizerJson(vocabulary));
  if (!parts.byte_level && !parts.byte_fallback)
    return Unsupported("tokenizer.json: a BPE that is neither byte-level nor falls back to bytes has no form in GGUF");
  Tokens tokens = ReadTokens(tokenizer, vocabulary, parts.byte_fallback, vocab_size);
  formats::GgufMetadata metadata = {{"tokenizer.ggml.model", std::string(parts.byte_level ? "gpt2" : "llama")}};
  if (parts.byte_level) {
    const std::string pre = tokenizer::GgufPreName(parts.patterns, parts.nfc, parts.ignore_merges);
    if (pre.empty())
      return Unsupported("tokenizer.json: GGUF has no name for this pre-tokenizer ({})",
                         fmt::join(parts.patterns, "  "));
    metadata.emplace_back("tokenizer.ggml.pre", pre);
    metadata.emplace_back("tokenizer.ggml.merges", parts.merges);
    AddId("tokenizer.ggml.unknown_token_id", NamedToken(vocabulary, tokenizer, "unk_token"), &metadata);
    if (parts.prepends_space) metadata.emplace_back("tokenizer.ggml.add_space_prefix", true);
  } else {
    metadata.emplace_back("tokenizer.ggml.pre", std::string("default"));
    metadata.emplace_back("tokenizer.ggml.scores", ScoresOfMerges(tokens, parts.merges));
    metadata.emplace_back("tokenizer.ggml.add_space_prefix", parts.prepends_space);
    const int32_t unknown = tokenizer.TokenToId(parts.unknown);
    AddId("tokenizer.ggml.unknown_token_id", unknown, &metadata);
    if (unknown >= 0 && unknown < vocab_size) tokens.types[static_cast<size_t>(unknown)] = kUnknown;
  }
  metadata.emplace_back("tokenizer.ggml.tokens", tokens.texts);
  metadata.emplace_back("tokenizer.ggml.token_type", tokens.types);
  AddCommon(vocabulary, tokenizer, chat_template, &metadata);
  return metadata;
}

}  // namespace ingot::convert
