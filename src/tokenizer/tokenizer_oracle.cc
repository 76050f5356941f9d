// The other half of tests/tokenizer_oracle.py. Reads lines of JSON from stdin, answers each with one:
//   {"load": {"tokenizer_json": PATH, "sentencepiece_model": PATH, "tokenizer_config_json": PATH, "gguf": {…}}} →
//   {"ok": true}
//   {"text": "…", "special": bool, "trusted": bool} → {"ids": […], "text": "…", "pieces": "…"}   (text and pieces:
//   decoded)
//   {"decode": [ids], "skip": bool} → {"text": "…", "pieces": "…"}
//   {"bench": PATH, "seconds": S} → {"mb_per_s": …, "tokens": …}
#include <boost/json/value.hpp>
#include <chrono>
#include <iostream>

#include "base/json.h"
#include "base/mapped_file.h"
#include "tokenizer/tokenizer.h"

namespace ingot::tokenizer {
namespace {

Status ReadMember(const JsonView& json, const char* key, std::string& out) {
  INGOT_ASSIGN_OR_RETURN(const std::string path, json.String(key, ""));
  if (path.empty()) return {};
  INGOT_ASSIGN_OR_RETURN(out, ReadFile(path));
  return {};
}

Result<std::vector<std::string>> Strings(const JsonView& json, const char* key) {
  std::vector<std::string> out;
  const std::optional<JsonView> list = json.Find(key);
  if (!list) return out;
  INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list->AsArray());
  for (size_t i = 0; i < array->size(); ++i) {
    INGOT_ASSIGN_OR_RETURN(std::string value, list->At(i).AsString());
    out.push_back(std::move(value));
  }
  return out;
}

Result<GgufVocabulary> ReadGguf(const JsonView& json) {
  GgufVocabulary gguf;
  INGOT_ASSIGN_OR_RETURN(gguf.model, json.String("model"));
  INGOT_ASSIGN_OR_RETURN(gguf.pre, json.String("pre", ""));
  INGOT_ASSIGN_OR_RETURN(gguf.tokens, Strings(json, "tokens"));
  INGOT_ASSIGN_OR_RETURN(gguf.merges, Strings(json, "merges"));
  if (const auto types = json.Find("token_types")) {
    for (const boost::json::value& value : types->value().as_array())
      gguf.token_types.push_back(static_cast<int32_t>(value.as_int64()));
  }
  if (const auto scores = json.Find("scores")) {
    for (const boost::json::value& value : scores->value().as_array()) gguf.scores.push_back(value.to_number<float>());
  }
  if (json.Find("add_space_prefix")) {
    INGOT_ASSIGN_OR_RETURN(gguf.add_space_prefix, json.Bool("add_space_prefix", true));
  }
  return gguf;
}

Result<std::unique_ptr<Tokenizer>> Load(const JsonView& json) {
  Vocabulary vocabulary;
  INGOT_RETURN_IF_ERROR(ReadMember(json, "tokenizer_json", vocabulary.tokenizer_json));
  INGOT_RETURN_IF_ERROR(ReadMember(json, "sentencepiece_model", vocabulary.sentencepiece_model));
  INGOT_RETURN_IF_ERROR(ReadMember(json, "tokenizer_config_json", vocabulary.tokenizer_config_json));
  if (const auto gguf = json.Find("gguf")) {
    INGOT_ASSIGN_OR_RETURN(vocabulary.gguf, ReadGguf(*gguf));
  }
  return Tokenizer::Create(vocabulary);
}

void AppendDecoded(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip, std::string& out) {
  IncrementalDecoder decoder(tokenizer, skip);
  std::string pieces;
  for (const int32_t id : ids) {
    const std::string piece = decoder.Push(id);
    pieces += piece;
  }
  pieces += decoder.Finish();
  out += "\"text\":";
  AppendJsonString(out, tokenizer.Decode(ids, skip));
  out += ",\"pieces\":";
  AppendJsonString(out, pieces);
}

Result<std::string> Bench(const Tokenizer& tokenizer, const JsonView& json) {
  INGOT_ASSIGN_OR_RETURN(const std::string path, json.String("bench"));
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  INGOT_ASSIGN_OR_RETURN(const double seconds, json.Double("seconds", 2));
  using Clock = std::chrono::steady_clock;
  double best = 1e30, total = 0;
  size_t tokens = 0;
  while (total < seconds) {
    const auto begin = Clock::now();
    tokens = tokenizer.Encode(text).size();
    const double took = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::min(best, took);
    total += took;
  }
  return fmt::format("{{\"mb_per_s\":{:.2f},\"tokens\":{}}}", static_cast<double>(text.size()) / 1e6 / best, tokens);
}

Result<std::string> Answer(const JsonView& json, std::unique_ptr<Tokenizer>& tokenizer) {
  if (const auto load = json.Find("load")) {
    INGOT_ASSIGN_OR_RETURN(tokenizer, Load(*load));
    return "{\"ok\":true}";
  }
  if (tokenizer == nullptr) return InvalidArgument("nothing is loaded");
  if (json.Find("bench")) return Bench(*tokenizer, json);
  std::string out = "{";
  if (const auto list = json.Find("decode")) {
    std::vector<int32_t> ids;
    INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list->AsArray());
    for (const boost::json::value& id : *array) ids.push_back(static_cast<int32_t>(id.as_int64()));
    INGOT_ASSIGN_OR_RETURN(const bool skip, json.Bool("skip", true));
    AppendDecoded(*tokenizer, ids, skip, out);
    return out + "}";
  }
  INGOT_ASSIGN_OR_RETURN(const std::string text, json.String("text"));
  INGOT_ASSIGN_OR_RETURN(const bool special, json.Bool("special", true));
  INGOT_ASSIGN_OR_RETURN(const bool trusted, json.Bool("trusted", true));
  const std::vector<int32_t> ids = tokenizer->Encode(trusted ? MarkedText::Trusted(text) : MarkedText::Untrusted(text),
                                                     {.add_special_tokens = special});
  out += fmt::format("\"ids\":[{}],", fmt::join(ids, ","));
  AppendDecoded(*tokenizer, ids, true, out);
  return out + "}";
}

}  // namespace
}  // namespace ingot::tokenizer

int main() {
  std::unique_ptr<ingot::tokenizer::Tokenizer> tokenizer;
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    auto value = ingot::ParseJson(line, "stdin");
    auto answer = value ? ingot::tokenizer::Answer(ingot::JsonView(*value, "stdin"), tokenizer)
                        : ingot::Result<std::string>(ingot::Error(value.error()));
    std::string out;
    if (answer) {
      out = *answer;
    } else {
      out = "{\"error\":";
      ingot::AppendJsonString(out, answer.error().ToString());
      out += "}";
    }
    std::cout << out << "\n" << std::flush;
  }
}
