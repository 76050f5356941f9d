#include "chat/chat_template.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "chat/interpreter.h"
#include "chat/messages.h"
#include "chat/parser.h"
#include "text/utf8.h"

namespace ingot::chat {
namespace {

constexpr size_t kMaxSource = size_t{1} << 20;  // the largest of real templates has some 30 KB

constexpr std::string_view kReserved[] = {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"};

std::vector<std::pair<std::string_view, Value>> Globals(Runtime& runtime, const RenderInputs& inputs,
                                                        const MessageForm& form) {
  const bool continues = inputs.continue_final_message;
  std::vector<std::pair<std::string_view, Value>> globals = {
      {"raise_exception", Builtin::kRaiseException},
      {"strftime_now", Builtin::kStrftimeNow},
      {"namespace", Builtin::kNamespace},
      {"range", Builtin::kRange},
      {"self", runtime.MakeDict({})},  // the blocks of the template: chat templates have none
      {"documents", None{}},
      {"tools", None{}},
      {"messages", MessagesToValue(runtime, inputs.messages, form, continues)},
      {"add_generation_prompt", inputs.add_generation_prompt && !continues},
      {"bos_token", TrustedStr(inputs.bos_token)},
      {"eos_token", TrustedStr(inputs.eos_token)},
  };
  if (!inputs.tools.empty()) globals.emplace_back("tools", FromJson(runtime, inputs.tools, false));
  for (const auto& [key, value] : inputs.kwargs) {  // later entries win
    const std::string_view name = key;
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

struct Attempt {
  Result<MarkedText> text;
  bool prints_data = false, walks_text = false, out_of_budget = false;
  std::string_view other_reasoning;
};

// What there is in a conversation that a template may take in more than one form.
struct Conversation {
  std::vector<std::string> texts;  // of all messages, without white space around them
  bool has_texts = false, has_parts = false, has_arguments = false;
  bool has_media = false;  // parts that are no text

  explicit Conversation(const boost::json::array& messages) {
    for (const boost::json::value& message : messages) {
      for (const std::string_view text : TextsOf(message)) texts.push_back(Stripped(text));
      const boost::json::object* object = message.if_object();
      if (object == nullptr) continue;
      has_arguments = has_arguments || object->contains("tool_calls");
      const boost::json::value* content = object->if_contains("content");
      if (content == nullptr) continue;
      has_texts = has_texts || content->is_string();
      has_parts = has_parts || content->is_array();
      has_media = has_media || (content->is_array() && !IsAllText(content->get_array()));
    }
  }

  static bool IsAllText(const boost::json::array& parts) {
    return std::all_of(parts.begin(), parts.end(), [](const boost::json::value& part) {
      return part.is_object() && part.get_object().contains("text");
    });
  }
};

// How many of the conversation's texts the rendering shows. Worse than none of them is a list or a dict as Python
// prints it, and worse than that an error; but an error is better than the printed list of an image.
int64_t Shown(const Attempt& attempt, const Conversation& conversation) {
  constexpr int64_t kData = int64_t{1} << 20, kFailed = int64_t{1} << 40;
  if (!attempt.text) return -kFailed;
  if (attempt.prints_data && conversation.has_media) return -2 * kFailed;
  const auto shows = [&](const std::string& text) {
    return FindBytes(attempt.text->text, text, 0) != std::string::npos;
  };
  return std::count_if(conversation.texts.begin(), conversation.texts.end(), shows) - (attempt.prints_data ? kData : 0);
}

// The forms that a template may want, other than that of the first attempt.
std::vector<MessageForm> OtherForms(const Attempt& first, const Conversation& conversation) {
  using Content = MessageForm::Content;
  std::vector<MessageForm> forms;
  for (const Content content : {Content::kAsGiven, Content::kText, Content::kParts}) {
    if (content == Content::kText && !conversation.has_parts) continue;
    if (content == Content::kParts && !conversation.has_texts) continue;
    forms.push_back({content, false, first.other_reasoning});
    if (conversation.has_arguments) forms.push_back({content, true, first.other_reasoning});
  }
  if (first.other_reasoning.empty()) forms.erase(forms.begin());  // the first itself
  return forms;
}

}  // namespace

struct ChatTemplate::Impl {
  std::string name, source;
  SyntaxTree tree;

  Attempt Try(const RenderInputs& inputs, const RenderLimits& limits, const MessageForm& form) const;
};

Attempt ChatTemplate::Impl::Try(const RenderInputs& inputs, const RenderLimits& limits, const MessageForm& form) const {
  Runtime runtime(limits);
  Interpreter interpreter(tree, runtime);
  const auto render = [&]() -> Result<MarkedText> {
    try {
      MarkedText text = interpreter.Run(Globals(runtime, inputs, form));
      if (inputs.continue_final_message) return CutAfterLastMessage(text, LastMessageText(inputs.messages));
      return text;
    } catch (const Failure& failure) {
      if (failure.from_template) return Error(Status(failure.code, failure.message));
      return Error(Status(failure.code, fmt::format("{}:{}: {}", name, interpreter.line(), failure.message)));
    }
  };
  Result<MarkedText> text = render();
  return {std::move(text), runtime.prints_data(), runtime.walks_text(), runtime.out_of_budget(),
          runtime.other_reasoning()};
}

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
  return ChatTemplate(std::move(impl));
}

Result<MarkedText> ChatTemplate::Render(const RenderInputs& inputs, const RenderLimits& limits) const {
  if (inputs.continue_final_message && LastMessageText(inputs.messages).empty()) {
    return InvalidArgument("{}: continue_final_message: the last message has no text", impl_->name);
  }
  Attempt best = impl_->Try(inputs, limits, {});
  const Conversation conversation(inputs.messages);
  int64_t most = Shown(best, conversation);
  const bool lost_parts = conversation.has_parts && most < std::ssize(conversation.texts);
  const bool doubtful = !best.text || best.prints_data || best.walks_text || lost_parts;
  std::vector<MessageForm> others;
  if (doubtful && !best.out_of_budget) {
    others = OtherForms(best, conversation);
  } else if (!best.other_reasoning.empty()) {
    others.push_back({.reasoning = best.other_reasoning});
  }
  for (const MessageForm& form : others) {
    Attempt other = impl_->Try(inputs, limits, form);
    if (const int64_t shown = Shown(other, conversation); shown > most) {
      most = shown;
      best.text = std::move(other.text);
    }
  }
  return std::move(best.text);
}

}  // namespace ingot::chat
