// The API server: routes, and what they need of a model.
#pragma once

#include <memory>
#include <string>

#include "llm/llm.h"
#include "server/http.h"

namespace ingot::server {

struct ApiServerOptions {
  HttpOptions http;
  std::string model_name;  // as /v1/models lists it and as requests name it
};

// Serves one model. Owns the HTTP server and the threads that render and tokenize; borrows the model.
class ApiServer {
 public:
  static Result<std::unique_ptr<ApiServer>> Start(llm::Llm& llm, const ApiServerOptions& options);
  virtual ~ApiServer() = default;
  virtual uint16_t port() const = 0;
  virtual void Stop(double drain_seconds) = 0;
};

}  // namespace ingot::server
