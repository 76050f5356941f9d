// OpenAI's messages as a template's values.
#pragma once

#include <boost/json/array.hpp>
#include <string_view>

#include "base/status.h"
#include "chat/inspect.h"
#include "chat/runtime.h"

namespace ingot::chat {

// What is put behind the last message while it is rendered, so that the place where it ends is found again.
constexpr std::string_view kContinueMark = "CONTINUE_FINAL_MESSAGE_TAG ";

// Throws Failure where a message is not as OpenAI has it. `mark_last`: kContinueMark ends the last message.
Value MessagesToValue(Runtime& runtime, const boost::json::array& messages, const TemplateTraits& traits,
                      bool mark_last);

// The text of the last message; of the last text part where it has parts.
std::string LastMessageText(const boost::json::array& messages);

}  // namespace ingot::chat
