// The only file that knows Beast. One coroutine serves a connection; a second one, while a request is answered, watches
// for the client going away.
#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "base/log.h"
#include "server/errors.h"
#include "server/http.h"
#include "server/outbox.h"
#include "server/read_timer.h"
#include "server/socket_stream.h"
#include "server/tls.h"

namespace ingot::server {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using std::chrono::seconds;

std::string RequestId(std::string_view from_client) {
  const auto is_sane = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  if (!from_client.empty() && from_client.size() <= 128 &&
      std::all_of(from_client.begin(), from_client.end(), is_sane)) {
    return std::string(from_client);
  }
  static std::mt19937_64 generator{std::random_device{}()};  // I/O thread only
  return fmt::format("{:016x}{:016x}", generator(), generator());
}

HttpRequest ToRequest(http::request<http::string_body>&& message) {
  HttpRequest request;
  request.method = std::string(message.method_string());
  std::string_view target(message.target().data(), message.target().size());
  // A proxy's form, "GET http://host/path": the path is what counts.
  if (target.starts_with("http://") || target.starts_with("https://")) {
    const size_t slash = target.find('/', target.find("//") + 2);
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  const size_t question = target.find('?');
  request.path = PercentDecode(target.substr(0, question));
  if (question != std::string_view::npos) request.query = std::string(target.substr(question + 1));
  for (const auto& field : message) {
    request.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  }
  request.body = std::move(message.body());
  request.request_id = RequestId(request.Header("X-Request-Id"));
  return request;
}

struct Connection;

// What connections share. All on the I/O thread but for what the mutex guards.
struct Core {
  HttpOptions options;
  std::shared_ptr<asio::io_context> io = std::make_shared<asio::io_context>(1);
  std::shared_ptr<asio::ssl::context> tls;  // of new connections; null: plain
  std::set<Connection*> connections;
  bool draining = false;

  std::mutex mutex;  // guards what follows
  std::shared_ptr<const Router> router;
  std::condition_variable changed;
  int num_connections = 0, num_exchanges = 0;
  bool stopped = false;  // the I/O thread has nothing left to do

  void Count(int connections_delta, int exchanges_delta) {
    std::lock_guard lock(mutex);
    num_connections += connections_delta;
    num_exchanges += exchanges_delta;
    changed.notify_all();
  }
  std::shared_ptr<const Router> CurrentRouter() {
    std::lock_guard lock(mutex);
    return router;
  }
};

// A socket and the request that is being answered on it.
struct Connection {
  Connection(std::shared_ptr<Core> shared, tcp::socket socket)
      : core(std::move(shared)), stream(std::move(socket), core->tls) {
    error_code error;
    const tcp::endpoint peer = stream.socket().remote_endpoint(error);
    if (!error) client = fmt::format("{}:{}", peer.address().to_string(), peer.port());
    core->connections.insert(this);
    core->Count(1, 0);
  }
  ~Connection() {
    core->connections.erase(this);
    core->Count(-1, 0);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Close() {
    error_code ignored;
    stream.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream.socket().close(ignored);
    if (outbox) outbox->Close(false);
  }

  const std::shared_ptr<Core> core;
  SocketStream stream;
  beast::flat_buffer buffer;
  std::shared_ptr<Outbox> outbox;  // of the request in hand
  std::string client;              // address and port
  bool used = false;               // has had an answer
  bool idle = false;               // has had one, and nothing of the next request has come
};
using ConnectionPtr = std::shared_ptr<Connection>;

// Tells the outbox when the client goes away. Bytes that it sends meanwhile (a pipelined request) stay unread.
asio::awaitable<void> WatchForClose(ConnectionPtr connection, std::shared_ptr<Outbox> outbox) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const int fd = connection->stream.socket().native_handle();
  asio::steady_timer pause(*connection->core->io);
  for (;;) {
    const auto [wait_error] = co_await connection->stream.socket().async_wait(tcp::socket::wait_read, kAwait);
    if (wait_error) co_return;
    pollfd entry{fd, POLLRDHUP, 0};
    if (poll(&entry, 1, 0) > 0) {
      outbox->Close(false);
      co_return;
    }
    pause.expires_after(std::chrono::milliseconds(200));
    const auto [pause_error] = co_await pause.async_wait(kAwait);
    if (pause_error) co_return;
  }
}

struct ResponseStyle {
  unsigned version = 11;
  bool keep_alive = true;
  bool head_only = false;  // HEAD
  std::string request_id;
  Headers headers;  // of every answer
};

template <typename Body>
void FillHead(http::response<Body>& message, const HttpResponse& response, const ResponseStyle& style) {
  message.set(http::field::server, "ingot");
  if (!response.content_type.empty()) message.set(http::field::content_type, response.content_type);
  if (!style.request_id.empty()) message.set("X-Request-Id", style.request_id);
  for (const auto& [name, value] : style.headers) message.set(name, value);
  for (const auto& [name, value] : response.headers) message.set(name, value);
}

asio::awaitable<bool> WriteWhole(Connection& connection, HttpResponse response, const ResponseStyle& style) {
  connection.stream.expires_after(seconds(connection.core->options.write_timeout_seconds));
  if (style.head_only) {
    http::response<http::empty_body> message{static_cast<http::status>(response.status), style.version};
    FillHead(message, response, style);
    message.content_length(response.body.size());
    message.keep_alive(style.keep_alive);
    const auto [error, written] = co_await http::async_write(connection.stream, message, kAwait);
    co_return !error;
  }
  http::response<http::string_body> message{static_cast<http::status>(response.status), style.version};
  FillHead(message, response, style);
  message.body() = std::move(response.body);
  message.keep_alive(style.keep_alive);
  message.prepare_payload();
  const auto [error, written] = co_await http::async_write(connection.stream, message, kAwait);
  co_return !error;
}

// Writes the head and then what the outbox brings, until its end. False: the connection cannot be used again.
asio::awaitable<bool> WriteStream(Connection& connection, HttpResponse head, const ResponseStyle& style) {
  const seconds timeout(connection.core->options.write_timeout_seconds);
  const bool chunked = style.version >= 11;
  http::response<http::empty_body> message{static_cast<http::status>(head.status), style.version};
  FillHead(message, head, style);
  message.keep_alive(style.keep_alive && chunked);
  message.chunked(chunked);
  http::response_serializer<http::empty_body> serializer{message};
  connection.stream.expires_after(timeout);
  const auto [head_error, head_bytes] = co_await http::async_write_header(connection.stream, serializer, kAwait);
  if (head_error) co_return false;
  for (;;) {
    connection.stream.expires_never();
    const Outbox::Item item = co_await connection.outbox->Next(seconds(head.ping_seconds));
    connection.stream.expires_after(timeout);
    const bool is_data = item.kind == Outbox::Item::Kind::kChunk || item.kind == Outbox::Item::Kind::kPing;
    if (item.kind == Outbox::Item::Kind::kEnd) {
      if (!chunked || style.head_only) co_return false;
      const auto [error, written] = co_await asio::async_write(connection.stream, http::make_chunk_last(), kAwait);
      co_return !error;
    }
    if (!is_data) co_return false;
    if (style.head_only) continue;
    const auto data = asio::buffer(item.kind == Outbox::Item::Kind::kPing ? head.ping : item.chunk);
    error_code error;
    if (chunked) {
      std::tie(error, std::ignore) = co_await asio::async_write(connection.stream, http::make_chunk(data), kAwait);
    } else {
      std::tie(error, std::ignore) = co_await asio::async_write(connection.stream, data, kAwait);
    }
    if (error == beast::error::timeout) connection.outbox->SetSlow();
    if (error) co_return false;
  }
}

// Answers a request that never became one, then reads on for a while, also what a client sends that is a little too
// large: closing with bytes unread would reset the connection before the client has read the answer.
asio::awaitable<void> Refuse(Connection& connection, WireError error) {
  ResponseStyle style;
  style.keep_alive = false;
  if (!co_await WriteWhole(connection, ErrorResponse(error), style)) co_return;
  error_code ignored;
  connection.stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
  const HttpOptions& options = connection.core->options;
  const auto end = std::chrono::steady_clock::now() + seconds(options.body_timeout_seconds);
  std::array<char, 16384> sink;
  for (size_t total = 0; total < 4 * options.max_body_bytes && std::chrono::steady_clock::now() < end;) {
    connection.stream.expires_after(seconds(2));
    const auto [read_error, count] = co_await connection.stream.async_read_some(asio::buffer(sink), kAwait);
    if (read_error) co_return;
    total += count;
  }
}

// What to tell a client whose request could not be read; nothing where it has gone: just close.
std::optional<WireError> ReadError(const error_code& error, const HttpOptions& options) {
  if (error == http::error::end_of_stream || error == asio::error::connection_reset ||
      error == asio::error::operation_aborted || error == http::error::partial_message || error == asio::error::eof ||
      error == asio::error::bad_descriptor || error.category() == asio::error::get_ssl_category() ||
      error == asio::ssl::error::stream_truncated) {
    return std::nullopt;
  }
  if (error == beast::error::timeout) {
    return WireError{408, "timeout_error", "request_timeout", "",
                     fmt::format("the request did not arrive within {} s for its headers and {} s for its body",
                                 options.header_timeout_seconds, options.body_timeout_seconds)};
  }
  if (error == http::error::header_limit) {
    return WireError{431, "invalid_request_error", "headers_too_large", "",
                     fmt::format("the headers exceed {} bytes", options.max_header_bytes)};
  }
  if (error == http::error::body_limit) {
    return WireError{413, "invalid_request_error", "body_too_large", "",
                     fmt::format("the body exceeds {} bytes", options.max_body_bytes)};
  }
  return WireError{400, "invalid_request_error", "bad_http", "",
                   fmt::format("not an HTTP/1.1 request: {}", error.message())};
}

using Parser = http::request_parser<http::string_body>;

// Waits for a request's first byte (idle timeout), its header and its body. beast::error::timeout: it came in part.
asio::awaitable<error_code> ReadRequest(Connection& connection, Parser& parser) {
  const HttpOptions& options = connection.core->options;
  parser.header_limit(options.max_header_bytes);
  parser.body_limit(options.max_body_bytes);
  if (connection.buffer.size() == 0) {
    connection.stream.expires_after(seconds(options.idle_timeout_seconds));
    connection.idle = connection.used;
    const auto [error, count] = co_await connection.stream.async_read_some(connection.buffer.prepare(4096), kAwait);
    connection.idle = false;
    if (error) co_return error == beast::error::timeout ? error_code(asio::error::eof) : error;
    connection.buffer.commit(count);
  }
  ReadTimer timer(*connection.core->io, connection.stream);
  timer.Set(seconds(options.header_timeout_seconds));
  const auto [header_error, header_bytes] =
      co_await http::async_read_header(connection.stream, connection.buffer, parser, kAwait);
  if (header_error) co_return timer.ErrorOf(header_error);
  timer.Set(seconds(options.body_timeout_seconds));
  if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    const http::response<http::empty_body> go_on{http::status::continue_, 11};
    const auto [error, written] = co_await http::async_write(connection.stream, go_on, kAwait);
    if (error) co_return timer.ErrorOf(error);
  }
  const auto [body_error, body_bytes] = co_await http::async_read(connection.stream, connection.buffer, parser, kAwait);
  co_return timer.ErrorOf(body_error);
}

// Hands the request to its route and writes the answer. False: close the connection.
asio::awaitable<bool> Answer(ConnectionPtr connection, Parser& parser) {
  Core& core = *connection->core;
  ResponseStyle style{parser.get().version(),
                      parser.get().keep_alive() && !core.draining,
                      parser.get().method() == http::verb::head,
                      "",
                      {}};
  HttpRequest request = ToRequest(parser.release());
  request.client = connection->client;
  const std::shared_ptr<const Router> router = core.CurrentRouter();
  style.headers = router->HeadersFor(request);
  style.request_id = request.request_id;
  HttpRequest for_log{
      .method = request.method, .path = request.path, .request_id = request.request_id, .client = request.client};
  connection->outbox = Outbox::Make(core.io, core.options.max_buffered_bytes);
  core.Count(0, 1);
  const auto begin = std::chrono::steady_clock::now();
  router->Dispatch(MakeExchange(std::move(request), connection->outbox));

  // Lives until the watcher has ended, which is after this coroutine has told it to.
  const auto stop_watching = std::make_shared<asio::cancellation_signal>();
  asio::co_spawn(*core.io, WatchForClose(connection, connection->outbox),
                 asio::bind_cancellation_slot(stop_watching->slot(), [stop_watching](std::exception_ptr) {}));
  connection->stream.expires_never();
  Outbox::Item first = co_await connection->outbox->Next(seconds(0));
  bool reusable = false;
  const int status = first.response.status;
  if (first.kind == Outbox::Item::Kind::kWhole) {
    reusable = co_await WriteWhole(*connection, std::move(first.response), style);
    connection->outbox->Close(reusable);
  } else if (first.kind == Outbox::Item::Kind::kHead) {
    reusable = co_await WriteStream(*connection, std::move(first.response), style);
    connection->outbox->Close(reusable);
  }
  connection->outbox->Close(false);
  stop_watching->emit(asio::cancellation_type::all);
  if (core.options.on_answered) {
    const double spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    core.options.on_answered(
        {for_log, *router, status, spent, reusable, connection->outbox->note(), connection->outbox->slow()});
  }
  connection->outbox.reset();
  core.Count(0, -1);
  co_return reusable&& style.keep_alive && !core.draining;
}

asio::awaitable<void> ServeConnection(ConnectionPtr connection) {
  error_code ignored;
  connection->stream.socket().set_option(tcp::no_delay(true), ignored);
  connection->stream.expires_after(seconds(connection->core->options.header_timeout_seconds));
  if (co_await connection->stream.Handshake()) co_return connection->Close();
  for (bool open = true; open;) {
    Parser parser;
    const error_code error = co_await ReadRequest(*connection, parser);
    if (error) {
      std::optional<WireError> refusal = ReadError(error, connection->core->options);
      if (refusal) co_await Refuse(*connection, *std::move(refusal));
      break;
    }
    open = co_await Answer(connection, parser);
    connection->used = true;
  }
  connection->stream.expires_after(seconds(1));
  co_await connection->stream.SayGoodbye();
  connection->Close();
}

// One connection too many, as long as there is room for a word.
asio::awaitable<void> TurnAway(ConnectionPtr connection) {
  connection->stream.expires_after(seconds(connection->core->options.header_timeout_seconds));
  if (connection->core->connections.size() < 2 * static_cast<size_t>(connection->core->options.max_connections) &&
      !co_await connection->stream.Handshake()) {
    co_await Refuse(*connection, {503, "unavailable_error", "too_many_connections", "",
                                  fmt::format("{} connections are open, and this server takes no more",
                                              connection->core->options.max_connections)});
  }
  connection->Close();
}

asio::awaitable<void> Accept(std::shared_ptr<Core> core, tcp::acceptor& acceptor) {
  for (;;) {
    auto [error, socket] = co_await acceptor.async_accept(kAwait);
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) co_return;
    if (error) {
      // Out of descriptors or the like: let some connections end first.
      Log(LogLevel::kWarning, "cannot accept a connection: {}", error.message());
      asio::steady_timer pause(*core->io, std::chrono::milliseconds(100));
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (core->connections.size() >= static_cast<size_t>(core->options.max_connections)) {
      asio::co_spawn(*core->io, TurnAway(std::make_shared<Connection>(core, std::move(socket))), asio::detached);
      continue;
    }
    asio::co_spawn(*core->io, ServeConnection(std::make_shared<Connection>(core, std::move(socket))), asio::detached);
  }
}

class BeastServer : public HttpServer {
 public:
  BeastServer(std::shared_ptr<Core> core, tcp::acceptor acceptor)
      : core_(std::move(core)), acceptor_(std::move(acceptor)) {
    port_ = acceptor_.local_endpoint().port();
  }
  ~BeastServer() override { Stop(0); }

  void SetRouter(Router router) override {
    auto next = std::make_shared<const Router>(std::move(router));
    std::lock_guard lock(core_->mutex);
    core_->router.swap(next);
  }

  void Run() override {
    asio::co_spawn(*core_->io, Accept(core_, acceptor_), asio::detached);
    thread_ = std::thread([core = core_] {
      core->io->run();
      std::lock_guard lock(core->mutex);
      core->stopped = true;
      core->changed.notify_all();
    });
  }

  uint16_t port() const override { return port_; }
  int open_connections() const override {
    std::lock_guard lock(core_->mutex);
    return core_->num_connections;
  }

  Status ReloadTls() override {
    if (!core_->options.tls.enabled()) return {};
    INGOT_ASSIGN_OR_RETURN(auto tls, LoadTls(core_->options.tls));
    asio::post(*core_->io, [core = core_, tls = std::move(tls)]() mutable { core->tls = std::move(tls); });
    return {};
  }

  void Stop(double drain_seconds) override {
    if (!thread_.joinable()) return;
    const auto close = [this](bool all) {
      asio::post(*core_->io, [this, all] {
        core_->draining = true;
        error_code ignored;
        if (all) acceptor_.close(ignored);
        const std::set<Connection*> connections = core_->connections;
        for (Connection* connection : connections) {
          if (all || connection->idle) connection->Close();
        }
      });
    };
    close(false);
    std::unique_lock lock(core_->mutex);
    core_->changed.wait_for(lock, std::chrono::duration<double>(drain_seconds),
                            [&] { return core_->num_exchanges == 0; });
    close(true);
    // Without connections and acceptor every coroutine ends, and run() returns; stop() is for one that a bug keeps.
    const bool ended = core_->changed.wait_for(lock, seconds(2), [&] { return core_->stopped; });
    lock.unlock();
    if (!ended) core_->io->stop();
    thread_.join();
  }

 private:
  const std::shared_ptr<Core> core_;
  tcp::acceptor acceptor_;
  uint16_t port_ = 0;
  std::thread thread_;
};

Result<tcp::acceptor> OpenAcceptor(asio::io_context& io, const HttpOptions& options) {
  error_code error;
  const auto address = asio::ip::make_address(options.address == "localhost" ? "127.0.0.1" : options.address, error);
  if (error) return InvalidArgument("server-name '{}' is no IP address", options.address);
  const tcp::endpoint endpoint(address, options.port);
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(1024, error);
  if (!error) return acceptor;
  const bool of_the_port = error == asio::error::address_in_use || error == asio::error::access_denied;
  return Io("cannot listen on {} port {}: {}{}", options.address, options.port, error.message(),
            of_the_port ? "; choose another with --server-port" : "");
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Listen(const HttpOptions& options, Router router) {
  auto core = std::make_shared<Core>();
  core->options = options;
  core->router = std::make_shared<const Router>(std::move(router));
  if (options.tls.enabled()) {
    INGOT_ASSIGN_OR_RETURN(core->tls, LoadTls(options.tls));
  }
  INGOT_ASSIGN_OR_RETURN(tcp::acceptor acceptor, OpenAcceptor(*core->io, options));
  return std::make_unique<BeastServer>(std::move(core), std::move(acceptor));
}

}  // namespace ingot::server
