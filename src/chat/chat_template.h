// Chat templates: the Jinja subset that real checkpoints use, and built-in templates for those that carry none.
#pragma once

#include <boost/json/value.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/marked_text.h"

namespace ingot::chat {

struct RenderLimits {
  int64_t max_steps = 500'000;           // statements and expressions evaluated
  size_t max_output = size_t{16} << 20;  // bytes
  int max_recursion = 64;                // macros and nested data
};

// What is given to Hugging Face's apply_chat_template, with these rules where that leaves a choice:
// - tools and documents are None where there are none; a kwarg may not take the name of another input.
// - tool_calls[].function.arguments, JSON text in OpenAI's requests, is parsed into the object that templates expect.
// - Where a template cannot take a conversation so (it fails, prints a list or a dict, goes through the characters of
//   content), it is rendered in other forms: text parts joined by newlines, a text as a list of one part, arguments as
//   JSON text, reasoning_content under the name that the template reads. The one that shows the most of it is the
//   answer.
// - A role that is system, user, assistant, tool or developer counts as trusted: no special token is spelled like it.
// - continue_final_message comes before add_generation_prompt.
struct RenderInputs {
  // OpenAI's messages: [{role, content: string | [{type: text, text}] | null, name?, tool_calls?, tool_call_id?,
  // reasoning_content?}]. All strings in it are a user's: untrusted.
  boost::json::array messages;
  boost::json::array tools;    // untrusted too; empty: the template sees none
  boost::json::object kwargs;  // chat_template_kwargs (enable_thinking …): untrusted
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // leave the last (assistant) message open
  std::string bos_token, eos_token;     // trusted
};

// A compiled template. Thread safety: const methods from any thread at once.
class ChatTemplate {
 public:
  static Result<ChatTemplate> Compile(std::string_view jinja_source, std::string name);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // raise_exception, a limit, or a type error of the template: kInvalidArgument with the template's message.
  Result<MarkedText> Render(const RenderInputs& inputs, const RenderLimits& limits = {}) const;
  const std::string& name() const;
  const std::string& source() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Puts a system message with `text` before a conversation that has none of its own: for --meta-instruction.
void PrependSystemMessage(boost::json::array& messages, std::string_view text);

// Built-in templates as Jinja sources, by name: internlm, internlm2, llama2, llama3, chatml, qwen, mistral, gemma,
// vicuna, …
std::vector<std::string> BuiltinTemplateNames();
std::optional<std::string_view> BuiltinTemplate(std::string_view name);
// The built-in for a checkpoint without a template, from its architecture ("InternLM2ForCausalLM", "llama") and its
// path or name ("internlm-chat-7b"); nullopt when it looks like a base model (no chat/instruct/it in the name): it is
// to be completed.
std::optional<std::string_view> GuessTemplate(std::string_view architecture, std::string_view model_name);

}  // namespace ingot::chat
