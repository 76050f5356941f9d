#include "server/request_reader.h"

#include <algorithm>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http.hpp>
#include <random>

namespace ingot::server {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using std::chrono::seconds;
using Parser = decltype(Incoming::parser);

// Ends what is read from `stream` when it takes too long. Beast's own timer, which this one turns off, would close the
// socket, and nothing could be said to the client any more. All on the I/O thread.
class ReadTimer {
 public:
  ReadTimer(asio::io_context& io, SocketStream& stream) : timer_(io), stream_(stream) { stream_.expires_never(); }
  ~ReadTimer() { state_->armed = false; }
  ReadTimer(const ReadTimer&) = delete;
  ReadTimer& operator=(const ReadTimer&) = delete;

  // In the place of what it was set to before.
  void Set(std::chrono::seconds time) {
    timer_.expires_after(time);
    timer_.async_wait([this, state = state_](const boost::system::error_code& error) {
      if (error || !state->armed) return;
      state->expired = true;
      stream_.Cancel();
    });
  }
  // Of a read that ended with `error`: what it means.
  boost::system::error_code ErrorOf(const boost::system::error_code& error) const {
    return error && state_->expired ? boost::beast::error::timeout : error;
  }

 private:
  struct State {
    bool armed = true, expired = false;
  };
  asio::steady_timer timer_;
  SocketStream& stream_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

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

constexpr std::ptrdiff_t kMaxHeaderFields = 100;
constexpr auto kNoHost = boost::system::errc::destination_address_required;

// What Beast lets pass.
error_code CheckHeader(const http::request_header<>& header) {
  if (std::distance(header.begin(), header.end()) > kMaxHeaderFields) return http::error::header_limit;
  if (header.version() >= 11 && header.count(http::field::host) != 1) return make_error_code(kNoHost);  // RFC 9112 3.2
  return {};
}

// Those before a request are ignored (RFC 9112 2.2).
void SkipEmptyLines(beast::flat_buffer& buffer) {
  const auto* const text = static_cast<const char*>(buffer.data().data());
  size_t end = 0;
  while (end < buffer.size() && (text[end] == '\r' || text[end] == '\n')) ++end;
  buffer.consume(end);
}

}  // namespace

HttpRequest TakeRequest(Incoming& incoming, const Connection& connection) {
  http::request<http::string_body> message = incoming.parser.release();
  HttpRequest request;
  request.client = connection.client;
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
  request.body_share = std::move(incoming.share);
  request.request_id = RequestId(request.Header("X-Request-Id"));
  return request;
}

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
    return WireError{
        431, "invalid_request_error", "headers_too_large", "",
        fmt::format("the headers exceed {} bytes or {} fields", options.max_header_bytes, kMaxHeaderFields)};
  }
  if (error == kNoHost) {
    return WireError{400, "invalid_request_error", "bad_http", "", "a request of HTTP/1.1 has one Host field"};
  }
  if (error == http::error::body_limit) {
    return WireError{413, "invalid_request_error", "body_too_large", "",
                     fmt::format("the body exceeds {} bytes", options.max_body_bytes)};
  }
  if (error == asio::error::no_memory) {
    return WireError{503, "unavailable_error", "body_memory_full", "",
                     fmt::format("the bodies of current requests fill the {} bytes that this server has for them "
                                 "(--max-body-memory)",
                                 BodyMemoryOf(options))};
  }
  return WireError{400, "invalid_request_error", "bad_http", "",
                   fmt::format("not an HTTP/1.1 request: {}", error.message())};
}

asio::awaitable<error_code> ReadRequest(Connection& connection, Incoming& incoming) {
  const HttpOptions& options = connection.core->options;
  Parser& parser = incoming.parser;
  parser.header_limit(options.max_header_bytes);
  parser.body_limit(options.max_body_bytes);
  SkipEmptyLines(connection.buffer);
  connection.stream.expires_after(seconds(options.idle_timeout_seconds));
  while (connection.buffer.size() == 0) {
    connection.idle = connection.used;
    const auto [error, count] = co_await connection.stream.async_read_some(connection.buffer.prepare(4096), kAwait);
    connection.idle = false;
    if (error) co_return error == beast::error::timeout ? error_code(asio::error::eof) : error;
    connection.buffer.commit(count);
    SkipEmptyLines(connection.buffer);
  }
  incoming.begin = std::chrono::steady_clock::now();
  ReadTimer timer(*connection.core->io, connection.stream);
  timer.Set(seconds(options.header_timeout_seconds));
  const auto [header_error, header_bytes] =
      co_await http::async_read_header(connection.stream, connection.buffer, parser, kAwait);
  if (header_error) co_return timer.ErrorOf(header_error);
  if (const error_code error = CheckHeader(parser.get())) co_return error;
  timer.Set(seconds(options.body_timeout_seconds));
  // Only what has come counts, so that a length that is merely announced blocks no other request.
  incoming.share = BodyShare(connection.core->body_memory);
  const auto length = parser.content_length();
  if (length && !connection.core->body_memory->HasRoom(*length)) co_return asio::error::no_memory;
  if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    const http::response<http::empty_body> go_on{http::status::continue_, 11};
    const auto [error, written] = co_await http::async_write(connection.stream, go_on, kAwait);
    if (error) co_return timer.ErrorOf(error);
  }
  while (!parser.is_done()) {
    const auto [error, count] = co_await http::async_read_some(connection.stream, connection.buffer, parser, kAwait);
    if (error) co_return timer.ErrorOf(error);
    if (!incoming.share.GrowTo(parser.get().body().size())) co_return asio::error::no_memory;
  }
  co_return error_code();
}

}  // namespace ingot::server
