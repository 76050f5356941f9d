// The routes that answer, without HTTP: a body in, status and body out, by the handlers that serve. What `ingot batch`
// sends its requests to.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "llm/llm.h"
#include "server/http.h"

namespace ingot::server {

struct LocalApiOptions {
  std::string model_name;      // as requests name it
  int64_t max_output_len = 0;  // 0: what the context leaves
  int text_threads = 2;        // that render templates and tokenize
};

struct LocalRequest {
  std::string path;  // "/v1/chat/completions"
  std::string body;
  std::string request_id;
};

// Thread safety: all methods from any thread. Borrows the model. Its end waits for all answers.
class LocalApi {
 public:
  static std::unique_ptr<LocalApi> Make(llm::Llm& llm, const LocalApiOptions& options);
  virtual ~LocalApi() = default;
  virtual std::vector<std::string> paths() const = 0;
  // `on_answer` comes exactly once, from a thread of ours. An unknown path is 404; a body that asks for a stream 400.
  virtual void Post(LocalRequest request, std::function<void(HttpResponse)> on_answer) = 0;
  // Ends what runs: its answers come soon, with an error.
  virtual void CancelAll() = 0;
};

}  // namespace ingot::server
