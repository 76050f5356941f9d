// /v1/chat/interactive and /v1/sessions…
#pragma once

#include "llm/sessions.h"
#include "server/api_schemas.h"
#include "server/server_context.h"

namespace ingot::server {

// All of these outlive the router.
void AddSessionRoutes(Router& router, const ApiSchemas& schemas, const ServerContext& context, llm::Sessions& sessions);

}  // namespace ingot::server
