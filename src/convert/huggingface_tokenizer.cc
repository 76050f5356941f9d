// A GGUF vocabulary as tokenizer.json, tokenizer_config.json and special_tokens_map.json.
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <unordered_map>

#include "convert/tokenizer_files.h"
#include "tokenizer/gguf_pre.h"
#include "tokenizer/splitters.h"

namespace ingot::convert {
namespace {

namespace json = boost::json;

enum TokenType { kNormal = 1, kUserDefined = 4 };
constexpr const char* kSpace = "▁";  // U+2581

int TypeOf(const GgufVocabulary& gguf, size_t id) { return gguf.token_types.empty() ? kNormal : gguf.token_types[id]; }

// What is matched whole, and what of it is a template's alone.
json::array AddedTokens(const GgufVocabulary& gguf, const tokenizer::Tokenizer& tokenizer) {
  json::array added;
  for (size_t id = 0; id < gguf.tokens.size(); ++id) {
    const bool is_special = tokenizer.IsSpecial(static_cast<int32_t>(id));
    if (!is_special && TypeOf(gguf, id) != kUserDefined) continue;
    added.push_back({{"id", static_cast<int64_t>(id)},
                     {"content", gguf.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", is_special}});
  }
  return added;
}

json::object Vocab(const GgufVocabulary& gguf) {
  json::object vocab;
  vocab.reserve(gguf.tokens.size());
  for (size_t id = 0; id < gguf.tokens.size(); ++id) vocab.emplace(gguf.tokens[id], static_cast<int64_t>(id));
  return vocab;
}

json::object BpeModel(const GgufVocabulary& gguf, json::array merges, bool is_sentencepiece, bool ignore_merges) {
  json::value unk = nullptr;
  if (is_sentencepiece && gguf.unk_id && *gguf.unk_id >= 0 && *gguf.unk_id < static_cast<int64_t>(gguf.tokens.size()))
    unk = gguf.tokens[static_cast<size_t>(*gguf.unk_id)];
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", std::move(unk)},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", is_sentencepiece},
          {"byte_fallback", is_sentencepiece},
          {"ignore_merges", ignore_merges},
          {"vocab", Vocab(gguf)},
          {"merges", std::move(merges)}};
}

json::object ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json::value PreTokenizer(const tokenizer::GgufPre& pre) {
  json::array steps;
  for (size_t i = 0; i < pre.patterns.size(); ++i) {
    const bool is_last = i + 1 == pre.patterns.size();
    if (pre.patterns[i] == tokenizer::kDigitPattern) {
      steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
    } else if (is_last && pre.patterns[i] == tokenizer::kGpt2Pattern) {
      steps.push_back(ByteLevel(true));
    } else {
      steps.push_back(
          {{"type", "Split"}, {"pattern", {{"Regex", pre.patterns[i]}}}, {"behavior", "Isolated"}, {"invert", false}});
    }
  }
  if (pre.patterns.empty() || pre.patterns.back() != tokenizer::kGpt2Pattern) steps.push_back(ByteLevel(false));
  if (steps.size() == 1) return steps.front();
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

// What is put in front (BOS) and behind (EOS).
json::value PostProcessor(const tokenizer::Tokenizer& tokenizer, bool adds_eos, int32_t main_eos) {
  json::array single, pair;
  json::object special;
  const auto add = [&](int32_t id, int type_id) {
    const std::string token = tokenizer.IdToToken(id);
    special[token] = {{"id", token}, {"ids", json::array{id}}, {"tokens", json::array{token}}};
    pair.push_back({{"SpecialToken", {{"id", token}, {"type_id", type_id}}}});
    if (type_id == 0) single.push_back(pair.back());
  };
  const auto sequence = [&](const char* id, int type_id) {
    pair.push_back({{"Sequence", {{"id", id}, {"type_id", type_id}}}});
  };
  const bool adds_bos = tokenizer.adds_bos() && tokenizer.bos_id() >= 0;
  const int32_t eos = adds_eos ? main_eos : -1;
  if (adds_bos) add(tokenizer.bos_id(), 0);
  sequence("A", 0);
  single.push_back(pair.back());
  if (eos >= 0) add(eos, 0);
  if (adds_bos) add(tokenizer.bos_id(), 1);
  sequence("B", 1);
  if (eos >= 0) add(eos, 1);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(special)}};
}

Result<json::object> ByteLevelTokenizer(const GgufVocabulary& gguf) {
  const std::string name = gguf.pre.empty() ? "default" : gguf.pre;
  const tokenizer::GgufPre* pre = tokenizer::FindGgufPre(name);
  if (pre == nullptr) return Unsupported("tokenizer.ggml.pre \"{}\" is not known", name);
  if (gguf.add_space_prefix.value_or(false))
    return Unsupported(
        "tokenizer.ggml.add_space_prefix: tokenizer.json has no form for it together with these patterns");
  json::array merges;
  for (const std::string& merge : gguf.merges) {
    const size_t space = merge.find(' ', 1);
    if (space != std::string::npos) merges.push_back(json::array{merge.substr(0, space), merge.substr(space + 1)});
  }
  json::object out;
  out["normalizer"] = pre->nfc ? json::value{{"type", "NFC"}} : json::value(nullptr);
  out["pre_tokenizer"] = PreTokenizer(*pre);
  out["decoder"] = ByteLevel(true);
  out["model"] = BpeModel(gguf, std::move(merges), false, pre->ignore_merges);
  return out;
}

struct Merge {
  float score;          // of the token it makes
  int64_t left, right;  // ids
};

// SentencePiece merges the pair that makes the token of the highest score; as BPE merges: every split of every token
// into two tokens, by that score, then by the ids of the halves.
json::array MergesByScore(const GgufVocabulary& gguf) {
  std::unordered_map<std::string_view, int64_t> ids;
  for (size_t id = 0; id < gguf.tokens.size(); ++id) ids.emplace(gguf.tokens[id], static_cast<int64_t>(id));
  std::vector<Merge> merges;
  for (size_t id = 0; id < gguf.tokens.size(); ++id) {
    const std::string_view token = gguf.tokens[id];
    if (TypeOf(gguf, id) != kNormal || token.size() > 1024) continue;
    for (size_t cut = 1; cut < token.size(); ++cut) {
      if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;  // inside a character
      const auto left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
      if (left != ids.end() && right != ids.end())
        merges.push_back({gguf.scores.empty() ? 0.0f : gguf.scores[id], left->second, right->second});
    }
  }
  std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return a.score != b.score ? a.score > b.score : std::pair(a.left, a.right) < std::pair(b.left, b.right);
  });
  json::array out;
  for (const Merge& merge : merges)
    out.push_back(
        json::array{gguf.tokens[static_cast<size_t>(merge.left)], gguf.tokens[static_cast<size_t>(merge.right)]});
  return out;
}

json::object SentencePieceTokenizer(const GgufVocabulary& gguf) {
  const bool prefix = gguf.add_space_prefix.value_or(true);
  const json::object replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}};
  json::array normalizers, decoders;
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  normalizers.push_back(replace);
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  json::object out;
  out["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}};
  out["pre_tokenizer"] = nullptr;
  out["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
  out["model"] = BpeModel(gguf, MergesByScore(gguf), true, false);
  return out;
}

json::object TokenizerConfig(const GgufVocabulary& gguf, const tokenizer::Tokenizer& tokenizer,
                             const std::string& chat_template) {
  json::object config;
  json::object decoder;
  for (const json::value& token : AddedTokens(gguf, tokenizer)) {
    json::object entry = token.as_object();
    const std::string id = std::to_string(entry["id"].as_int64());
    entry.erase("id");
    decoder[id] = std::move(entry);
  }
  config["added_tokens_decoder"] = std::move(decoder);
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["clean_up_tokenization_spaces"] = false;
  config["add_bos_token"] = tokenizer.adds_bos();
  config["add_eos_token"] = gguf.add_eos.value_or(false);
  const auto name = [&](const char* key, const std::optional<int64_t>& id) {
    if (id && *id >= 0 && *id < static_cast<int64_t>(gguf.tokens.size()))
      config[key] = gguf.tokens[static_cast<size_t>(*id)];
  };
  name("bos_token", tokenizer.bos_id() >= 0 ? std::optional<int64_t>(tokenizer.bos_id()) : std::nullopt);
  name("eos_token", gguf.eos_id);
  name("unk_token", gguf.unk_id);
  name("pad_token", gguf.pad_id);
  if (!chat_template.empty()) config["chat_template"] = chat_template;
  return config;
}

json::object SpecialTokensMap(const json::object& config) {
  json::object map;
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    if (const json::value* token = config.if_contains(key)) map[key] = *token;
  }
  return map;
}

using Files = std::vector<std::pair<std::string, std::string>>;

void AddIfAny(const char* name, const std::string& content, Files* files) {
  if (!content.empty()) files->emplace_back(name, content);
}

}  // namespace

Result<Files> HuggingFaceTokenizerFiles(const Vocabulary& vocabulary, const tokenizer::Tokenizer& tokenizer,
                                        const std::string& chat_template) {
  Files files;
  AddIfAny("chat_template.jinja", chat_template, &files);
  if (!vocabulary.gguf) {
    AddIfAny("tokenizer.json", vocabulary.tokenizer_json, &files);
    AddIfAny("tokenizer_config.json", vocabulary.tokenizer_config_json, &files);
    AddIfAny("special_tokens_map.json", vocabulary.special_tokens_map_json, &files);
    AddIfAny("tokenizer.model", vocabulary.sentencepiece_model, &files);
    return files;
  }
  const GgufVocabulary& gguf = *vocabulary.gguf;
  json::object out;
  if (gguf.model == "llama") {
    out = SentencePieceTokenizer(gguf);
  } else {
    INGOT_ASSIGN_OR_RETURN(out, ByteLevelTokenizer(gguf));
  }
  out["version"] = "1.0";
  out["truncation"] = nullptr;
  out["padding"] = nullptr;
  out["added_tokens"] = AddedTokens(gguf, tokenizer);
  out["post_processor"] = PostProcessor(tokenizer, gguf.add_eos.value_or(false), MainEos(vocabulary, tokenizer));
  files.emplace_back("tokenizer.json", json::serialize(out) + "\n");
  const json::object config = TokenizerConfig(gguf, tokenizer, chat_template);
  files.emplace_back("tokenizer_config.json", json::serialize(config) + "\n");
  files.emplace_back("special_tokens_map.json", json::serialize(SpecialTokensMap(config)) + "\n");
  return files;
}

}  // namespace ingot::convert
