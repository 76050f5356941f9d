// From checked messages to those that chat templates know.
#pragma once

#include "server/answers/request_fields.h"

namespace ingot::server {

// OpenAI's messages, the value of field `param`, as templates read them. The error is of tool calls that the model's
// template would leave out: it does not show them.
std::optional<FieldError> ReadMessages(const boost::json::value& messages, const std::string& param,
                                       const llm::Llm& llm, llm::Request* request);
// add_generation_prompt, continue_final_message and what follows. The error is of those that exclude each other.
std::optional<FieldError> ReadTemplateOptions(const Fields& fields, llm::Request* request);
// chat_template_kwargs and enable_thinking.
void ReadTemplateKwargs(const Fields& fields, llm::Request* request);

}  // namespace ingot::server
