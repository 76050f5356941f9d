#include "chat/chat_template.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "chat/inspect.h"
#include "chat/interpreter.h"
#include "chat/messages.h"
#include "chat/parser.h"
#include "chat/unicode.h"

namespace ingot::chat {
namespace {

constexpr size_t kMaxSource = size_t{1} << 20;  // the largest of real templates has some 30 KB

constexpr std::string_view kReserved[] = {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"};

std::vector<std::pair<std::string_view, Value>> Globals(Runtime& runtime, const RenderInputs& inputs,
                                                        const TemplateTraits& traits) {
  const bool continues = inputs.continue_final_message;
  std::vector<std::pair<std::string_view, Value>> globals = {
      {"raise_exception", Builtin::kRaiseException},
      {"strftime_now", Builtin::kStrftimeNow},
      {"namespace", Builtin::kNamespace},
      {"range", Builtin::kRange},
      {"dict", Builtin::kDict},
      {"cycler", Builtin::kCycler},
      {"joiner", Builtin::kJoiner},
      {"documents", None{}},
      {"tools", None{}},
      {"messages", MessagesToValue(runtime, inputs.messages, traits, continues)},
      {"add_generation_prompt", inputs.add_generation_prompt && !continues},
      {"bos_token", TrustedStr(inputs.bos_token)},
      {"eos_token", TrustedStr(inputs.eos_token)},
  };
  if (!inputs.tools.empty()) globals.emplace_back("tools", FromJson(runtime, inputs.tools, false));
  for (const auto& [key, value] : inputs.kwargs) {  // later entries win
    const std::string_view name(key.data(), key.size());
    if (std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved)) {
      Fail(fmt::format("chat_template_kwargs: '{}' is reserved", name));
    }
    globals.emplace_back(name, FromJson(runtime, value, false));
  }
  return globals;
}

std::string Stripped(std::string_view text) { return Strip(UntrustedStr(text), nullptr, {})->marked.text; }

// As transformers has it: what follows the last message's own text is cut off.
MarkedText CutAfterLastMessage(const MarkedText& rendered, const std::string& last_text) {
  const std::string_view text = rendered.text;
  const std::string mark = Stripped(kContinueMark);
  const size_t found = text.rfind(mark);
  if (found == text.npos || text.find(Stripped(last_text)) == text.npos) {
    Fail("continue_final_message: the template does not print the last message as it is");
  }
  MarkedText out;
  AppendSlice(out, rendered, 0, found);
  if (text.substr(found).starts_with(kContinueMark)) return out;
  return Strip(MakeStr(std::move(out)), nullptr, {.left = false})->marked;
}

}  // namespace

struct ChatTemplate::Impl {
  std::string name, source;
  SyntaxTree tree;
  TemplateTraits traits;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

const std::string& ChatTemplate::name() const { return impl_->name; }
const std::string& ChatTemplate::source() const { return impl_->source; }

Result<ChatTemplate> ChatTemplate::Compile(std::string_view jinja_source, std::string name) {
  if (jinja_source.size() > kMaxSource) {
    return InvalidArgument("{}: the template has {} bytes, at most {} are allowed", name, jinja_source.size(),
                           kMaxSource);
  }
  if (!IsValidUtf8(jinja_source)) return InvalidArgument("{}: the template is not UTF-8", name);
  auto impl = std::make_unique<Impl>();
  impl->name = std::move(name);
  impl->source = jinja_source;
  try {
    impl->tree = Parse(jinja_source);
  } catch (const SyntaxError& error) {
    return InvalidArgument("{}:{}: {}", impl->name, error.line, error.message);
  }
  impl->traits = Inspect(impl->tree);
  return ChatTemplate(std::move(impl));
}

Result<MarkedText> ChatTemplate::Render(const RenderInputs& inputs, const RenderLimits& limits) const {
  Runtime runtime(limits);
  Interpreter interpreter(impl_->tree, runtime);
  try {
    const std::string last_text = inputs.continue_final_message ? LastMessageText(inputs.messages) : std::string();
    if (inputs.continue_final_message && last_text.empty()) {
      Fail("continue_final_message: the last message has no text");
    }
    MarkedText text = interpreter.Run(Globals(runtime, inputs, impl_->traits));
    return inputs.continue_final_message ? CutAfterLastMessage(text, last_text) : std::move(text);
  } catch (const Failure& failure) {
    if (failure.from_template) return Error(Status(failure.code, failure.message));
    return Error(Status(failure.code, fmt::format("{}:{}: {}", impl_->name, interpreter.line(), failure.message)));
  }
}

}  // namespace ingot::chat
