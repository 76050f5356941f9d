#include "server/openai/chat_request.h"

#include <array>
#include <limits>

#include "base/json.h"

namespace ingot::server {
namespace {

constexpr int64_t kMaxTokens = 1 << 24;
constexpr size_t kMaxStops = 32, kMaxStopBytes = 256, kMaxMessages = 16384;

// Reads fields of one object; the first error stays, and later reads do nothing.
class FieldReader {
 public:
  explicit FieldReader(JsonView object) : object_(std::move(object)) {}

  bool Has(std::string_view key) const { return object_.Find(key).has_value(); }
  bool ok() const { return error_.status.ok(); }
  FieldError TakeError() { return std::move(error_); }
  const JsonView& object() const { return object_; }

  void Fail(std::string_view key, Status status) {
    if (ok()) error_ = {std::string(key), std::move(status)};
  }

  void Number(std::string_view key, double min, double max, double* out) {
    if (!ok() || !Has(key)) return;
    const auto value = object_.Double(key);
    if (!value) return Fail(key, value.error());
    if (!(*value >= min && *value <= max))
      return Fail(key, InvalidArgument("{} is {}, outside {}…{}", key, *value, min, max));
    *out = *value;
  }

  template <typename T>
  void Integer(std::string_view key, int64_t min, int64_t max, T* out) {
    if (!ok() || !Has(key)) return;
    const auto value = object_.Int(key);
    if (!value) return Fail(key, value.error());
    if (*value < min || *value > max)
      return Fail(key, InvalidArgument("{} is {}, outside {}…{}", key, *value, min, max));
    *out = static_cast<T>(*value);
  }

  void Boolean(std::string_view key, bool* out) {
    if (!ok()) return;
    const auto value = object_.Bool(key, *out);
    if (!value) return Fail(key, value.error());
    *out = *value;
  }

 private:
  JsonView object_;
  FieldError error_;
};

// What a client may ask for and Ingot does not do: saying so beats an answer that passes over it.
void RefuseUnsupported(FieldReader& fields) {
  for (const std::string_view key : {"tools", "functions", "logit_bias"}) {
    const auto value = fields.object().Find(key);
    if (!value) continue;
    const bool is_empty = (value->value().is_array() && value->value().get_array().empty()) ||
                          (value->value().is_object() && value->value().get_object().empty());
    if (!is_empty) fields.Fail(key, Unsupported("{} is not supported", key));
  }
  for (const std::string_view key : {"audio", "web_search_options", "prompt_logprobs", "guided_json", "guided_regex",
                                     "guided_choice", "guided_grammar", "structured_outputs"}) {
    if (fields.Has(key)) fields.Fail(key, Unsupported("{} is not supported", key));
  }
  // Which tool, where there are none to choose from.
  for (const std::string_view key : {"tool_choice", "function_call"}) {
    const auto choice = fields.object().Find(key);
    if (!choice) continue;
    const auto text = choice->AsString();
    if (!text || (*text != "none" && *text != "auto")) fields.Fail(key, InvalidArgument("{} needs tools", key));
  }
  if (const auto format = fields.object().Find("response_format")) {
    const auto type = format->String("type", "");
    if (!type || *type != "text")
      fields.Fail("response_format", Unsupported("response_format: only {{\"type\": \"text\"}} is supported"));
  }
  if (const auto modalities = fields.object().Find("modalities")) {
    const auto list = modalities->AsArray();
    if (!list || (*list)->size() != 1 || !(**list)[0].is_string() || (**list)[0].get_string() != "text") {
      fields.Fail("modalities", Unsupported("modalities: only [\"text\"] is supported"));
    }
  }
}

Status CheckContent(const JsonView& content) {
  if (content.value().is_string()) return {};
  const auto parts = content.AsArray();
  if (!parts) return InvalidArgument("{} must be a string or a list of parts", content.path());
  for (size_t i = 0; i < (*parts)->size(); ++i) {
    const JsonView part = content.At(i);
    INGOT_ASSIGN_OR_RETURN(const std::string type, part.String("type"));
    if (type != "text") return Unsupported("{}.type is '{}'; only 'text' is supported", part.path(), type);
    INGOT_RETURN_IF_ERROR([&]() -> Status {
      const auto text = part.String("text");
      return text ? Status() : text.error();
    }());
  }
  return {};
}

Status CheckMessage(const JsonView& message) {
  static constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
  INGOT_ASSIGN_OR_RETURN(const std::string role, message.String("role"));
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
    return InvalidArgument("{}.role is '{}'; it must be system, developer, user, assistant or tool", message.path(),
                           role);
  }
  const auto content = message.Find("content");
  if (!content) {
    return role == "assistant" && message.Find("tool_calls")
               ? Status()
               : Status(InvalidArgument("{}.content is missing", message.path()));
  }
  return CheckContent(*content);
}

void ReadMessages(FieldReader& fields, boost::json::array* out) {
  const auto messages = fields.object().Get("messages");
  if (!messages) return fields.Fail("messages", messages.error());
  const auto list = messages->AsArray();
  if (!list) return fields.Fail("messages", list.error());
  if ((*list)->empty() || (*list)->size() > kMaxMessages) {
    return fields.Fail("messages",
                       InvalidArgument("messages has {} entries, outside 1…{}", (*list)->size(), kMaxMessages));
  }
  for (size_t i = 0; i < (*list)->size(); ++i) {
    if (Status status = CheckMessage(messages->At(i)); !status.ok()) return fields.Fail("messages", std::move(status));
  }
  *out = **list;
  // "developer" is OpenAI's newer name of the system role; templates know the older.
  for (auto& message : *out) {
    auto& role = message.get_object()["role"];
    if (role == "developer") role = "system";
  }
}

void ReadStops(FieldReader& fields, std::vector<std::string>* out) {
  const auto stop = fields.object().Find("stop");
  if (!stop || !fields.ok()) return;
  if (stop->value().is_string()) {
    out->push_back(std::string(stop->value().get_string()));
  } else {
    const auto list = stop->AsArray();
    if (!list) return fields.Fail("stop", InvalidArgument("stop must be a string or a list of strings"));
    if ((*list)->size() > kMaxStops)
      return fields.Fail("stop",
                         InvalidArgument("stop has {} entries, at most {} are taken", (*list)->size(), kMaxStops));
    for (size_t i = 0; i < (*list)->size(); ++i) {
      const auto text = stop->At(i).AsString();
      if (!text) return fields.Fail("stop", text.error());
      out->push_back(*text);
    }
  }
  for (const std::string& text : *out) {
    if (text.empty() || text.size() > kMaxStopBytes) {
      return fields.Fail("stop",
                         InvalidArgument("a stop string has {} bytes, outside 1…{}", text.size(), kMaxStopBytes));
    }
  }
}

void ReadStopTokens(FieldReader& fields, std::vector<int32_t>* out) {
  const auto ids = fields.object().Find("stop_token_ids");
  if (!ids || !fields.ok()) return;
  const auto list = ids->AsArray();
  if (!list) return fields.Fail("stop_token_ids", list.error());
  if ((*list)->size() > kMaxStops) {
    return fields.Fail("stop_token_ids", InvalidArgument("stop_token_ids has {} entries, at most {} are taken",
                                                         (*list)->size(), kMaxStops));
  }
  for (size_t i = 0; i < (*list)->size(); ++i) {
    const auto id = ids->At(i).AsInt();
    if (!id) return fields.Fail("stop_token_ids", id.error());
    if (*id < 0 || *id > std::numeric_limits<int32_t>::max())
      return fields.Fail("stop_token_ids", InvalidArgument("{} is no token id", *id));
    out->push_back(static_cast<int32_t>(*id));
  }
}

void ReadSampling(FieldReader& fields, llm::SamplingParams* sampling) {
  fields.Number("temperature", 0, 2, &sampling->temperature);
  fields.Number("top_p", 0, 1, &sampling->top_p);
  fields.Number("min_p", 0, 1, &sampling->min_p);
  fields.Number("repetition_penalty", 0.01, 10, &sampling->repetition_penalty);
  fields.Number("presence_penalty", -2, 2, &sampling->presence_penalty);
  fields.Number("frequency_penalty", -2, 2, &sampling->frequency_penalty);
  int64_t top_k = sampling->top_k;
  fields.Integer("top_k", -1, kMaxTokens, &top_k);
  sampling->top_k = std::max<int64_t>(top_k, 0);  // -1 is vLLM's "all"
  int64_t seed = 0;
  if (fields.Has("seed")) {
    fields.Integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(), &seed);
    sampling->seed = static_cast<uint64_t>(seed);
  }
}

void ReadLogprobs(FieldReader& fields, std::optional<int>* out) {
  bool wanted = false;
  fields.Boolean("logprobs", &wanted);
  int top = 0;
  fields.Integer("top_logprobs", 0, 20, &top);
  if (top > 0 && !wanted) return fields.Fail("top_logprobs", InvalidArgument("top_logprobs needs logprobs: true"));
  if (wanted) *out = top;
}

void ReadLengths(FieldReader& fields, llm::Request* request) {
  int64_t max_tokens = 0;
  // The newer name wins where a client sends both.
  for (const std::string_view key : {"max_tokens", "max_completion_tokens"}) {
    if (!fields.Has(key)) continue;
    fields.Integer(key, 1, kMaxTokens, &max_tokens);
    request->max_tokens = max_tokens;
  }
  for (const std::string_view key : {"min_tokens", "min_new_tokens"})
    fields.Integer(key, 0, kMaxTokens, &request->min_tokens);
  fields.Integer("n", 1, 128, &request->n);
}

void ReadTemplateOptions(FieldReader& fields, llm::Request* request) {
  fields.Boolean("add_generation_prompt", &request->add_generation_prompt);
  fields.Boolean("continue_final_message", &request->continue_final_message);
  if (request->continue_final_message) {
    if (fields.Has("add_generation_prompt") && request->add_generation_prompt) {
      fields.Fail("continue_final_message",
                  InvalidArgument("continue_final_message and add_generation_prompt exclude each other"));
    }
    request->add_generation_prompt = false;
  }
  if (const auto kwargs = fields.object().Find("chat_template_kwargs")) {
    const auto object = kwargs->AsObject();
    if (!object) return fields.Fail("chat_template_kwargs", object.error());
    request->template_kwargs = **object;
  }
}

void ReadStreamOptions(FieldReader& fields, ChatRequest* chat) {
  fields.Boolean("stream", &chat->stream);
  const auto options = fields.object().Find("stream_options");
  if (!options) return;
  if (!chat->stream) return fields.Fail("stream_options", InvalidArgument("stream_options needs stream: true"));
  const auto include_usage = options->Bool("include_usage", false);
  if (!include_usage) return fields.Fail("stream_options", include_usage.error());
  chat->include_usage = *include_usage;
}

}  // namespace

tl::expected<ChatRequest, FieldError> ParseChatRequest(std::string_view body, const llm::SamplingParams& defaults) {
  const auto json = ParseJson(body, "body");
  if (!json) return tl::unexpected(FieldError{"", json.error()});
  if (!json->is_object()) return tl::unexpected(FieldError{"", InvalidArgument("the body must be a JSON object")});

  FieldReader fields(JsonView(*json, "body"));
  ChatRequest chat;
  chat.request.sampling = defaults;
  if (fields.Has("model")) {
    const auto model = fields.object().String("model");
    if (!model) return tl::unexpected(FieldError{"model", model.error()});
    chat.model = *model;
  }
  RefuseUnsupported(fields);
  ReadMessages(fields, &chat.request.messages);
  ReadSampling(fields, &chat.request.sampling);
  ReadLengths(fields, &chat.request);
  ReadStops(fields, &chat.request.stop);
  ReadStopTokens(fields, &chat.request.stop_token_ids);
  ReadLogprobs(fields, &chat.request.logprobs);
  fields.Boolean("ignore_eos", &chat.request.ignore_eos);
  fields.Boolean("skip_special_tokens", &chat.request.skip_special_tokens);
  fields.Boolean("include_stop_str_in_output", &chat.request.include_stop);
  ReadTemplateOptions(fields, &chat.request);
  ReadStreamOptions(fields, &chat);
  if (!fields.ok()) return tl::unexpected(fields.TakeError());
  return chat;
}

}  // namespace ingot::server
