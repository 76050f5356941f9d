#include "server/close_watch.h"

#include <poll.h>
#include <sys/socket.h>

#include <chrono>

namespace ingot::server {

asio::awaitable<void> WatchForClose(asio::ip::tcp::socket& socket, std::shared_ptr<Outbox> outbox) {
  co_await asio::this_coro::throw_if_cancelled(false);
  // What had ended when the cancellation came, but was not gone on with, says nothing of it.
  const asio::cancellation_state cancellation = co_await asio::this_coro::cancellation_state;
  const auto is_cancelled = [&] { return cancellation.cancelled() != asio::cancellation_type::none; };
  const int fd = socket.native_handle();
  asio::steady_timer pause(socket.get_executor());
  for (;;) {
    const auto [wait_error] = co_await socket.async_wait(asio::ip::tcp::socket::wait_read, kAwait);
    if (wait_error || is_cancelled()) co_return;
    pollfd entry{fd, POLLRDHUP, 0};
    if (poll(&entry, 1, 0) > 0) {
      outbox->Close(false);
      co_return;
    }
    pause.expires_after(std::chrono::milliseconds(200));
    const auto [pause_error] = co_await pause.async_wait(kAwait);
    if (pause_error || is_cancelled()) co_return;
  }
}

}  // namespace ingot::server
