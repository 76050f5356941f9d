#include "server/answers/request_fields.h"

#include <algorithm>

#include "server/http.h"
#include "tokenizer/tokenizer.h"

namespace ingot::server {

const boost::json::value* Fields::Find(std::string_view key) const {
  const boost::json::value* value = object_.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool Fields::Bool(std::string_view key, bool fallback) const {
  const boost::json::value* value = Find(key);
  return value == nullptr ? fallback : value->get_bool();
}

std::optional<int64_t> Fields::Int(std::string_view key) const {
  const boost::json::value* value = Find(key);
  if (value == nullptr) return std::nullopt;
  return JsonView(*value, "").AsInt().value();
}

std::optional<double> Fields::Number(std::string_view key) const {
  const boost::json::value* value = Find(key);
  if (value == nullptr) return std::nullopt;
  return value->to_number<double>();
}

std::optional<std::string> Fields::Text(std::string_view key) const {
  const boost::json::value* value = Find(key);
  if (value == nullptr) return std::nullopt;
  return std::string(value->get_string());
}

std::vector<int32_t> Fields::Ids(std::string_view key) const {
  const boost::json::value* value = Find(key);
  return value == nullptr ? std::vector<int32_t>() : ToIds(value->get_array());
}

std::vector<int32_t> ToIds(const boost::json::array& array) {
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const auto& id : array) ids.push_back(static_cast<int32_t>(JsonView(id, "").AsInt().value()));
  return ids;
}

std::vector<std::string> ToTexts(const boost::json::value& value) {
  if (value.is_string()) return {std::string(value.get_string())};
  std::vector<std::string> texts;
  for (const auto& text : value.get_array()) texts.emplace_back(text.get_string());
  return texts;
}

namespace {

FieldError Invalid(std::string param, std::string message) {
  return {std::move(param), Status(Code::kInvalidArgument, std::move(message))};
}

void ReadSampling(const Fields& fields, llm::SamplingParams* s) {
  s->temperature = fields.Number("temperature").value_or(s->temperature);
  // 0 keeps the likeliest alone, as the smallest share does.
  s->top_p = std::max(fields.Number("top_p").value_or(s->top_p), 1e-9);
  s->min_p = fields.Number("min_p").value_or(s->min_p);
  s->top_k = std::max<int64_t>(fields.Int("top_k").value_or(s->top_k), 0);  // -1 is vLLM's "all"
  s->repetition_penalty = fields.Number("repetition_penalty").value_or(s->repetition_penalty);
  s->presence_penalty = fields.Number("presence_penalty").value_or(s->presence_penalty);
  s->frequency_penalty = fields.Number("frequency_penalty").value_or(s->frequency_penalty);
  if (const auto seed = fields.Int("seed")) s->seed = static_cast<uint64_t>(*seed);
}

// Token ids come as keys, which are strings.
std::optional<FieldError> ReadLogitBias(const Fields& fields, const llm::Llm& llm, llm::SamplingParams* sampling) {
  const boost::json::value* bias = fields.Find("logit_bias");
  if (bias == nullptr) return std::nullopt;
  const int32_t vocab_size = llm.tokenizer().vocab_size();
  for (const auto& member : bias->get_object()) {
    const std::string_view key = member.key();
    const auto id = WholeNumber(key);
    if (!id || *id < 0 || *id >= vocab_size) {
      return Invalid("logit_bias",
                     fmt::format("logit_bias: '{}' is no token id; they are 0…{}", key.substr(0, 32), vocab_size - 1));
    }
    if (!member.value().is_null())
      sampling->logit_bias.emplace_back(static_cast<int32_t>(*id), member.value().to_number<double>());
  }
  return std::nullopt;
}

}  // namespace

std::optional<FieldError> ReadCommon(const Fields& fields, const llm::Llm& llm, llm::Request* request) {
  request->sampling = llm.default_sampling();
  ReadSampling(fields, &request->sampling);
  if (auto error = ReadLogitBias(fields, llm, &request->sampling)) return error;
  // The newer name wins, and LMDeploy's.
  for (const char* key : {"max_tokens", "max_completion_tokens", "request_output_len"}) {
    if (const auto value = fields.Int(key)) request->max_tokens = *value;
  }
  for (const char* key : {"min_tokens", "min_new_tokens"}) {
    if (const auto value = fields.Int(key)) request->min_tokens = *value;
  }
  if (const auto n = fields.Int("n")) request->n = static_cast<int>(*n);
  if (const boost::json::value* stop = fields.Find("stop")) request->stop = ToTexts(*stop);
  if (const boost::json::value* words = fields.Find("bad_words")) request->bad_words = ToTexts(*words);
  request->stop_token_ids = fields.Ids("stop_token_ids");
  request->ignore_eos = fields.Bool("ignore_eos", false);
  request->skip_special_tokens = fields.Bool("skip_special_tokens", true);
  request->include_stop = fields.Bool("include_stop_str_in_output", false);
  request->priority = static_cast<int>(fields.Int("priority").value_or(0));
  request->deadline_seconds = fields.Number("timeout");
  request->cache_salt = fields.Text("cache_salt").value_or("");
  if (request->max_tokens && request->min_tokens > *request->max_tokens) {
    return Invalid("min_tokens",
                   fmt::format("min_tokens {} is above max_tokens {}", request->min_tokens, *request->max_tokens));
  }
  return std::nullopt;
}

}  // namespace ingot::server
