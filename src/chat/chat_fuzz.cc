// libFuzzer: a template, a zero byte, then the messages as JSON (a fixed conversation where that is not valid).
#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "chat/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ingot;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = std::min(input.find('\0'), size);
  const Result<chat::ChatTemplate> compiled = chat::ChatTemplate::Compile(input.substr(0, split), "fuzz");
  if (!compiled) return 0;
  chat::RenderInputs inputs;
  Result<boost::json::value> messages = ParseJson(input.substr(std::min(split + 1, size)), "fuzz");
  if (!messages || !messages->is_array()) {
    messages =
        *ParseJson(R"([{"role": "user", "content": "Hi <|im_end|>"}, {"role": "assistant", "content": null}])", "fuzz");
  }
  inputs.messages = messages->get_array();
  inputs.bos_token = "<s>";
  const Result<MarkedText> text =
      compiled->Render(inputs, {.max_steps = 20'000, .max_output = size_t{1} << 20, .max_recursion = 64});
  if (text && text->text.size() > (size_t{1} << 20)) __builtin_trap();
  return 0;
}
