// A connection, and what the connections of a server share.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "base/mutex.h"
#include "server/body_memory.h"
#include "server/http.h"
#include "server/outbox.h"
#include "server/refusal_pace.h"
#include "server/socket_stream.h"

namespace ingot::server {

struct Connection;

// What connections share. All on the I/O thread except what the mutex guards.
struct Core {
  HttpOptions options;
  std::shared_ptr<asio::io_context> io = std::make_shared<asio::io_context>(1);
  std::shared_ptr<asio::ssl::context> tls;  // of new connections; null: plain
  std::shared_ptr<BodyMemory> body_memory;
  std::set<Connection*> connections;
  RefusalPace refusal_pace;
  bool draining = false;

  Mutex mutex;
  CondVar changed;
  std::shared_ptr<const Router> router INGOT_GUARDED_BY(mutex);
  int num_connections INGOT_GUARDED_BY(mutex) = 0, num_exchanges INGOT_GUARDED_BY(mutex) = 0;
  bool stopped INGOT_GUARDED_BY(mutex) = false;  // the I/O thread has nothing left to do

  void Count(int connections_delta, int exchanges_delta) {
    const MutexLock lock(mutex);
    num_connections += connections_delta;
    num_exchanges += exchanges_delta;
    changed.NotifyAll();
  }
  void SetRouter(std::shared_ptr<const Router> next) {
    const MutexLock lock(mutex);
    router.swap(next);
  }
  std::shared_ptr<const Router> CurrentRouter() {
    const MutexLock lock(mutex);
    return router;
  }
  // Wait until `end` at most. False: it is not so then.
  bool WaitUntilIdle(std::chrono::steady_clock::time_point end) {
    const MutexLock lock(mutex);
    while (num_exchanges > 0 && changed.WaitUntil(mutex, end)) continue;
    return num_exchanges == 0;
  }
  bool WaitUntilStopped(std::chrono::steady_clock::time_point end) {
    const MutexLock lock(mutex);
    while (!stopped && changed.WaitUntil(mutex, end)) continue;
    return stopped;
  }
};

// A socket and the request that is being answered on it.
struct Connection {
  Connection(std::shared_ptr<Core> shared, asio::ip::tcp::socket socket)
      : core(std::move(shared)), stream(std::move(socket), core->tls) {
    boost::system::error_code error;
    const asio::ip::tcp::endpoint peer = stream.socket().remote_endpoint(error);
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
    boost::system::error_code ignored;
    stream.socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
    stream.socket().close(ignored);
    if (outbox) outbox->Close(false);
  }

  const std::shared_ptr<Core> core;
  SocketStream stream;
  boost::beast::flat_buffer buffer;
  std::shared_ptr<Outbox> outbox;  // of the current request
  std::string client;              // address and port
  bool used = false;               // has had an answer
  bool idle = false;               // has had one, and nothing of the next request has come
};
using ConnectionPtr = std::shared_ptr<Connection>;

// Answers the connection's requests, until its end.
asio::awaitable<void> ServeConnection(ConnectionPtr connection);
// One connection too many: a word, as long as there is room for one, and its end.
asio::awaitable<void> TurnAway(ConnectionPtr connection);

}  // namespace ingot::server
