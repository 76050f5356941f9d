#include "triton/model_config.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <variant>

#include "base/json.h"
#include "kserve/model_info.h"

namespace ingot::triton {
namespace {

using Target = std::variant<std::string*, int64_t*, int*, double*, bool*>;

struct Parameter {
  const char* name;
  Target target;
  double low = 0, high = 0;  // of numbers
};

std::vector<Parameter> ParametersOf(ModelConfig& config) {
  llm::LoadOptions& load = config.load;
  constexpr double kMany = 1 << 30;
  return {{"model", &load.model},
          {"session_len", &load.session_len, 0, kMany},
          {"quant_policy", &load.quant_policy, 0, 8},
          {"max_batch_size", &load.max_batch_size, 0, 4096},
          {"cache_max_entry_count", &load.cache_max_entry_count, 0, 1},
          {"cache_block_seq_len", &load.cache_block_seq_len, 32, 4096},
          {"max_prefill_token_num", &load.max_prefill_token_num, 1, kMany},
          {"enable_prefix_caching", &load.enable_prefix_caching},
          {"num_threads", &load.num_threads, 0, 4096},
          {"max_queue", &load.max_queue, 1, kMany},
          {"exact", &load.exact},
          {"chat_template", &load.chat_template},
          {"meta_instruction", &load.meta_instruction},
          {"tokenizer_pre", &load.tokenizer_pre},
          {"flight_recorder", &load.flight_recorder},
          {"weights_cache", &load.weights_cache},
          {"max_output_len", &config.max_output_len, 0, kMany},
          {"session_db", &config.session_db}};
}

// Sets what a parameter's text says.
struct Setter {
  const Parameter& parameter;
  const std::string& text;

  Status operator()(std::string* value) const {
    *value = text;
    return {};
  }
  Status operator()(bool* value) const {
    *value = text == "true" || text == "1";
    if (*value || text == "false" || text == "0") return {};
    return InvalidArgument("parameter '{}' is '{}'; it is true or false", parameter.name, text);
  }
  template <typename Number>
  Status operator()(Number* value) const {
    char* end = nullptr;
    const double given = std::strtod(text.c_str(), &end);
    const bool in_range = given >= parameter.low && given <= parameter.high;
    const bool is_whole = std::is_floating_point_v<Number> || given == std::floor(given);
    if (text.empty() || *end != '\0' || !in_range || !is_whole) {
      return InvalidArgument("parameter '{}' is '{}', outside {}…{}", parameter.name, text, parameter.low,
                             parameter.high);
    }
    *value = static_cast<Number>(given);
    return {};
  }
};

Status SetTo(const Parameter& parameter, const std::string& text) {
  return std::visit(Setter{parameter, text}, parameter.target);
}

// As protobuf's text format wants it.
std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

Result<ModelConfig> ReadModelConfig(std::string_view json, const std::string& version_folder) {
  INGOT_ASSIGN_OR_RETURN(const boost::json::value parsed, ParseJson(json, "config"));
  const JsonView view(parsed, "config");
  ModelConfig config;
  std::vector<Parameter> known = ParametersOf(config);
  if (const auto parameters = view.Find("parameters")) {
    INGOT_ASSIGN_OR_RETURN(const auto* object, parameters->AsObject());
    for (const auto& member : *object) {
      const std::string_view name = member.key();
      const auto found =
          std::ranges::find(known, name, [](const Parameter& one) { return std::string_view(one.name); });
      if (found == known.end()) {
        std::string names;
        for (const Parameter& one : known) names += (names.empty() ? "" : ", ") + std::string(one.name);
        return InvalidArgument("config.pbtxt: there is no parameter '{}'; there are {}", name, names);
      }
      INGOT_ASSIGN_OR_RETURN(const std::string text,
                             JsonView(member.value(), std::string(name)).String("string_value", ""));
      INGOT_RETURN_IF_ERROR(SetTo(*found, text).Annotate("config.pbtxt"));
    }
  }
  if (config.load.model.empty())
    return InvalidArgument("config.pbtxt: the parameter 'model' is missing: a folder or a GGUF file");
  const std::filesystem::path beside = std::filesystem::path(version_folder) / config.load.model;
  std::error_code error;
  if (std::filesystem::exists(beside, error)) config.load.model = beside.string();
  if (const auto policy = view.Find("model_transaction_policy")) {
    INGOT_ASSIGN_OR_RETURN(config.decoupled, policy->Bool("decoupled", false));
  }
  return config;
}

Result<std::string> CompleteModelConfig(std::string_view json) {
  INGOT_ASSIGN_OR_RETURN(boost::json::value parsed, ParseJson(json, "config"));
  if (!parsed.is_object()) return InvalidArgument("config: is no object");
  boost::json::object& config = parsed.get_object();
  const auto is_empty = [&](const char* name) {
    const boost::json::value* list = config.if_contains(name);
    return list == nullptr || !list->is_array() || list->get_array().empty();
  };
  if (is_empty("input")) config["input"] = kserve::ConfigInputs();
  if (is_empty("output")) config["output"] = kserve::ConfigOutputs();
  const boost::json::value* batch = config.if_contains("max_batch_size");
  if (batch == nullptr || *batch == 0) config["max_batch_size"] = kserve::kMaxBatchSize;
  return boost::json::serialize(parsed);
}

std::string ConfigText(const std::string& model_name, const std::vector<RepositoryParameter>& parameters,
                       bool decoupled) {
  std::string text = fmt::format("# Written by `ingot serve triton`. The backend adds inputs and outputs.\nname: {}\n",
                                 Quoted(model_name));
  text += fmt::format("backend: \"ingot\"\nmax_batch_size: {}\n", kserve::kMaxBatchSize);
  text += fmt::format("model_transaction_policy {{ decoupled: {} }}\n", decoupled);
  text += "instance_group [ { count: 1 kind: KIND_CPU } ]\n";
  for (const auto& [name, value] : parameters)
    text += fmt::format("parameters {{ key: {} value {{ string_value: {} }} }}\n", Quoted(name), Quoted(value));
  return text;
}

}  // namespace ingot::triton
