// Watches for clients that go away while they are being answered.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <memory>

#include "server/outbox.h"

namespace ingot::server {

// Closes the outbox when the socket's peer goes away. Bytes that it sends meanwhile (a pipelined request) stay unread.
// Ends then, when it is cancelled, and when the socket is closed, which outlives it. All on the I/O thread.
asio::awaitable<void> WatchForClose(asio::ip::tcp::socket& socket, std::shared_ptr<Outbox> outbox);

}  // namespace ingot::server
