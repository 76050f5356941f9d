// What the JSON files of a Hugging Face directory say.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace ingot::formats {

// The texts of the files; empty where the directory has none.
struct HfTexts {
  std::string config, generation_config, tokenizer_config;
  std::string chat_template_jinja, chat_template_json;
};

struct HfConfig {
  boost::json::value config = boost::json::object();             // an object
  boost::json::value generation_config = boost::json::object();  // an object
  std::string model_type;                                        // text_config's where there is one
  std::vector<int64_t> eos_ids;  // of config, text_config and generation_config, each once
  std::optional<int64_t> bos_id;
  std::string chat_template;
};

// `directory` opens error messages.
Result<HfConfig> ParseHfConfig(const HfTexts& texts, const std::string& directory);

// Tensor name → file name out of *.index.json. File names are checked to be plain names, so that they cannot lead out
// of the directory.
Result<std::map<std::string, std::string>> ParseShardIndex(std::string_view text, const std::string& file);

}  // namespace ingot::formats
