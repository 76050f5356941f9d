// Another way in beside HTTP/1.1, which has its own routes and shares keys, limits, counts and the log: gRPC.
#pragma once

#include <functional>

#include "kserve/generation.h"
#include "server/server_context.h"

namespace ingot::server {

// What its routes may use.
struct TransportParts {
  std::string version;             // of Ingot
  std::function<bool()> is_ready;  // whether requests are taken
  const Router* http = nullptr;    // the routes of HTTP; this and what follows is null while the model is loaded
  const ServerContext* context = nullptr;
  const ApiSchemas* schemas = nullptr;
  const kserve::Generator* generator = nullptr;
  llm::Sessions* sessions = nullptr;
};

class Transport {
 public:
  virtual ~Transport() = default;  // Stop(0)
  virtual Router MakeRouter(const TransportParts& parts) const = 0;
  // Binds and serves `router`, whose handlers are called from any thread. Once.
  virtual Status Listen(Router router, std::function<void(const AnsweredRequest&)> on_answered) = 0;
  virtual void SetRouter(Router router) = 0;
  virtual int port() const = 0;
  // As HttpServer has them.
  virtual Status ReloadTls() = 0;
  virtual void Stop(double drain_seconds) = 0;
};

}  // namespace ingot::server
