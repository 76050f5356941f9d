#include "answers/fields.h"

#include "chat/chat_template.h"
#include "llm/params.h"

namespace ingot::answers {

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

// Names of a parameter in bodies that are not its own. A later one overrides an earlier one.
constexpr std::pair<const char*, const char*> kOtherNames[] = {
    {"n", "n"},
    {"prompt_logprobs", "prompt_logprobs"},
    {"repeat_penalty", "repetition_penalty"},
    {"min_new_tokens", "min_tokens"},
    {"n_predict", "max_tokens"},
    {"max_tokens", "max_tokens"},
    {"max_completion_tokens", "max_tokens"},
    {"request_output_len", "max_tokens"},
};

// Arguments come as the text of an object; templates write them as JSON themselves.
void ParseArguments(boost::json::value* calls) {
  for (auto& call : calls->get_array()) {
    boost::json::object* object = call.if_object();
    boost::json::value* function = object == nullptr ? nullptr : object->if_contains("function");
    if (function == nullptr || !function->is_object()) continue;
    boost::json::value* arguments = function->get_object().if_contains("arguments");
    if (arguments == nullptr || !arguments->is_string()) continue;
    auto parsed = ParseJson(arguments->get_string(), "arguments");
    if (parsed && parsed->is_object()) *arguments = *std::move(parsed);
  }
}

}  // namespace

Status ReadParams(const Fields& fields, const llm::Llm& llm, llm::Request* request) {
  request->sampling = llm.default_sampling();
  const auto read = [&](const char* name, const llm::Param& param) -> Status {
    const boost::json::value* value = fields.Find(name);
    // LMDeploy 0.2 asks so whether to stop a session's answer: no text that ends one.
    const bool is_command = value != nullptr && value->is_bool() && param.max_entries > 0;
    return value == nullptr || is_command ? Status() : SetParam(param, JsonView(*value, name), request).Of(name);
  };
  for (const llm::Param& param : llm::AllParams()) {
    if ((param.uses & llm::kInBody) != 0) INGOT_RETURN_IF_ERROR(read(param.name, param));
  }
  for (const auto& [name, param] : kOtherNames) INGOT_RETURN_IF_ERROR(read(name, *llm::FindParam(param)));
  if (request->max_tokens == -1) request->max_tokens.reset();  // llama.cpp's n_predict: what the context leaves
  return {};
}

std::vector<std::pair<std::string_view, std::string>> LlamaSettings(const sampling::Params& sampling) {
  std::vector<std::pair<std::string_view, std::string>> settings;
  llm::Request request;
  request.sampling = sampling;
  for (const llm::Param& param : llm::AllParams()) {
    if ((param.uses & llm::kAsDefault) == 0) continue;
    const std::string_view name = param.name;
    settings.emplace_back(name == "repetition_penalty" ? "repeat_penalty" : name,
                          fmt::format("{}", ValueOf(param, request).to_number<double>()));
  }
  return settings;
}

Status CheckPenaltyWindow(const Fields& fields, const llm::Request& request) {
  const int64_t window = fields.Int("repeat_last_n").value_or(-1);
  if (window == -1 || !request.sampling.penalizes()) return {};
  return Status(Unsupported("repeat_last_n {}: penalties count the whole prompt and answer; -1 says so", window))
      .Of("repeat_last_n");
}

Status ReadMessages(const boost::json::value& messages, const std::string& name, const llm::Llm& llm,
                    llm::Request* request) {
  if (messages.is_string()) {
    request->messages = {{{"role", "user"}, {"content", messages}}};
    return {};
  }
  request->messages = messages.get_array();
  for (size_t i = 0; i < request->messages.size(); ++i) {
    boost::json::object& message = request->messages[i].get_object();
    const auto refuse = [&](const char* member, const char* why) {
      const std::string field = fmt::format("{}[{}].{}", name, i, member);
      return Status(Unsupported("{}: {}", field, why)).Of(field);
    };
    // "developer" is OpenAI's newer name of the system role; templates know the older. Content that is null is none.
    if (message["role"] == "developer") message["role"] = "system";
    if (!message.contains("content") || message["content"].is_null()) message["content"] = "";
    for (const char* member : {"function_call", "audio"}) {
      const boost::json::value* value = message.if_contains(member);
      if (value != nullptr && !value->is_null()) return refuse(member, "not supported");
    }
    boost::json::value* calls = message.if_contains("tool_calls");
    if (calls == nullptr || calls->is_null() || calls->get_array().empty()) continue;
    if (llm.chat_template() != nullptr && llm.chat_template()->source().find("tool_calls") == std::string::npos)
      return refuse("tool_calls", "the model's chat template does not show tool calls");
    ParseArguments(calls);
  }
  return {};
}

Status ReadTemplateOptions(const Fields& fields, llm::Request* request) {
  request->add_generation_prompt = fields.Bool("add_generation_prompt", true);
  request->continue_final_message = fields.Bool("continue_final_message", false);
  if (request->continue_final_message) {
    if (fields.Has("add_generation_prompt") && request->add_generation_prompt) {
      return Status(InvalidArgument("continue_final_message and add_generation_prompt exclude each other"))
          .Of("continue_final_message");
    }
    request->add_generation_prompt = false;
  }
  ReadTemplateKwargs(fields, request);
  return {};
}

void ReadTemplateKwargs(const Fields& fields, llm::Request* request) {
  if (const auto* kwargs = fields.Find("chat_template_kwargs")) request->template_kwargs = kwargs->get_object();
  if (const auto* thinking = fields.Find("enable_thinking"))
    request->template_kwargs.emplace("enable_thinking", *thinking);
}

}  // namespace ingot::answers
