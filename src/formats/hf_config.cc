#include "formats/hf_config.h"

#include <algorithm>

#include "base/json.h"

namespace ingot::formats {
namespace {

// Parses a file that, when there, must be an object.
Result<boost::json::value> ParseObject(std::string_view text, const std::string& file) {
  if (text.empty()) return boost::json::value(boost::json::object());
  INGOT_ASSIGN_OR_RETURN(boost::json::value json, ParseJson(text, file));
  if (!json.is_object()) return InvalidArgument("{}: must be an object", file);
  return json;
}

// Adds the ids of a member that is a number or a list of them. Negative ones say "none".
Status AddIds(const JsonView& object, std::string_view key, std::vector<int64_t>* ids) {
  const auto member = object.Find(key);
  if (!member) return {};
  const auto add = [ids](const JsonView& element) -> Status {
    INGOT_ASSIGN_OR_RETURN(const int64_t id, element.AsInt());
    if (id >= 0 && std::find(ids->begin(), ids->end(), id) == ids->end()) ids->push_back(id);
    return {};
  };
  if (!member->value().is_array()) return add(*member);
  constexpr size_t kMaxIds = 1024;  // each is compared with each
  const size_t size = member->value().get_array().size();
  if (size > kMaxIds) return InvalidArgument("{}: {} ids, at most {} are read", member->path(), size, kMaxIds);
  for (size_t i = 0; i < size; ++i) INGOT_RETURN_IF_ERROR(add(member->At(i)));
  return {};
}

Status ReadTokenIds(const JsonView& config, const JsonView& generation_config, HfConfig* out) {
  std::vector<int64_t> bos;
  const auto text_config = config.Find("text_config");
  const auto add_from = [&](const JsonView& object) -> Status {
    INGOT_RETURN_IF_ERROR(AddIds(object, "eos_token_id", &out->eos_ids));
    return AddIds(object, "bos_token_id", &bos);
  };
  INGOT_RETURN_IF_ERROR(add_from(config));
  if (text_config) INGOT_RETURN_IF_ERROR(add_from(*text_config));
  INGOT_RETURN_IF_ERROR(add_from(generation_config));
  if (!bos.empty()) out->bos_id = bos[0];
  return {};
}

Result<std::string> ModelType(const JsonView& config) {
  INGOT_ASSIGN_OR_RETURN(const std::string outer, config.String("model_type", ""));
  const auto text_config = config.Find("text_config");
  if (!text_config) return outer;
  return text_config->String("model_type", outer);
}

// A template, or a list of {name, template}, of which "default" is meant, else the first.
Result<std::string> TemplateOf(const JsonView& object) {
  const auto member = object.Find("chat_template");
  if (!member) return std::string();
  if (!member->value().is_array()) return member->AsString();
  std::string chosen;
  for (size_t i = 0; i < member->value().get_array().size(); ++i) {
    INGOT_ASSIGN_OR_RETURN(const std::string name, member->At(i).String("name"));
    if (i > 0 && name != "default") continue;
    INGOT_ASSIGN_OR_RETURN(chosen, member->At(i).String("template"));
    if (name == "default") break;
  }
  return chosen;
}

}  // namespace

Result<HfConfig> ParseHfConfig(const HfTexts& texts, const std::string& directory) {
  HfConfig out;
  const auto file = [&directory](const char* name) { return directory + "/" + name; };
  INGOT_ASSIGN_OR_RETURN(out.config, ParseObject(texts.config, file("config.json")));
  INGOT_ASSIGN_OR_RETURN(out.generation_config, ParseObject(texts.generation_config, file("generation_config.json")));
  const JsonView config(out.config, file("config.json"));
  INGOT_RETURN_IF_ERROR(ReadTokenIds(config, JsonView(out.generation_config, file("generation_config.json")), &out));
  INGOT_ASSIGN_OR_RETURN(out.model_type, ModelType(config));
  out.chat_template = texts.chat_template_jinja;
  if (out.chat_template.empty()) {
    INGOT_ASSIGN_OR_RETURN(const auto json, ParseObject(texts.chat_template_json, file("chat_template.json")));
    INGOT_ASSIGN_OR_RETURN(out.chat_template, TemplateOf(JsonView(json, file("chat_template.json"))));
  }
  if (out.chat_template.empty()) {
    INGOT_ASSIGN_OR_RETURN(const auto json, ParseObject(texts.tokenizer_config, file("tokenizer_config.json")));
    INGOT_ASSIGN_OR_RETURN(out.chat_template, TemplateOf(JsonView(json, file("tokenizer_config.json"))));
  }
  return out;
}

Result<std::map<std::string, std::string>> ParseShardIndex(std::string_view text, const std::string& file) {
  INGOT_ASSIGN_OR_RETURN(const boost::json::value json, ParseJson(text, file));
  INGOT_ASSIGN_OR_RETURN(const JsonView weight_map, JsonView(json, file).Get("weight_map"));
  INGOT_ASSIGN_OR_RETURN(const boost::json::object* object, weight_map.AsObject());
  std::map<std::string, std::string> shards;
  for (const auto& member : *object) {
    const std::string_view tensor = member.key();
    INGOT_ASSIGN_OR_RETURN(const std::string shard, weight_map.String(tensor));
    if (shard.empty() || shard.front() == '.' ||
        shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      return Corrupt("{}: weight_map.{}: \"{}\" is no plain file name", file, tensor, shard);
    }
    shards.emplace(tensor, shard);
  }
  if (shards.empty()) return Corrupt("{}: weight_map is empty", file);
  return shards;
}

}  // namespace ingot::formats
