#include "server/answers/messages.h"

#include "base/json.h"
#include "chat/chat_template.h"

namespace ingot::server {
namespace {

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

std::optional<FieldError> ReadMessages(const boost::json::value& messages, const std::string& param,
                                       const llm::Llm& llm, llm::Request* request) {
  request->messages = messages.get_array();
  for (size_t i = 0; i < request->messages.size(); ++i) {
    boost::json::object& message = request->messages[i].get_object();
    // "developer" is OpenAI's newer name of the system role; templates know the older. Content that is null is none.
    if (message["role"] == "developer") message["role"] = "system";
    if (!message.contains("content") || message["content"].is_null()) message["content"] = "";
    for (const char* name : {"function_call", "audio"}) {
      const boost::json::value* value = message.if_contains(name);
      if (value == nullptr || value->is_null()) continue;
      const std::string field = fmt::format("{}[{}].{}", param, i, name);
      return FieldError{field, Unsupported("{}: not supported", field).value()};
    }
    boost::json::value* calls = message.if_contains("tool_calls");
    if (calls == nullptr || calls->is_null() || calls->get_array().empty()) continue;
    if (llm.chat_template() != nullptr && llm.chat_template()->source().find("tool_calls") == std::string::npos) {
      const std::string field = fmt::format("{}[{}].tool_calls", param, i);
      return FieldError{field, Unsupported("{}: the model's chat template does not show tool calls", field).value()};
    }
    ParseArguments(calls);
  }
  return std::nullopt;
}

std::optional<FieldError> ReadTemplateOptions(const Fields& fields, llm::Request* request) {
  request->add_generation_prompt = fields.Bool("add_generation_prompt", true);
  request->continue_final_message = fields.Bool("continue_final_message", false);
  if (request->continue_final_message) {
    if (fields.Has("add_generation_prompt") && request->add_generation_prompt) {
      return FieldError{"continue_final_message",
                        InvalidArgument("continue_final_message and add_generation_prompt exclude each other").value()};
    }
    request->add_generation_prompt = false;
  }
  ReadTemplateKwargs(fields, request);
  return std::nullopt;
}

void ReadTemplateKwargs(const Fields& fields, llm::Request* request) {
  if (const auto* kwargs = fields.Find("chat_template_kwargs")) request->template_kwargs = kwargs->get_object();
  if (const auto* thinking = fields.Find("enable_thinking"))
    request->template_kwargs.emplace("enable_thinking", *thinking);
}

}  // namespace ingot::server
