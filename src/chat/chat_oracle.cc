// Renders templates for chat_oracle_test.py. Reads JSON lines {template | builtin, inputs: {messages, tools, kwargs,
// add_generation_prompt, continue_final_message, bos_token, eos_token}}, prints {"text", "marks"} or {"error"} for
// each. marks: for each byte of text "t" (the template's own) or "u" (a user's).
#include <boost/json.hpp>
#include <iostream>
#include <string>

#include "base/json.h"
#include "chat/chat_template.h"

namespace ingot::chat {
namespace {

namespace json = boost::json;

RenderInputs InputsFrom(const json::object& object) {
  RenderInputs inputs;
  const auto text = [&](std::string_view key) {
    const json::value* value = object.if_contains(key);
    return value == nullptr ? std::string() : std::string(value->as_string());
  };
  const auto flag = [&](std::string_view key) {
    const json::value* value = object.if_contains(key);
    return value != nullptr && value->as_bool();
  };
  if (const json::value* messages = object.if_contains("messages")) inputs.messages = messages->as_array();
  if (const json::value* tools = object.if_contains("tools")) inputs.tools = tools->as_array();
  if (const json::value* kwargs = object.if_contains("kwargs")) inputs.kwargs = kwargs->as_object();
  inputs.add_generation_prompt = flag("add_generation_prompt");
  inputs.continue_final_message = flag("continue_final_message");
  inputs.bos_token = text("bos_token");
  inputs.eos_token = text("eos_token");
  return inputs;
}

Result<MarkedText> Render(const json::object& request) {
  std::string source;
  if (const json::value* name = request.if_contains("builtin")) {
    const auto builtin = BuiltinTemplate(std::string_view(name->as_string()));
    if (!builtin) return InvalidArgument("no built-in template of that name");
    source = *builtin;
  } else {
    source = std::string(request.at("template").as_string());
  }
  INGOT_ASSIGN_OR_RETURN(const ChatTemplate compiled, ChatTemplate::Compile(source, "template"));
  return compiled.Render(InputsFrom(request.at("inputs").as_object()));
}

std::string Answer(const std::string& line) {
  const Result<json::value> request = ParseJson(line, "request");
  std::string out;
  const Result<MarkedText> text =
      request ? Render(request->as_object()) : Result<MarkedText>(tl::unexpected(request.error()));
  if (!text) {
    out = "{\"error\": ";
    AppendJsonString(out, text.error().message());
    return out + "}";
  }
  std::string marks(text->text.size(), 'u');
  for (const MarkedText::Span& span : text->trusted) {
    for (size_t i = span.begin; i < span.end; ++i) marks[i] = 't';
  }
  out = "{\"text\": ";
  AppendJsonString(out, text->text);
  return out + ", \"marks\": \"" + marks + "\"}";
}

}  // namespace
}  // namespace ingot::chat

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--builtins") {
    for (const std::string& name : ingot::chat::BuiltinTemplateNames()) {
      std::string out;
      ingot::AppendJsonString(out, *ingot::chat::BuiltinTemplate(name));
      std::cout << name << '\t' << out << '\n';
    }
    return 0;
  }
  for (std::string line; std::getline(std::cin, line);) std::cout << ingot::chat::Answer(line) << '\n' << std::flush;
}
