// Between a handler, on any thread, and the connection that writes its answer.
#pragma once

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "base/mutex.h"
#include "server/http.h"

namespace ingot::server {

namespace asio = boost::asio;

// Results of asynchronous operations come as (error, …), not as exceptions.
inline constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// What a handler has said and the connection has not yet written. Shared by the handler's Exchange (any thread) and the
// connection's coroutine (I/O thread).
class Outbox {
 public:
  struct Item {
    enum class Kind { kWhole, kHead, kChunk, kEnd, kFailure, kAbort, kPing } kind;
    HttpResponse response;  // kWhole, kHead; kFailure: where nothing has been sent
    std::string chunk;      // kChunk; kFailure: the last one
  };

  static std::shared_ptr<Outbox> Make(std::shared_ptr<asio::io_context> io, size_t max_buffered);
  Outbox(std::shared_ptr<asio::io_context> io, size_t max_buffered);  // for Make

  // Any thread. False: the answer is over, or more than max_buffered waited already, which ends it.
  bool Push(Item item);
  void OnClose(std::function<void()> on_close);
  void OnStop(std::function<void()> on_stop);
  bool closed();
  // The client did not take what was sent in time, or Push found too much of it waiting.
  void SetSlow();
  bool slow();
  void SetNote(LogFields note);
  LogFields note();

  // I/O thread: the answer is over: completely written, or (complete false) the client has gone.
  void Close(bool complete);
  // I/O thread: the server waits no longer.
  void Stop();
  // I/O thread: the next thing to write; chunks that wait together are joined. kPing when nothing has come for
  // `patience` (0: it waits on).
  asio::awaitable<Item> Next(std::chrono::seconds patience);

 private:
  std::function<void()> CloseLocked() INGOT_REQUIRES(mutex_);
  Item PopLocked() INGOT_REQUIRES(mutex_);

  const std::shared_ptr<asio::io_context> io_;
  std::weak_ptr<Outbox> self_;
  asio::steady_timer timer_;  // I/O thread only
  const size_t max_buffered_;

  Mutex mutex_;
  std::deque<Item> items_ INGOT_GUARDED_BY(mutex_);
  size_t buffered_ INGOT_GUARDED_BY(mutex_) = 0;
  bool closed_ INGOT_GUARDED_BY(mutex_) = false, complete_ INGOT_GUARDED_BY(mutex_) = false;
  bool slow_ INGOT_GUARDED_BY(mutex_) = false, stopped_ INGOT_GUARDED_BY(mutex_) = false;
  std::function<void()> on_close_ INGOT_GUARDED_BY(mutex_), on_stop_ INGOT_GUARDED_BY(mutex_);
  LogFields note_ INGOT_GUARDED_BY(mutex_);
};

// Closes the outbox when the socket's peer goes away. Bytes that it sends meanwhile (a pipelined request) stay unread.
// Ends then, when it is cancelled, and when the socket is closed, which outlives it. All on the I/O thread.
asio::awaitable<void> WatchForClose(asio::ip::tcp::socket& socket, std::shared_ptr<Outbox> outbox);

// An Exchange whose answer goes to `outbox`.
std::shared_ptr<Exchange> MakeExchange(HttpRequest request, std::shared_ptr<Outbox> outbox);

}  // namespace ingot::server
