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
#include "server/transport.h"

namespace ingot::server {

struct ApiServerOptions {
  HttpOptions http;
  std::string model_name;   // as /v1/models lists it and as requests name it
  std::string model_typed;  // another name that requests may use: the MODEL of the command line
  std::string model_root;   // what it was made of, as /v1/models tells anybody; "": its name
  std::string version;      // of Ingot
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
  std::string root_path;         // under which a proxy shows the server: "/ingot"; "": at the root
  bool vllm_metrics = false, lmdeploy_metrics = false;
  double stalled_seconds = 90;           // an engine that has work and makes no progress for so long counts as hung
  std::function<void()> on_terminate;    // POST /terminate
  std::shared_ptr<Transport> transport;  // beside HTTP; null: none
};

// Serves one model. Owns the HTTP server and the threads that render and tokenize; borrows the model.
// Until it serves: /health/live is 200, /health and /health/ready are 503 (initializing), and so is everything else.
class ApiServer {
 public:
  static Result<std::unique_ptr<ApiServer>> Listen(const ApiServerOptions& options);
  // Once, after which all routes are there. `startup_seconds`: what /metrics says of the time until then.
  virtual Status Serve(llm::Llm& llm, double startup_seconds) = 0;
  // Both.
  static Result<std::unique_ptr<ApiServer>> Start(llm::Llm& llm, const ApiServerOptions& options);
  virtual ~ApiServer() = default;
  virtual uint16_t port() const = 0;
  // Reads keys and certificate again.
  virtual Status Reload() = 0;
  // What runs has up to `drain_seconds`; meanwhile new requests, and /health, get 503 (draining). Idempotent.
  virtual void Stop(double drain_seconds) = 0;
  virtual const Router& router() const = 0;
};

}  // namespace ingot::server
