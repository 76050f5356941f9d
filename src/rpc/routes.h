// The calls that gRPC answers, as routes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "server/transport.h"

namespace ingot::rpc {

// A method whose requests are a stream: each is answered for itself, and an error is a message.
struct Stream {
  const char* method;
  std::string (*error_message)(const std::string& message);
};
// Null where the method takes one request.
const Stream* FindStream(std::string_view method);

inline constexpr const char* kInferenceService = "inference.GRPCInferenceService";
inline constexpr const char* kGenerationService = "ingot.v1.Generation";

void AddInferenceRoutes(server::Router& router, const server::TransportParts& parts);
void AddGenerationRoutes(server::Router& router, const server::TransportParts& parts);
void AddReflectionRoutes(server::Router& router);

}  // namespace ingot::rpc
