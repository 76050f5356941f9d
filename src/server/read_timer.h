// A bound on how long a request may take to arrive.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/error.hpp>
#include <chrono>
#include <memory>

#include "server/socket_stream.h"

namespace ingot::server {

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

}  // namespace ingot::server
