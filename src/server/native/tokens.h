// Text to ids and back: /v1/encode (LMDeploy's), /tokenize and /detokenize (vLLM's).
#pragma once

#include <memory>

#include "server/server_context.h"

namespace ingot::server {

void Encode(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange);
void Tokenize(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange);
void Detokenize(const ServerContext& context, const Schema& schema, const std::shared_ptr<Exchange>& exchange);

}  // namespace ingot::server
