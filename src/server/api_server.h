// The API server: routes, and what they need of a model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "llm/llm.h"
#include "llm/sessions.h"
#include "server/api_keys.h"
#include "server/http.h"
#include "server/server_context.h"

namespace ingot::server {

struct ApiServerOptions {
  HttpOptions http;
  std::string model_name;  // as /v1/models lists it and as requests name it
  std::string version;     // of Ingot
  ApiKeyOptions keys;
  AnswerOptions answers;
  llm::SessionOptions sessions;
  int64_t max_output_len = 0;  // 0: what the context leaves
  int text_threads = 2;        // that render templates and tokenize
  int max_queue = 1024;        // requests that wait for one of them; more get 429
  std::vector<std::string> allow_origins, allow_methods = {"GET", "POST", "DELETE", "OPTIONS"},
                                          allow_headers = {"*"};  // CORS
  bool allow_credentials = false;
  bool allow_terminate = false;  // POST /terminate
  bool docs = true;              // /docs, /chat and /openapi.json
  bool vllm_metrics = false, lmdeploy_metrics = false;
  double startup_seconds = 0;
  std::function<void()> on_terminate;  // POST /terminate
};

// Serves one model. Owns the HTTP server and the threads that render and tokenize; borrows the model.
class ApiServer {
 public:
  static Result<std::unique_ptr<ApiServer>> Start(llm::Llm& llm, const ApiServerOptions& options);
  virtual ~ApiServer() = default;
  virtual uint16_t port() const = 0;
  // Reads keys and certificate again.
  virtual Status Reload() = 0;
  // New requests get 503; what runs has up to `drain_seconds`. Idempotent.
  virtual void Stop(double drain_seconds) = 0;
  virtual const Router& router() const = 0;
};

}  // namespace ingot::server
