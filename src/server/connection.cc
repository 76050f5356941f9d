// One coroutine serves a connection; a second one, while a request is answered, watches for the client going away.
#include "server/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>

#include "server/errors.h"
#include "server/request_reader.h"

namespace ingot::server {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using std::chrono::seconds;

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

  void SetFor(const HttpRequest& request, const Router& router) {
    head_only = request.method == "HEAD";
    request_id = request.request_id;
    headers = router.HeadersFor(request);
  }
};

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

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
asio::awaitable<void> Refuse(Connection& connection, Incoming& incoming, const WireError& error) {
  Core& core = *connection.core;
  HttpRequest request = TakeRequest(incoming, connection);
  request.DropBody();
  const std::shared_ptr<const Router> router = core.CurrentRouter();
  ResponseStyle style{.keep_alive = false};
  style.SetFor(request, *router);
  const bool written = co_await WriteWhole(connection, ErrorResponse(error), style);
  if (core.options.on_answered) {
    core.options.on_answered({.request = request,
                              .router = *router,
                              .status = error.status,
                              .seconds = SecondsSince(incoming.begin),
                              .complete = written,
                              .note = "code=" + error.code});
  }
  if (!written) co_return;
  error_code ignored;
  connection.stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
  const HttpOptions& options = core.options;
  const auto end = std::chrono::steady_clock::now() + seconds(options.body_timeout_seconds);
  std::array<char, 16384> sink;
  for (size_t total = 0; total < 4 * options.max_body_bytes && std::chrono::steady_clock::now() < end;) {
    connection.stream.expires_after(seconds(2));
    const auto [read_error, count] = co_await connection.stream.async_read_some(asio::buffer(sink), kAwait);
    if (read_error) co_return;
    total += count;
  }
}

// Hands the request to its route and writes the answer. False: close the connection.
asio::awaitable<bool> Answer(ConnectionPtr connection, Incoming& incoming) {
  Core& core = *connection->core;
  ResponseStyle style{.version = incoming.parser.get().version(),
                      .keep_alive = incoming.parser.get().keep_alive() && !core.draining};
  HttpRequest request = TakeRequest(incoming, *connection);
  const std::shared_ptr<const Router> router = core.CurrentRouter();
  style.SetFor(request, *router);
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
    core.options.on_answered({for_log, *router, status, SecondsSince(begin), reusable, connection->outbox->note(),
                              connection->outbox->slow()});
  }
  connection->outbox.reset();
  core.Count(0, -1);
  co_return reusable&& style.keep_alive && !core.draining;
}

}  // namespace

asio::awaitable<void> ServeConnection(ConnectionPtr connection) {
  error_code ignored;
  connection->stream.socket().set_option(tcp::no_delay(true), ignored);
  connection->stream.expires_after(seconds(connection->core->options.header_timeout_seconds));
  if (co_await connection->stream.Handshake()) co_return connection->Close();
  for (bool open = true; open;) {
    Incoming incoming;
    const error_code error = co_await ReadRequest(*connection, incoming);
    if (error) {
      const std::optional<WireError> refusal = ReadError(error, connection->core->options);
      if (refusal) co_await Refuse(*connection, incoming, *refusal);
      break;
    }
    open = co_await Answer(connection, incoming);
    connection->used = true;
  }
  connection->stream.expires_after(seconds(1));
  co_await connection->stream.SayGoodbye();
  connection->Close();
}

asio::awaitable<void> TurnAway(ConnectionPtr connection) {
  connection->stream.expires_after(seconds(connection->core->options.header_timeout_seconds));
  if (connection->core->connections.size() < 2 * static_cast<size_t>(connection->core->options.max_connections) &&
      !co_await connection->stream.Handshake()) {
    Incoming nothing{.begin = std::chrono::steady_clock::now()};
    const WireError error{503, "unavailable_error", "too_many_connections", "",
                          fmt::format("{} connections are open, and this server takes no more",
                                      connection->core->options.max_connections)};
    co_await Refuse(*connection, nothing, error);
  }
  connection->Close();
}

}  // namespace ingot::server
