// POST /v1/chat/interactive: LMDeploy's stateful chat. The client sends the new turn only.
#pragma once

#include <memory>

#include "llm/sessions.h"
#include "server/server_context.h"

namespace ingot::server {

void Interactive(const ServerContext& context, llm::Sessions& sessions, const Schema& schema,
                 const std::shared_ptr<Exchange>& exchange);

}  // namespace ingot::server
