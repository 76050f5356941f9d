// POST /v1/completions.
#pragma once

#include <memory>

#include "server/server_context.h"

namespace ingot::server {

// Reads a checked body: a request for each prompt. The error is of what a schema cannot say.
tl::expected<std::vector<llm::Request>, FieldError> ReadCompletionRequests(const boost::json::value& body,
                                                                           const ServedModel& model);

// Answers the exchange; tokenizes on the calling thread.
void Completions(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange);

}  // namespace ingot::server
