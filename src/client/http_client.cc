// The client's only file that knows Beast. A coroutine a request; connections that are not in use wait in a list.
#include "client/http_client.h"

#include <poll.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>

namespace ingot::client {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr size_t kPieceBytes = 64 << 10;  // read at once
constexpr uint32_t kMaxHeadBytes = 64 << 10;

std::chrono::nanoseconds Seconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

// What a client and its requests share. A request that outlives its client continues until it is cancelled.
struct Core {
  explicit Core(HttpClientOptions given) : options(std::move(given)) {}
  const HttpClientOptions options;
  asio::io_context io{1};
  asio::ssl::context tls{asio::ssl::context::tls_client};
};

// A TCP connection, with TLS over it where the address says so.
struct Connection {
  explicit Connection(Core& core) : tcp_stream(core.io) {}

  // Whether the other side has closed it, or sent unrequested data.
  bool IsStale() {
    pollfd entry{tcp_stream.socket().native_handle(), POLLIN | POLLRDHUP, 0};
    return poll(&entry, 1, 0) != 0;
  }
  void Close() {
    error_code ignored;
    tcp_stream.socket().close(ignored);
  }

  beast::tcp_stream tcp_stream;
  std::optional<asio::ssl::stream<beast::tcp_stream&>> tls_stream;
  beast::flat_buffer buffer;
  bool was_used = false;  // by an earlier request
};

Status ConnectionError(const Core& core, const error_code& error, std::string_view what) {
  const std::string where = core.options.url.Text();
  if (error == beast::error::timeout) return DeadlineExceeded("{}: no answer in time ({})", where, what);
  if (error == http::error::partial_message || error == http::error::end_of_stream || error == asio::error::eof ||
      error == asio::ssl::error::stream_truncated) {
    return Io("{}: the connection ended before the answer was whole", where);
  }
  return Io("{}: {}: {}", where, what, error.message());
}

class ClientImpl;

class CallImpl : public HttpCall {
 public:
  CallImpl(std::shared_ptr<Core> core, HttpRequest request, ResponseHandlers handlers)
      : core(std::move(core)), request(std::move(request)), handlers(std::move(handlers)) {}

  void Cancel() override {
    cancelled = true;
    if (connection) connection->Close();
  }
  void End(Status status) {
    if (cancelled) status = Status(Code::kCancelled, "cancelled");
    const auto on_end = std::exchange(handlers, {}).on_end;
    if (on_end) on_end(status);
  }

  const std::shared_ptr<Core> core;
  const HttpRequest request;
  ResponseHandlers handlers;
  std::shared_ptr<Connection> connection;
  bool cancelled = false;
};
using CallPtr = std::shared_ptr<CallImpl>;

asio::awaitable<Status> Handshake(Core& core, Connection& connection) {
  const std::string& host = core.options.url.host;
  connection.tls_stream.emplace(connection.tcp_stream, core.tls);
  auto& tls = *connection.tls_stream;
  error_code ignored;
  const bool is_name = asio::ip::make_address(host, ignored).is_unspecified() && ignored;
  if (is_name) SSL_set_tlsext_host_name(tls.native_handle(), host.c_str());
  if (!core.options.insecure) tls.set_verify_callback(asio::ssl::host_name_verification(host), ignored);
  const auto [error] = co_await tls.async_handshake(asio::ssl::stream_base::client, kAwait);
  if (error) {
    const Status status = ConnectionError(core, error, "TLS");
    const bool is_untrusted =
        error.category() == asio::error::get_ssl_category() &&
        ERR_GET_REASON(static_cast<unsigned long>(error.value())) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    co_return status.Of(is_untrusted ? "ca_file" : "url");
  }
  co_return Status();
}

// Within the time that connecting may take in all.
asio::awaitable<Status> Connect(CallPtr call) {
  Core& core = *call->core;
  const HttpClientOptions& options = core.options;
  Connection& connection = *call->connection;
  tcp::resolver resolver(core.io);
  auto [resolve_error, endpoints] =
      co_await resolver.async_resolve(options.url.host, std::to_string(options.url.port), kAwait);
  if (resolve_error) co_return ConnectionError(core, resolve_error, "cannot find the host").Of("url");
  if (call->cancelled) co_return Status(Code::kCancelled, "cancelled");
  connection.tcp_stream.expires_after(Seconds(options.connect_timeout_seconds));
  const auto [error, endpoint] = co_await connection.tcp_stream.async_connect(endpoints, kAwait);
  if (error) co_return ConnectionError(core, error, "cannot connect").Of("url");
  error_code ignored;
  connection.tcp_stream.socket().set_option(tcp::no_delay(true), ignored);
  if (!options.url.tls) co_return Status();
  co_return co_await Handshake(core, connection);
}

http::request<http::string_body> ToMessage(const CallImpl& call) {
  const HttpClientOptions& options = call.core->options;
  http::request<http::string_body> message;
  message.version(11);
  message.method_string(call.request.method);
  message.target(options.url.path + call.request.path);
  message.set(http::field::host, options.url.HostHeader());
  message.set(http::field::user_agent, "ingot");
  for (const auto& [name, value] : options.headers) message.set(name, value);
  if (!call.request.content_type.empty()) {
    message.set(http::field::content_type, call.request.content_type);
    message.body() = call.request.body;
    message.prepare_payload();
  }
  return message;
}

ResponseHead ToHead(const http::response_header<>& header) {
  ResponseHead head{.status = static_cast<int>(header.result_int())};
  for (const auto& field : header) head.headers.emplace_back(field.name_string(), field.value());
  return head;
}

struct Outcome {
  Status status;
  bool keep_alive = false;  // the connection can serve again
  bool began = false;       // something of an answer has come
};

// Reads the body on, handing out what comes.
template <typename Stream>
asio::awaitable<Outcome> ReadBody(CallPtr call, Stream& stream, http::response_parser<http::buffer_body>& parser) {
  Connection& connection = *call->connection;
  std::vector<char> piece(kPieceBytes);
  while (!parser.is_done()) {
    auto& body = parser.get().body();
    body.data = piece.data();
    body.size = piece.size();
    connection.tcp_stream.expires_after(Seconds(call->core->options.silence_timeout_seconds));
    auto [error, count] = co_await http::async_read_some(stream, connection.buffer, parser, kAwait);
    if (error == http::error::need_buffer) error = {};
    const size_t size = piece.size() - body.size;
    if (size > 0 && call->handlers.on_data) call->handlers.on_data({piece.data(), size});
    if (error && !parser.is_done()) co_return Outcome{ConnectionError(*call->core, error, "cannot read"), false, true};
  }
  co_return Outcome{Status(), parser.keep_alive(), true};
}

template <typename Stream>
asio::awaitable<Outcome> Converse(CallPtr call, Stream& stream) {
  Connection& connection = *call->connection;
  const auto patience = Seconds(call->core->options.silence_timeout_seconds);
  const auto message = ToMessage(*call);
  connection.tcp_stream.expires_after(patience);
  const auto [write_error, written] = co_await http::async_write(stream, message, kAwait);
  // A server that refuses a body may answer and close before it has read all of it: look for the answer still.
  if (write_error == beast::error::timeout || call->cancelled)
    co_return Outcome{ConnectionError(*call->core, write_error, "cannot send"), false, true};
  http::response_parser<http::buffer_body> parser;
  parser.header_limit(kMaxHeadBytes);
  parser.body_limit(boost::none);
  if (call->request.method == "HEAD") parser.skip(true);
  connection.tcp_stream.expires_after(patience);
  const auto [error, count] = co_await http::async_read_header(stream, connection.buffer, parser, kAwait);
  if (error) {
    const bool began = parser.got_some() || error == beast::error::timeout;
    co_return Outcome{ConnectionError(*call->core, write_error ? write_error : error, "cannot read"), false, began};
  }
  if (call->handlers.on_head) call->handlers.on_head(ToHead(parser.get().base()));
  co_return co_await ReadBody(std::move(call), stream, parser);
}

class ClientImpl : public HttpClient, public std::enable_shared_from_this<ClientImpl> {
 public:
  explicit ClientImpl(std::shared_ptr<Core> core) : core_(std::move(core)) {}

  std::shared_ptr<HttpCall> Send(HttpRequest request, ResponseHandlers handlers) override {
    auto call = std::make_shared<CallImpl>(core_, std::move(request), std::move(handlers));
    asio::co_spawn(core_->io, Serve(idle_, call), [call](std::exception_ptr error) {
      if (error) call->End(Status(Code::kInternal, "the request ended in an exception"));
    });
    return call;
  }
  void After(double seconds, std::function<void()> then) override {
    auto timer = std::make_shared<asio::steady_timer>(core_->io, Seconds(seconds));
    timer->async_wait([timer, then = std::move(then)](error_code) { then(); });
  }
  void Run() override {
    core_->io.restart();
    core_->io.run();
  }

 private:
  using IdleList = std::vector<std::shared_ptr<Connection>>;

  // One that is open and unused, the last used first; null when there is none.
  static std::shared_ptr<Connection> TakeIdle(IdleList& idle) {
    while (!idle.empty()) {
      const auto connection = std::move(idle.back());
      idle.pop_back();
      if (!connection->IsStale()) return connection;
    }
    return nullptr;
  }

  static asio::awaitable<void> Serve(std::shared_ptr<IdleList> idle, CallPtr call) {
    co_await asio::this_coro::throw_if_cancelled(false);
    Outcome outcome;
    for (bool again = true; again;) {
      call->connection = TakeIdle(*idle);
      if (!call->connection) {
        call->connection = std::make_shared<Connection>(*call->core);
        outcome = {co_await Connect(call), false, true};
        if (!outcome.status.ok()) break;
      }
      Connection& connection = *call->connection;
      if (call->cancelled) break;
      if (connection.tls_stream) {
        outcome = co_await Converse(call, *connection.tls_stream);
      } else {
        outcome = co_await Converse(call, connection.tcp_stream);
      }
      again = !outcome.status.ok() && !outcome.began && connection.was_used && !call->cancelled;
    }
    const auto connection = std::exchange(call->connection, nullptr);
    if (outcome.keep_alive && outcome.status.ok() && !call->cancelled) {
      connection->tcp_stream.expires_never();
      connection->was_used = true;
      idle->push_back(connection);
    } else {
      connection->Close();
    }
    call->End(outcome.status);
  }

  const std::shared_ptr<Core> core_;
  const std::shared_ptr<IdleList> idle_ = std::make_shared<IdleList>();
};

Status SetUpTls(const HttpClientOptions& options, asio::ssl::context& tls) {
  error_code error;
  tls.set_verify_mode(options.insecure ? asio::ssl::verify_none : asio::ssl::verify_peer, error);
  if (!error) tls.set_default_verify_paths(error);
  if (!error && !options.ca_file.empty()) {
    tls.load_verify_file(options.ca_file, error);
    if (error) return InvalidArgument("{}: no certificates in PEM form: {}", options.ca_file, error.message());
  }
  if (error) return Io("TLS: {}", error.message());
  return {};
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

std::string_view ResponseHead::Header(std::string_view name) const {
  for (const auto& [known, value] : headers) {
    if (std::ranges::equal(known, name, {}, Lower, Lower)) return value;
  }
  return "";
}

Result<std::unique_ptr<HttpClient>> HttpClient::Make(const HttpClientOptions& options) {
  auto core = std::make_shared<Core>(options);
  if (options.url.tls) INGOT_RETURN_IF_ERROR(SetUpTls(options, core->tls));
  return std::make_unique<ClientImpl>(std::move(core));
}

Result<WholeResponse> Fetch(HttpClient& client, HttpRequest request) {
  constexpr size_t kMaxBytes = size_t{64} << 20;
  WholeResponse response;
  Status status;
  std::shared_ptr<HttpCall> call;
  bool too_large = false;
  call = client.Send(std::move(request), {.on_head = [&](const ResponseHead& head) { response.head = head; },
                                          .on_data =
                                              [&](std::string_view data) {
                                                response.body += data;
                                                too_large = response.body.size() > kMaxBytes;
                                                if (too_large) call->Cancel();
                                              },
                                          .on_end = [&](const Status& end) { status = end; }});
  client.Run();
  if (too_large) return ResourceExhausted("the answer exceeds {} bytes", kMaxBytes);
  if (!status.ok()) return Error(std::move(status));
  return response;
}

}  // namespace ingot::client
