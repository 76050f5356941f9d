// POST /v1/chat/completions.
#pragma once

#include <memory>

#include "server/server_context.h"

namespace ingot::server {

// Reads a checked body. The error is of what a schema cannot say.
tl::expected<llm::Request, FieldError> ReadChatRequest(const boost::json::value& body, const ServedModel& model);

// Answers the exchange; renders and tokenizes on the calling thread.
void ChatCompletions(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange);

}  // namespace ingot::server
