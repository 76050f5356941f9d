// An HTTP/1.1 client for many answers at once on one thread: keep-alive, TLS, bodies as they come. Boost.Beast stays
// behind this in http_client.cc.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "client/url.h"

namespace ingot::client {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpClientOptions {
  Url url;          // its path goes before every request's
  Headers headers;  // of every request
  double connect_timeout_seconds = 10;
  double silence_timeout_seconds = 600;  // without a byte from the server
  std::string ca_file;                   // certificates to trust beside the system's
  bool insecure = false;                 // take any certificate
};

struct HttpRequest {
  std::string method = "GET", path;  // "/v1/models"
  std::string content_type;          // "": no body
  std::string body;
};

struct ResponseHead {
  int status = 0;
  Headers headers;
  std::string_view Header(std::string_view name) const;  // case-insensitive; "" when absent
};

// Called from Run. The head once unless the request fails before it; then data, and on_end exactly once, last. kIo: no
// connection, or one that ended before the answer was whole; kDeadlineExceeded: silence; kCancelled.
struct ResponseHandlers {
  std::function<void(const ResponseHead&)> on_head;
  std::function<void(std::string_view)> on_data;
  std::function<void(const Status&)> on_end;
};

class HttpCall {
 public:
  virtual ~HttpCall() = default;
  virtual void Cancel() = 0;  // closes the connection; on_end follows with kCancelled, unless it was over
};

// Thread safety: one thread, on which Run calls everything. REQUIRES: Run has returned before it goes. A request on a
// connection that was kept, and that turns out to be closed before any answer, is sent once more on a new one.
class HttpClient {
 public:
  static Result<std::unique_ptr<HttpClient>> Make(const HttpClientOptions& options);
  virtual ~HttpClient() = default;

  // Starts a request; it continues during Run.
  virtual std::shared_ptr<HttpCall> Send(HttpRequest request, ResponseHandlers handlers) = 0;
  // Calls `then` from Run, `seconds` from now.
  virtual void After(double seconds, std::function<void()> then) = 0;
  // Until every request has ended and every timer has fired.
  virtual void Run() = 0;
};

// A whole answer.
struct WholeResponse {
  ResponseHead head;
  std::string body;
};
// Sends and runs. A body above 64 MiB is kResourceExhausted.
Result<WholeResponse> Fetch(HttpClient& client, HttpRequest request);

}  // namespace ingot::client
