// POST /v1/chat/interactive: LMDeploy's stateful chat. The client sends the new turn only.
#pragma once

#include <memory>

#include "llm/sessions.h"
#include "server/server_context.h"

namespace ingot::server {

// Content-Type of its streams: a JSON object a line.
inline constexpr const char* kLines = "application/x-ndjson; charset=utf-8";

void Interactive(const ServerContext& context, llm::Sessions& sessions, const Schema& schema,
                 const std::shared_ptr<Exchange>& exchange);

}  // namespace ingot::server
