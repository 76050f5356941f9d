// The request body of /v1/chat/completions, checked field by field.
#pragma once

#include <string>
#include <string_view>

#include "llm/llm.h"
#include "server/errors.h"

namespace ingot::server {

struct ChatRequest {
  llm::Request request;
  std::string model;
  bool stream = false;
  bool include_usage = false;  // stream_options.include_usage
};

// An error with the field it is about.
struct FieldError {
  std::string param;
  Status status;
};

// `defaults`: what sampling fields are when the body does not name them. Unknown fields are ignored, as clients send
// extras; a field that asks for what Ingot does not do (tools, response_format, …) is an error and never passed over.
tl::expected<ChatRequest, FieldError> ParseChatRequest(std::string_view body, const llm::SamplingParams& defaults);

}  // namespace ingot::server
