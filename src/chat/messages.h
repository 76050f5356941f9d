// OpenAI's messages as a template's values.
#pragma once

#include <boost/json/array.hpp>
#include <string_view>

#include "base/status.h"
#include "chat/runtime.h"

namespace ingot::chat {

// How a template takes what OpenAI's messages leave to it.
struct MessageForm {
  enum class Content : uint8_t { kAsGiven, kText, kParts };
  Content content = Content::kAsGiven;  // kText: text parts are joined; kParts: a text becomes a list of one part
  bool arguments_as_text = false;       // as JSON text; else as the object that it stands for
  std::string_view reasoning;           // the name of a message's reasoning; empty: its own
};

// What is put behind the last message while it is rendered, so that the place where it ends is found again.
constexpr std::string_view kContinueMark = "CONTINUE_FINAL_MESSAGE_TAG ";

// Throws Failure where a message is not as OpenAI has it. `mark_last`: kContinueMark ends the last message.
Value MessagesToValue(Runtime& runtime, const boost::json::array& messages, const MessageForm& form, bool mark_last);

// The texts of a message: its content, or those of its parts that are text, and its reasoning.
std::vector<std::string_view> TextsOf(const boost::json::value& message);

// The text of the last message; of the last text part where it has parts.
std::string LastMessageText(const boost::json::array& messages);

}  // namespace ingot::chat
