// The bytes of a connection, plain or through TLS: what Beast reads and writes.
#pragma once

#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "server/outbox.h"

namespace ingot::server {

// An AsyncStream in Asio's sense. All on the I/O thread.
class SocketStream {
 public:
  using Socket = asio::ip::tcp::socket;
  using executor_type = boost::beast::tcp_stream::executor_type;

  // `tls`: null for plain bytes.
  SocketStream(Socket socket, std::shared_ptr<asio::ssl::context> tls) : tcp_(std::move(socket)), context_(tls) {
    if (context_) tls_.emplace(tcp_, *context_);
  }

  executor_type get_executor() { return tcp_.get_executor(); }
  Socket& socket() { return tcp_.socket(); }
  void expires_after(std::chrono::seconds time) { tcp_.expires_after(time); }
  void expires_never() { tcp_.expires_never(); }
  void Cancel() { tcp_.cancel(); }  // ends what is being read and written with operation_aborted

  // What comes before the first byte, and after the last one: nothing without TLS.
  asio::awaitable<boost::system::error_code> Handshake() {
    if (!tls_) co_return boost::system::error_code();
    const auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::server, kAwait);
    co_return error;
  }
  asio::awaitable<void> SayGoodbye() {
    if (tls_) co_await tls_->async_shutdown(kAwait);
  }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return tcp_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return tcp_.async_write_some(buffers, std::forward<Token>(token));
  }

 private:
  boost::beast::tcp_stream tcp_;
  std::shared_ptr<asio::ssl::context> context_;
  std::optional<asio::ssl::stream<boost::beast::tcp_stream&>> tls_;
};

}  // namespace ingot::server
