// POST /generate, as LMDeploy has it: a prompt or ids in, text and ids out.
#pragma once

#include <memory>

#include "server/server_context.h"

namespace ingot::server {

void Generate(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange);

}  // namespace ingot::server
