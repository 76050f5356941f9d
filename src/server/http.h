// The HTTP core: HTTP/1.1 over Boost.Beast coroutines, hidden behind plain types so that Beast is compiled in
// connection.cc and request_reader.cc alone.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "answers/errors.h"
#include "answers/schema.h"
#include "base/log.h"
#include "base/status.h"
#include "server/body_memory.h"

namespace ingot::server {

using answers::ErrorStyle;
using answers::FieldError;
using answers::InternalError;
using answers::Schema;
using answers::ToWireError;
using answers::WireError;

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // percent-decoded, without the query
  std::string query;   // as sent
  Headers headers;
  std::string body;
  BodyShare body_share;    // of the server's memory for bodies
  std::string request_id;  // the client's X-Request-Id where it is sane, else ours
  std::string client;      // address and port
  std::chrono::steady_clock::time_point received = std::chrono::steady_clock::now();
  std::string key_id;                                  // which API key it came with: a hash of it; "" without one
  bool is_admin = false;                               // it came with an admin key
  const ErrorStyle* errors = &answers::kOpenAiErrors;  // its route's

  // Case-insensitive; "" when absent.
  std::string_view Header(std::string_view name) const;
  // Frees the body, once it is no more needed: an answer may take long.
  void DropBody() {
    body = std::string();
    body_share = BodyShare();
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers;
  // Of a stream: sent when nothing else was for so long, so that proxies do not close it. 0: never.
  int ping_seconds = 0;
  std::string ping;
};

// One request and its way back. Thread safety: all methods from any thread; bytes leave in the order of the calls.
// A response is either one Respond, or StartStream, any number of Send, and Finish or FailStream. A dropped Exchange
// that answered nothing is a 500.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const HttpRequest& request() const = 0;
  virtual HttpRequest& mutable_request() = 0;  // for the router, before any handler sees it, and to drop the body
  virtual void Respond(HttpResponse response) = 0;
  // Status and headers (body is ignored) of a stream in chunked transfer. They leave with the first chunk or ping.
  virtual void StartStream(HttpResponse head) = 0;
  // false once the client is gone or reads so slowly that its buffer is full: the stream is over then, and on_close was
  // or will be called.
  virtual bool Send(std::string chunk) = 0;
  virtual void Finish() = 0;
  // Ends a stream that went wrong with `last`, or where nothing has left yet, with `instead` in its place.
  virtual void FailStream(HttpResponse instead, std::string last) = 0;
  // The same where there is nothing to say: the connection is closed, and the client sees that the body is not whole.
  virtual void Abort() = 0;
  // What the log line of the request is to say beside the rest: prompt=12 answer=3.
  virtual void Note(LogFields note) = 0;
  // Called once, from an I/O thread, if the client goes away before the answer is complete; at once if it is gone
  // already.
  virtual void OnClose(std::function<void()> on_close) = 0;
  // Called once, from an I/O thread, if the server stops without waiting for the answer any longer, which should then
  // end at once, with an error; at once if that has happened already.
  virtual void OnStop(std::function<void()> on_stop) = 0;
  // Whether the client has gone, or the answer is complete.
  virtual bool closed() = 0;
};

// The error, with the headers that belong to it: Retry-After, whether to try again.
HttpResponse ErrorResponse(const WireError& error, const ErrorStyle& style = answers::kOpenAiErrors);

// A route as data: who may call it, what it takes and what it answers. The router and the OpenAPI document are made of
// these.
enum class Access : uint8_t {
  kOpen,  // anybody: liveness
  kKey,   // an API key, where the server asks for keys
  kAdmin  // an admin key
};

struct Parameter {
  std::string name;
  bool in_path = false;  // else in the query
  Schema schema;
};

struct ResponseInfo {
  int status = 200;
  std::string description;
  std::string content_type = "application/json";
  const Schema* schema = nullptr;  // of a stream: of an event. Outlives the router; null: no body, or plain text
};

struct RouteInfo {
  std::string summary, tag;
  Access access = Access::kKey;
  bool while_draining = false;      // answers, too, when the server is about to end
  const Schema* request = nullptr;  // outlives the router; null: no body
  std::vector<Parameter> parameters;
  std::vector<ResponseInfo> responses;  // of success
  const ErrorStyle* errors = &answers::kOpenAiErrors;
  bool hidden = false;  // pages and their parts: not in the document
};

// Called on an I/O thread: must not block. Hand work that takes time to a pool.
using HttpHandler = std::function<void(std::shared_ptr<Exchange>)>;

// What comes before every handler. All of it may be empty.
struct Guards {
  // An answer instead of the handler's: no key, draining. Sets key_id and is_admin.
  std::function<std::optional<HttpResponse>(const RouteInfo&, HttpRequest&)> admit;
  // Headers for every answer to this request (CORS). A preflight is answered with them alone.
  std::function<Headers(const HttpRequest&)> headers;
};

// Routes: exact paths, or one with a parameter: "/v1/sessions/{id}/rewind"; at the end it may contain slashes
// ("/v1/models/{model}"). The route with the longest fixed part holds.
class Router {
 public:
  struct Route {
    std::string method, path;
    RouteInfo info;
    HttpHandler handler;
  };
  void Add(Route route);
  void Add(std::string method, std::string path, HttpHandler handler);  // a hidden route that needs a key
  // Another path of the routes of `path`, hidden.
  void AddAlias(const std::string& alias, const std::string& path);
  void set_guards(Guards guards) { guards_ = std::move(guards); }
  // 404 for an unknown path, 405 with Allow for a known one; HEAD is GET without a body; OPTIONS answers 204.
  void Dispatch(std::shared_ptr<Exchange> exchange) const;
  Headers HeadersFor(const HttpRequest& request) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
  Guards guards_;
};

// What stands in a path for the parameter of a route's pattern. REQUIRES: the path matches.
std::string PathParameter(std::string_view pattern, std::string_view path);
// The first value of a name in a query string, decoded; nullopt without one.
std::optional<std::string> QueryParameter(std::string_view query, std::string_view name);
// A decimal number of 64 bits and nothing else.
std::optional<int64_t> WholeNumber(std::string_view text);
// "%41+b" → "A+b" ("A b" in a query); an invalid escape stays as it is.
std::string PercentDecode(std::string_view text, bool in_query = false);

// A request that was answered, or whose client left (then `complete` is false). Of one that was refused before it was
// read, method, path and headers are what had come.
struct AnsweredRequest {
  const HttpRequest& request;
  const Router& router;  // that it went to
  int status = 0;
  double seconds = 0;
  bool complete = false;
  LogFields note;
  bool slow = false;  // a stream that ended because its client did not read
};

// Files in PEM. Without a certificate bytes are plain.
struct TlsOptions {
  std::string cert_file, key_file;  // the certificate with its chain, and its key
  std::string key_password;
  std::string client_ca_file;  // not empty: only clients whose certificates these authorities signed
  bool enabled() const { return !cert_file.empty() || !key_file.empty(); }
};

struct HttpOptions {
  TlsOptions tls;
  std::string address = "127.0.0.1";
  uint16_t port = 23333;  // 0: any free one
  size_t max_body_bytes = size_t{16} << 20;
  size_t max_body_memory = size_t{1} << 30;  // of all bodies at once; at least max_body_bytes
  uint32_t max_header_bytes = 16 << 10;
  int max_connections = 4096;
  size_t max_buffered_bytes = 256 << 10;  // of a stream that its client does not read
  int header_timeout_seconds = 10;        // to send a whole header
  int body_timeout_seconds = 60;
  int idle_timeout_seconds = 60;                            // between requests of one connection
  int write_timeout_seconds = 30;                           // for the client to take the next bytes
  std::function<void(const AnsweredRequest&)> on_answered;  // on the I/O thread; may be empty
};

// The bytes of bodies that a server with these options holds at once.
inline size_t BodyMemoryOf(const HttpOptions& options) {
  return std::max(options.max_body_memory, options.max_body_bytes);
}

// Owns its one I/O thread.
class HttpServer {
 public:
  // Binds and listens, so that errors come at once and clients can connect; none is answered before Run.
  static Result<std::unique_ptr<HttpServer>> Listen(const HttpOptions& options, Router router);
  virtual void Run() = 0;  // once; returns at once
  // Other routes, for requests that come from now on. From any thread.
  virtual void SetRouter(Router router) = 0;
  virtual ~HttpServer() = default;    // Stop(0)
  virtual uint16_t port() const = 0;  // the one it listens on
  virtual int open_connections() const = 0;
  virtual size_t body_bytes() const = 0;  // of the bodies in hand
  // Reads certificate and key again, for connections that begin from then on. On an error the old ones hold.
  virtual Status ReloadTls() = 0;
  // Waits up to `drain_seconds` for running exchanges; meanwhile a connection, new ones too, has one answer more at
  // most. Then tells those that are left to end, and closes what has not after a second. Idempotent.
  virtual void Stop(double drain_seconds) = 0;
};

}  // namespace ingot::server
