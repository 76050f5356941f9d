// What tokenizer_config.json, special_tokens_map.json, config.json and GGUF keys say beyond the vocabulary.
#include <algorithm>
#include <charconv>

#include "tokenizer/pipeline.h"

namespace ingot::tokenizer {
namespace {

// Spellings that end a turn or a text in the families we know. Each counts only where the vocabulary has it as a
// special token: many vocabularies hold some of them as plain text.
constexpr std::string_view kEndSpellings[] = {
    "</s>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<turn|>",
    "<|endoftext|>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<eoa>",
    "<EOT>",
    "[UNUSED_TOKEN_145]",
    "<|endofturn|>",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
};

// Spellings that begin a turn, in addition to those.
constexpr std::string_view kBeginSpellings[] = {"<|im_start|>",
                                                "<|start_header_id|>",
                                                "<|end_header_id|>",
                                                "<start_of_turn>",
                                                "<eoh>",
                                                "<|User|>",
                                                "<|Bot|>",
                                                "[INST]",
                                                "[/INST]"};

constexpr size_t kMaxAddedTokenBytes = 1024;

// The spelling of "bos_token": "<s>", or {"content": "<s>", …}.
Result<std::string> SpellingOf(const JsonView& token) {
  return token.value().is_string() ? token.AsString() : token.String("content", "");
}

class ConfigReader {
 public:
  ConfigReader(const Vocabulary& vocabulary, Pipeline& pipeline) : vocabulary_(vocabulary), pipeline_(pipeline) {}

  Status Run() {
    for (const auto& [text, name] : {std::pair(&vocabulary_.tokenizer_config_json, "tokenizer_config.json"),
                                     std::pair(&vocabulary_.special_tokens_map_json, "special_tokens_map.json")}) {
      if (text->empty()) continue;
      INGOT_ASSIGN_OR_RETURN(const boost::json::value value, ParseJson(*text, name));
      const JsonView json(value, name);
      INGOT_RETURN_IF_ERROR(ReadNamedTokens(json));
      if (text == &vocabulary_.tokenizer_config_json) INGOT_RETURN_IF_ERROR(ReadAddFlags(json));
    }
    if (pipeline_.bos_id < 0 && vocabulary_.bos_id && InRange(*vocabulary_.bos_id)) {
      pipeline_.bos_id = static_cast<int32_t>(*vocabulary_.bos_id);
    }
    if (pipeline_.bos_id < 0 && pipeline_.prefix.size() == 1) pipeline_.bos_id = pipeline_.prefix[0];
    ApplyAddFlags();
    CollectEnds();
    return {};
  }

 private:
  bool InRange(int64_t id) const { return id >= 0 && id < static_cast<int64_t>(pipeline_.table->tokens.size()); }

  Status ReadNamedTokens(const JsonView& json) {
    for (const auto& [field, id] :
         {std::pair("bos_token", &pipeline_.bos_id), std::pair("eos_token", &pipeline_.eos_id)}) {
      const std::optional<JsonView> token = json.Find(field);
      if (!token) continue;
      INGOT_ASSIGN_OR_RETURN(const std::string spelling, SpellingOf(*token));
      const int32_t found = pipeline_.table->Find(spelling);
      if (found < 0) continue;
      *id = found;
      if (id == &pipeline_.eos_id) ends_.push_back(found);
    }
    return {};
  }

  Status ReadAddFlags(const JsonView& json) {
    for (const auto& [field, flag] : {std::pair("add_bos_token", &add_bos_), std::pair("add_eos_token", &add_eos_)}) {
      if (!json.Find(field)) continue;
      INGOT_ASSIGN_OR_RETURN(*flag, json.Bool(field, false));
    }
    return {};
  }

  // The configuration overrides the post-processor, as the Python classes rebuild it from these flags.
  void ApplyAddFlags() {
    const auto set = [](std::vector<int32_t>& side, bool front, std::optional<bool> flag, int32_t id) {
      if (!flag || id < 0) return;
      const bool has = !side.empty() && (front ? side.front() : side.back()) == id;
      if (*flag && !has) side.insert(front ? side.begin() : side.end(), id);
      if (!*flag && has) side.erase(front ? side.begin() : side.end() - 1);
    };
    set(pipeline_.prefix, true, add_bos_, pipeline_.bos_id);
    set(pipeline_.suffix, false, add_eos_, pipeline_.eos_id);
  }

  void CollectEnds() {
    for (const int64_t id : vocabulary_.eos_ids) {
      if (InRange(id)) ends_.push_back(static_cast<int32_t>(id));
    }
    if (vocabulary_.gguf && pipeline_.special.size() == vocabulary_.gguf->tokens.size()) {
      for (const auto& id : {vocabulary_.gguf->eos_id, vocabulary_.gguf->eot_id, vocabulary_.gguf->eom_id}) {
        if (id && InRange(*id)) ends_.push_back(static_cast<int32_t>(*id));
      }
    }
    if (pipeline_.eos_id >= 0) ends_.push_back(pipeline_.eos_id);
    // Where messages have parts (<|channel|>), <|end|> ends a part, not the turn.
    const bool has_parts = pipeline_.table->Find("<|channel|>") >= 0;
    for (const std::string_view spelling : kEndSpellings) {
      const int32_t id = pipeline_.table->Find(spelling);
      if (id < 0 || !pipeline_.special[static_cast<size_t>(id)] || (spelling == "<|end|>" && has_parts)) continue;
      ends_.push_back(id);
    }
    std::vector<int32_t>& out = pipeline_.eos_ids;
    out.insert(out.end(), ends_.begin(), ends_.end());
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
  }

  const Vocabulary& vocabulary_;
  Pipeline& pipeline_;
  std::vector<int32_t> ends_;
  std::optional<bool> add_bos_, add_eos_;
};

// The special tokens that have a name of their own, and those of additional_special_tokens.
Status AddNamed(const JsonView& config, std::vector<AddedToken>* tokens) {
  std::vector<JsonView> named;
  for (const char* field :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    if (const auto token = config.Find(field)) named.push_back(*token);
  }
  const auto list = config.Find("additional_special_tokens");
  for (size_t i = 0; list && list->value().is_array() && i < list->value().get_array().size(); ++i) {
    named.push_back(list->At(i));
  }
  for (const JsonView& token : named) {
    INGOT_ASSIGN_OR_RETURN(std::string content, SpellingOf(token));
    const bool is_known = std::ranges::find(*tokens, content, &AddedToken::content) != tokens->end();
    if (content.empty() || content.size() > kMaxAddedTokenBytes || is_known) continue;
    tokens->push_back({.id = -1, .content = std::move(content), .special = true});
  }
  return {};
}

}  // namespace

Result<AddedToken> ParseAddedToken(const JsonView& json) {
  AddedToken token;
  INGOT_ASSIGN_OR_RETURN(token.content, json.String("content"));
  INGOT_ASSIGN_OR_RETURN(token.special, json.Bool("special", false));
  INGOT_ASSIGN_OR_RETURN(token.normalized, json.Bool("normalized", !token.special));
  INGOT_ASSIGN_OR_RETURN(token.lstrip, json.Bool("lstrip", false));
  INGOT_ASSIGN_OR_RETURN(token.rstrip, json.Bool("rstrip", false));
  INGOT_ASSIGN_OR_RETURN(token.single_word, json.Bool("single_word", false));
  if (token.content.size() <= kMaxAddedTokenBytes) return token;
  return Unsupported("{}: an added token of {} bytes; at most {}", json.path(), token.content.size(),
                     kMaxAddedTokenBytes);
}

Result<std::vector<AddedToken>> ConfiguredTokens(const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  for (const auto& [text, name] : {std::pair(&vocabulary.tokenizer_config_json, "tokenizer_config.json"),
                                   std::pair(&vocabulary.special_tokens_map_json, "special_tokens_map.json")}) {
    if (text->empty()) continue;
    INGOT_ASSIGN_OR_RETURN(const boost::json::value value, ParseJson(*text, name));
    const JsonView config(value, name);
    if (const auto decoder = config.Find("added_tokens_decoder")) {
      INGOT_ASSIGN_OR_RETURN(const boost::json::object* const object, decoder->AsObject());
      for (const auto& [key, member] : *object) {
        const JsonView json(member, decoder->path() + "." + std::string(key));
        INGOT_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(json));
        const char* const end = key.data() + key.size();
        const auto [at, error] = std::from_chars(key.data(), end, token.id);
        if (error != std::errc() || at != end || token.id < 0) return InvalidArgument("{}: is no id", json.path());
        if (!token.content.empty()) tokens.push_back(std::move(token));
      }
      std::ranges::sort(tokens, {}, &AddedToken::id);
    }
    INGOT_RETURN_IF_ERROR(AddNamed(config, &tokens));
  }
  return tokens;
}

bool IsTurnMarker(std::string_view spelling) {
  const auto is = [&](std::string_view marker) { return marker == spelling; };
  return spelling.starts_with("[UNUSED_TOKEN_") || std::ranges::any_of(kEndSpellings, is) ||
         std::ranges::any_of(kBeginSpellings, is);
}

Status ApplyConfig(const Vocabulary& vocabulary, Pipeline& pipeline) {
  return ConfigReader(vocabulary, pipeline).Run();
}

}  // namespace ingot::tokenizer
