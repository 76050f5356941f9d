#include "chat/messages.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/json.h"
#include "chat/chat_template.h"

namespace ingot::chat {
namespace {

namespace json = boost::json;

// No special token is spelled like a role, so these names are as good as the template's own.
bool IsKnownRole(std::string_view role) {
  constexpr std::string_view kRoles[] = {"system", "user", "assistant", "tool", "developer"};
  return std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles);
}

std::string_view PartText(const json::value& part, size_t index) {
  const json::object* object = part.if_object();
  const json::value* text = object == nullptr ? nullptr : object->if_contains("text");
  if (text == nullptr || !text->is_string()) {
    const json::value* type = object == nullptr ? nullptr : object->if_contains("type");
    const std::string_view name =
        type != nullptr && type->is_string() ? std::string_view(type->get_string()) : "(none)";
    Fail(fmt::format("messages[{}].content: a part of type {} is not supported, only text is", index, name));
  }
  return text->get_string();
}

json::value ContentFor(const MessageForm& form, const json::value& content, size_t index) {
  using Content = MessageForm::Content;
  if (const json::array* parts = content.if_array(); parts != nullptr && form.content == Content::kText) {
    std::string text;
    for (size_t i = 0; i < parts->size(); ++i) {
      if (i > 0) text += '\n';
      text += PartText((*parts)[i], index);
    }
    return json::string(text);
  }
  if (content.is_string() && form.content == Content::kParts) {
    return json::array{json::object{{"type", "text"}, {"text", content.get_string()}}};
  }
  return content;
}

// What OpenAI sends as JSON text, templates of Hugging Face expect as an object.
void FormArguments(const MessageForm& form, json::value& tool_calls) {
  json::array* calls = tool_calls.if_array();
  if (calls == nullptr) return;
  for (json::value& call : *calls) {
    json::object* object = call.if_object();
    json::value* function = object == nullptr ? nullptr : object->if_contains("function");
    json::object* target = function == nullptr ? object : function->if_object();
    json::value* arguments = target == nullptr ? nullptr : target->if_contains("arguments");
    if (arguments == nullptr || !arguments->is_string() || form.arguments_as_text) continue;
    const Result<json::value> parsed = ParseJson(arguments->get_string(), "arguments");
    if (parsed && parsed->is_object()) *arguments = *parsed;
  }
}

// The text where a continued message ends.
json::string* LastText(json::value& content) {
  if (content.is_string()) return &content.get_string();
  json::array* parts = content.if_array();
  if (parts == nullptr) return nullptr;
  for (auto part = parts->rbegin(); part != parts->rend(); ++part) {
    json::value* text = part->is_object() ? part->get_object().if_contains("text") : nullptr;
    if (text != nullptr && text->is_string()) return &text->get_string();
  }
  return nullptr;
}

json::object Prepared(const json::object& message, const MessageForm& form, size_t index, bool mark) {
  json::object prepared = message;
  if (json::value* content = prepared.if_contains("content")) {
    *content = ContentFor(form, *content, index);
    if (json::string* text = mark ? LastText(*content) : nullptr) text->append(kContinueMark);
  }
  if (json::value* calls = prepared.if_contains("tool_calls")) FormArguments(form, *calls);
  for (const std::string_view name : kReasoningNames) {
    if (form.reasoning.empty() || name == form.reasoning || !message.contains(name)) continue;
    prepared.erase(name);
    prepared[form.reasoning] = message.at(name);
  }
  return prepared;
}

}  // namespace

Value MessagesToValue(Runtime& runtime, const json::array& messages, const MessageForm& form, bool mark_last) {
  Values list;
  for (size_t i = 0; i < messages.size(); ++i) {
    const json::object* message = messages[i].if_object();
    if (message == nullptr) Fail(fmt::format("messages[{}] must be an object", i));
    const json::value* role = message->if_contains("role");
    if (role == nullptr || !role->is_string()) Fail(fmt::format("messages[{}].role must be a string", i));
    DictData dict;
    for (const auto& [key, value] : Prepared(*message, form, i, mark_last && i + 1 == messages.size())) {
      const bool trusted = key == "role" && IsKnownRole(role->get_string());
      dict.Set(UntrustedStr(key), FromJson(runtime, value, trusted, /*in_message=*/key == "content"));
    }
    list.push_back(runtime.MakeDict(std::move(dict)));
  }
  return runtime.MakeList(std::move(list));
}

std::vector<std::string_view> TextsOf(const json::value& message) {
  std::vector<std::string_view> texts;
  const auto add = [&](const json::value& object, std::string_view key) {
    const json::value* text = object.is_object() ? object.get_object().if_contains(key) : nullptr;
    if (text != nullptr && text->is_string()) texts.push_back(text->get_string());
    return text;
  };
  const json::value* content = add(message, "content");
  if (content != nullptr && content->is_array()) {
    for (const json::value& part : content->get_array()) add(part, "text");
  }
  for (const std::string_view name : kReasoningNames) add(message, name);
  return texts;
}

std::string LastMessageText(const json::array& messages) {
  if (messages.empty() || !messages.back().is_object()) return {};
  const json::value* content = messages.back().get_object().if_contains("content");
  if (content == nullptr) return {};
  json::value copy = *content;
  const json::string* text = LastText(copy);
  return text == nullptr ? std::string() : std::string(*text);
}

void PrependSystemMessage(json::array& messages, std::string_view text) {
  const auto is_system = [](const json::value& message) {
    const json::object* object = message.if_object();
    const json::value* role = object == nullptr ? nullptr : object->if_contains("role");
    return role != nullptr && role->is_string() &&
           (role->get_string() == "system" || role->get_string() == "developer");
  };
  if (std::any_of(messages.begin(), messages.end(), is_system)) return;
  messages.insert(messages.begin(), json::object{{"role", "system"}, {"content", json::string(text)}});
}

}  // namespace ingot::chat
