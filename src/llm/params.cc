#include "llm/params.h"

#include <algorithm>
#include <boost/json/value_from.hpp>
#include <charconv>

#include "base/check.h"
#include "text/utf8.h"

namespace ingot::llm {
namespace {

constexpr double kMaxTokens = std::numeric_limits<int32_t>::max();
constexpr double kMaxTextLength = 1024;  // of a stop string or a bad word
// Beyond these a penalized logit could leave the range of a float.
constexpr double kMinRepetitionPenalty = 0.01, kMaxRepetitionPenalty = 100;
constexpr double kMaxInteger = 9223372036854775807.0;

#define INGOT_FIELD(member) [](Request& r) -> ParamField { return &r.member; }

// A new parameter is a member of sampling::Params (or of Request), a row here, its use, and what docs/contributing.md
// lists.
constexpr Param kParams[] = {
    {"temperature", INGOT_FIELD(sampling.temperature), 0, 2, kInBody | kAsFlag | kAsDefault,
     "0: always the likeliest token"},
    {"top_p", INGOT_FIELD(sampling.top_p), 0, 1, kInBody | kAsFlag | kAsDefault,
     "draw from the likeliest that together have this probability"},
    {"top_k", INGOT_FIELD(sampling.top_k), -1, 1 << 24, kInBody | kAsFlag | kAsDefault,
     "draw from the k likeliest; 0 and -1: all"},
    {"min_p", INGOT_FIELD(sampling.min_p), 0, 1, kInBody | kAsFlag | kAsDefault,
     "drop tokens less likely than this share of the likeliest"},
    {"repetition_penalty", INGOT_FIELD(sampling.repetition_penalty), kMinRepetitionPenalty, kMaxRepetitionPenalty,
     kInBody | kAsFlag | kAsDefault, "above 1: disfavour tokens of prompt and answer"},
    {"presence_penalty", INGOT_FIELD(sampling.presence_penalty), -2, 2, kInBody | kAsFlag,
     "subtracted once for tokens of the answer"},
    {"frequency_penalty", INGOT_FIELD(sampling.frequency_penalty), -2, 2, kInBody | kAsFlag,
     "subtracted for each time a token is in the answer"},
    {"seed", INGOT_FIELD(sampling.seed), -kMaxInteger, kMaxInteger, kInBody | kAsFlag,
     "the same seed gives the same answer; -1: a random one"},
    {"max_tokens", INGOT_FIELD(max_tokens), 1, kMaxTokens, kAsFlag, "longest answer; default: what the context leaves"},
    {"min_tokens", INGOT_FIELD(min_tokens), 0, kMaxTokens, kInBody | kAsFlag, "no end before so many tokens"},
    {"stop", INGOT_FIELD(stop), 1, kMaxTextLength, kInBody | kAsFlag, "the answer ends before this text", 64},
    {"stop_token_ids", INGOT_FIELD(stop_token_ids), 0, 0, kInBody, "tokens that end the answer", 256},
    {"include_stop_str_in_output", INGOT_FIELD(include_stop), 0, 1, kInBody | kAsFlag,
     "keep the stop string in the answer"},
    {"ignore_eos", INGOT_FIELD(ignore_eos), 0, 1, kInBody | kAsFlag, "continue after the model ends its answer"},
    {"skip_special_tokens", INGOT_FIELD(skip_special_tokens), 0, 1, kInBody | kAsFlag,
     "leave special tokens out of the answer", 0, "--keep-special-tokens"},
    {"logit_bias", INGOT_FIELD(logit_bias), -100, 100, kInBody | kAsFlag, "token id → what is added to its logit",
     sampling::kMaxLogitBiases},
    {"bad_words", INGOT_FIELD(bad_words), 1, kMaxTextLength, kInBody | kAsFlag,
     "texts that the answer must not contain, also inside longer words", 256},
    {"n", INGOT_FIELD(n), 1, 128, kAsOneFlag, "answers to the prompt; the i-th draws with seed + i"},
    {"logprobs", INGOT_FIELD(logprobs), 0, sampling::kMaxLogprobs, kAsOneFlag,
     "log probabilities, with so many alternatives a token"},
    {"prompt_logprobs", INGOT_FIELD(prompt_logprobs), 0, sampling::kMaxLogprobs, kAsOneFlag,
     "the same for the prompt's tokens"},
    {"timeout", INGOT_FIELD(deadline_seconds), 1e-6, 1e6, kInBody | kAsOneFlag,
     "seconds from now after which the request ends with an error", 0, "--deadline"},
    {"priority", INGOT_FIELD(priority), -1000, 1000, kInBody, "of those that wait, lower ones go first"},
    {"cache_salt", INGOT_FIELD(cache_salt), 0, 256, kInBody, "only requests of the same salt share cached prompts"},
};
#undef INGOT_FIELD

Status Set(bool* field, const JsonView& value) {
  INGOT_ASSIGN_OR_RETURN(*field, value.AsBool());
  return {};
}
Status Set(int64_t* field, const JsonView& value) {
  INGOT_ASSIGN_OR_RETURN(*field, value.AsInt());
  return {};
}
Status Set(double* field, const JsonView& value) {
  INGOT_ASSIGN_OR_RETURN(*field, value.AsDouble());
  return {};
}
Status Set(std::string* field, const JsonView& value) {
  INGOT_ASSIGN_OR_RETURN(*field, value.AsString());
  return {};
}
template <typename T>
Status Set(std::optional<T>* field, const JsonView& value) {
  return Set(&field->emplace(), value);
}
Status Set(int32_t* field, const JsonView& value) {
  INGOT_ASSIGN_OR_RETURN(const int64_t id, value.AsInt());
  if (id < 0 || id > std::numeric_limits<int32_t>::max())
    return InvalidArgument("{} {} is no token id", value.path(), id);
  *field = static_cast<int32_t>(id);
  return {};
}
// A list; one text stands for a list of it.
template <typename T>
Status Set(std::vector<T>* field, const JsonView& value) {
  field->clear();
  if (std::is_same_v<T, std::string> && value.value().is_string()) return Set(&field->emplace_back(), value);
  INGOT_ASSIGN_OR_RETURN(const auto* array, value.AsArray());
  for (size_t i = 0; i < array->size(); ++i) INGOT_RETURN_IF_ERROR(Set(&field->emplace_back(), value.At(i)));
  return {};
}
// llama.cpp's [[id, bias], …]; false in a bias's place: never.
Status SetPairs(std::vector<sampling::LogitBias>* field, const JsonView& list) {
  constexpr float kNever = -100;
  for (size_t i = 0; i < list.value().get_array().size(); ++i) {
    const JsonView pair = list.At(i);
    INGOT_ASSIGN_OR_RETURN(const auto* both, pair.AsArray());
    if (both->size() != 2) return InvalidArgument("{} is no pair of a token id and its bias", pair.path());
    sampling::LogitBias bias{.id = 0, .value = kNever};
    INGOT_RETURN_IF_ERROR(Set(&bias.id, pair.At(0)));
    if (both->at(1) != boost::json::value(false)) {
      INGOT_ASSIGN_OR_RETURN(const double number, pair.At(1).AsDouble());
      bias.value = static_cast<float>(number);
    }
    field->push_back(bias);
  }
  return {};
}
// Token ids come as keys, which are strings. A null is no bias.
Status Set(std::vector<sampling::LogitBias>* field, const JsonView& value) {
  field->clear();
  if (value.value().is_array()) return SetPairs(field, value);
  INGOT_ASSIGN_OR_RETURN(const auto* object, value.AsObject());
  for (const auto& member : *object) {
    const std::string_view key = member.key();
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0)
      return InvalidArgument("{}: '{}' is no token id", value.path(), key.substr(0, 32));
    if (member.value().is_null()) continue;
    INGOT_ASSIGN_OR_RETURN(const double bias,
                           JsonView(member.value(), fmt::format("{}.{}", value.path(), key)).AsDouble());
    field->push_back({id, static_cast<float>(bias)});
  }
  return {};
}

// What is checked, and what the values are called in errors.
struct Checked {
  const Param& param;
  const ParamLimits& limits;

  template <typename T>
  Status Range(const std::string& what, T value, double low, double high) const {
    const auto number = static_cast<double>(value);
    if (number >= low && number <= high) return {};  // NaN is outside every range
    return InvalidArgument("{} {} is outside {}…{}", what, value, low, high);
  }
  Status Entries(size_t count) const {
    if (count <= param.max_entries) return {};
    return InvalidArgument("{} has {} entries; at most {} are taken", param.name, count, param.max_entries);
  }
  Status Text(const std::string& what, const std::string& text) const {
    if (text.empty() && param.low > 0) return InvalidArgument("{} is empty", what);
    const size_t length = CountCharacters(text);
    if (static_cast<double>(length) <= param.high) return {};
    return InvalidArgument("{} has {} characters; at most {} are taken", what, length, param.high);
  }

  Status operator()(const bool*) const { return {}; }
  Status operator()(const int64_t* value) const { return Range(param.name, *value, param.low, param.high); }
  Status operator()(const double* value) const { return Range(param.name, *value, param.low, param.high); }
  template <typename T>
  Status operator()(const std::optional<T>* value) const {
    return *value ? (*this)(&**value) : Status();
  }
  Status operator()(const std::string* text) const { return Text(param.name, *text); }
  Status operator()(const std::vector<std::string>* texts) const {
    INGOT_RETURN_IF_ERROR(Entries(texts->size()));
    for (size_t i = 0; i < texts->size(); ++i)
      INGOT_RETURN_IF_ERROR(Text(fmt::format("{}[{}]", param.name, i), (*texts)[i]));
    return {};
  }
  Status operator()(const std::vector<int32_t>* ids) const {
    INGOT_RETURN_IF_ERROR(Entries(ids->size()));
    for (const int32_t id : *ids) INGOT_RETURN_IF_ERROR(Id(id));
    return {};
  }
  Status operator()(const std::vector<sampling::LogitBias>* biases) const {
    INGOT_RETURN_IF_ERROR(Entries(biases->size()));
    std::vector<int32_t> ids;
    for (const auto& [id, value] : *biases) {
      INGOT_RETURN_IF_ERROR(Id(id));
      if (!(value >= param.low && value <= param.high))
        return InvalidArgument("{} of {} is {}, outside {}…{}", param.name, id, value, param.low, param.high);
      ids.push_back(id);
    }
    std::ranges::sort(ids);
    const auto twice = std::ranges::adjacent_find(ids);
    return twice == ids.end() ? Status() : Status(InvalidArgument("{} names {} twice", param.name, *twice));
  }
  Status Id(int32_t id) const {
    return Range(fmt::format("{}: id", param.name), id, 0, static_cast<double>(limits.vocab_size - 1));
  }
};

// To be read.
ParamField FieldOf(const Param& param, const Request& request) { return param.field(const_cast<Request&>(request)); }

}  // namespace

std::span<const Param> AllParams() { return kParams; }

const Param* FindParam(std::string_view name) {
  const auto found = std::ranges::find(kParams, name, [](const Param& param) { return std::string_view(param.name); });
  return found == std::end(kParams) ? nullptr : found;
}

std::string FlagOf(const Param& param) {
  if (param.flag != nullptr) return param.flag;
  std::string flag = fmt::format("--{}", param.name);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

boost::json::value ValueOf(const Param& param, const Request& request) {
  const auto to_json = [](const auto* value) -> boost::json::value {
    if constexpr (std::is_same_v<decltype(value), const std::vector<sampling::LogitBias>*>) {
      boost::json::object object;
      for (const auto& [id, bias] : *value) object[std::to_string(id)] = bias;
      return object;
    } else {
      return boost::json::value_from(*value);
    }
  };
  return std::visit(to_json, FieldOf(param, request));
}

Status SetParam(const Param& param, const JsonView& value, Request* request) {
  return std::visit([&](auto* field) { return Set(field, value); }, param.field(*request));
}

Status CheckParam(const Param& param, const Request& request, const ParamLimits& limits) {
  return std::visit(Checked{param, limits}, FieldOf(param, request)).Of(param.name);
}

Status SetParams(const boost::json::object& values, Request* request) {
  for (const auto& member : values) {
    const Param* param = FindParam(member.key());
    INGOT_CHECK(param != nullptr);
    INGOT_RETURN_IF_ERROR(SetParam(*param, JsonView(member.value(), param->name), request));
    INGOT_RETURN_IF_ERROR(CheckParam(*param, *request));
  }
  return {};
}

}  // namespace ingot::llm
