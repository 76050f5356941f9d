// One coroutine serves a connection; a second one, while a request is answered, watches for the client going away.
#include "server/connection.h"

#include <fmt/chrono.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <ctime>
#include <optional>

#include "base/log.h"
#include "server/request_reader.h"

namespace ingot::server {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using std::chrono::seconds;

// A request whose client left before there was anything to send, as nginx logs it.
constexpr int kClientLeft = 499;
constexpr int kTooManyRequests = 429;

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

// "Mon, 30 Nov 2026 12:00:00 GMT". I/O thread only.
const std::string& DateNow() {
  static std::time_t second = 0;
  static std::string text;
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  if (now != second || text.empty()) text = fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(now));
  second = now;
  return text;
}

template <typename Body>
void FillHead(http::response<Body>& message, const HttpResponse& response, const ResponseStyle& style) {
  message.set(http::field::server, "ingot");
  message.set(http::field::date, DateNow());
  if (!response.content_type.empty()) message.set(http::field::content_type, response.content_type);
  if (!style.request_id.empty()) message.set("X-Request-Id", style.request_id);
  for (const auto& [name, value] : style.headers) message.set(name, value);
  for (const auto& [name, value] : response.headers) message.set(name, value);
}

// Writes what is left of a message or a chunk. The time for the client to take some of it restarts whenever it has,
// however large the whole is.
template <typename Body>
asio::awaitable<error_code> WriteAll(Connection& connection, http::response_serializer<Body>& serializer) {
  while (!serializer.is_done()) {
    connection.stream.expires_after(seconds(connection.core->options.write_timeout_seconds));
    const auto [error, written] = co_await http::async_write_some(connection.stream, serializer, kAwait);
    if (error) co_return error;
  }
  co_return error_code();
}
template <typename Buffers>
asio::awaitable<error_code> WriteAll(Connection& connection, Buffers buffers) {
  beast::buffers_suffix<Buffers> rest(buffers);
  while (beast::buffer_bytes(rest) > 0) {
    connection.stream.expires_after(seconds(connection.core->options.write_timeout_seconds));
    const auto [error, written] = co_await connection.stream.async_write_some(rest, kAwait);
    if (error) co_return error;
    rest.consume(written);
  }
  co_return error_code();
}

asio::awaitable<bool> WriteWhole(Connection& connection, HttpResponse response, const ResponseStyle& style) {
  if (style.head_only) {
    http::response<http::empty_body> message{static_cast<http::status>(response.status), style.version};
    FillHead(message, response, style);
    message.content_length(response.body.size());
    message.keep_alive(style.keep_alive);
    http::response_serializer<http::empty_body> serializer{message};
    co_return !co_await WriteAll(connection, serializer);
  }
  http::response<http::string_body> message{static_cast<http::status>(response.status), style.version};
  FillHead(message, response, style);
  message.body() = std::move(response.body);
  message.keep_alive(style.keep_alive);
  message.prepare_payload();
  http::response_serializer<http::string_body> serializer{message};
  co_return !co_await WriteAll(connection, serializer);
}

// Writes the head and then what the outbox brings, until its end. Whether the client has it all. `status` is of the
// answer that was sent.
asio::awaitable<bool> WriteStream(Connection& connection, HttpResponse head, const ResponseStyle& style, int* status) {
  using Kind = Outbox::Item::Kind;
  const seconds patience(head.ping_seconds);
  connection.stream.expires_never();
  Outbox::Item item = co_await connection.outbox->Next(patience);
  if (item.kind == Kind::kFailure) {
    *status = item.response.status;
    co_return co_await WriteWhole(connection, std::move(item.response), style);
  }
  if (item.kind == Kind::kAbort) {
    *status = kClientLeft;
    co_return false;
  }
  const bool chunked = style.version >= 11;
  http::response<http::empty_body> message{static_cast<http::status>(head.status), style.version};
  FillHead(message, head, style);
  message.keep_alive(style.keep_alive);
  if (style.keep_alive) message.set(http::field::connection, "keep-alive");  // some proxies look for it
  message.chunked(chunked);
  http::response_serializer<http::empty_body> serializer{message};
  connection.stream.expires_after(seconds(connection.core->options.write_timeout_seconds));
  const auto [head_error, head_bytes] = co_await http::async_write_header(connection.stream, serializer, kAwait);
  if (head_error) co_return false;
  for (;;) {
    const bool fails = item.kind == Kind::kFailure;
    const bool is_data = item.kind == Kind::kChunk || item.kind == Kind::kPing || fails;
    if (item.kind == Kind::kEnd) {
      if (!chunked || style.head_only) co_return true;
      co_return !co_await WriteAll(connection, http::make_chunk_last());
    }
    if (!is_data) co_return false;
    if (!style.head_only) {
      const auto data = asio::buffer(item.kind == Kind::kPing ? head.ping : item.chunk);
      const error_code error = chunked ? co_await WriteAll(connection, http::make_chunk(data))
                                       : co_await WriteAll(connection, asio::const_buffer(data));
      if (error == beast::error::timeout) connection.outbox->SetSlow();
      if (error) co_return false;
    }
    if (fails) {
      item = {Kind::kEnd, {}, {}};
      continue;
    }
    connection.stream.expires_never();
    item = co_await connection.outbox->Next(patience);
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
                              .note = {{"code", error.code}}});
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

// The request that a connection answers: it counts, and it is over when this goes, whatever the reason.
class InHand {
 public:
  explicit InHand(ConnectionPtr connection) : connection_(std::move(connection)) {
    connection_->outbox = Outbox::Make(connection_->core->io, connection_->core->options.max_buffered_bytes);
    connection_->core->Count(0, 1);
  }
  ~InHand() {
    connection_->outbox->Close(false);
    connection_->outbox.reset();
    watching_->emit(asio::cancellation_type::all);
    connection_->core->Count(0, -1);
  }
  InHand(const InHand&) = delete;
  InHand& operator=(const InHand&) = delete;

  // Until this goes. The signal lives until the watcher has ended, which is after it was asked to.
  void WatchForClose() {
    asio::co_spawn(*connection_->core->io, server::WatchForClose(connection_->stream.socket(), connection_->outbox),
                   asio::bind_cancellation_slot(watching_->slot(), [connection = connection_, watching = watching_](
                                                                       const std::exception_ptr&) {}));
  }

 private:
  const ConnectionPtr connection_;
  const std::shared_ptr<asio::cancellation_signal> watching_ = std::make_shared<asio::cancellation_signal>();
};

// A handler that throws has dropped its exchange, which answers then.
void Dispatch(const Router& router, std::shared_ptr<Exchange> exchange) {
  const std::string id = exchange->request().request_id;
  try {
    router.Dispatch(std::move(exchange));
  } catch (const std::exception& error) {
    Log(LogLevel::kError, "request {}: {}", id, error.what());
  }
}

// 429 is for overload: it waits for its turn, unless the server stops.
asio::awaitable<void> WaitToRefuse(Core& core) {
  const auto wait = core.refusal_pace.Next(std::chrono::steady_clock::now());
  if (core.draining || wait.count() == 0) co_return;
  asio::steady_timer timer(*core.io, wait);
  co_await timer.async_wait(kAwait);
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
  InHand in_hand(connection);
  Outbox& outbox = *connection->outbox;
  const auto begin = std::chrono::steady_clock::now();
  std::shared_ptr<Exchange> exchange = MakeExchange(std::move(request), connection->outbox);
  Dispatch(*router, exchange);
  for_log.key_id = exchange->request().key_id;
  exchange.reset();  // one that its handler has dropped is answered by that
  in_hand.WatchForClose();
  connection->stream.expires_never();
  Outbox::Item first = co_await outbox.Next(seconds(0));
  bool complete = false;
  int status = first.response.status;
  if (first.kind == Outbox::Item::Kind::kWhole) {
    if (status == kTooManyRequests) co_await WaitToRefuse(core);
    complete = co_await WriteWhole(*connection, std::move(first.response), style);
  } else if (first.kind == Outbox::Item::Kind::kHead) {
    if (style.version < 11) style.keep_alive = false;  // there the end of the connection is the stream's
    complete = co_await WriteStream(*connection, std::move(first.response), style, &status);
  } else {
    status = kClientLeft;
  }
  outbox.Close(complete);
  if (core.options.on_answered) {
    core.options.on_answered({for_log, *router, status, SecondsSince(begin), complete, outbox.note(), outbox.slow()});
  }
  const bool stays_open = complete && style.keep_alive && !core.draining;
  co_return stays_open;
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
                          fmt::format("{} connections are open, and this server accepts no more",
                                      connection->core->options.max_connections)};
    co_await Refuse(*connection, nothing, error);
  }
  connection->Close();
}

}  // namespace ingot::server
