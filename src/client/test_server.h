// A server for tests, on a thread: answers each connection's requests with the bytes it was given, in order.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace ingot::client {

// What it does with one request: bytes to send; then, if `close`, the connection ends.
struct ScriptedAnswer {
  std::string bytes;
  bool close = false;
};

// Serves one connection after the other: enough for what needs exact bytes.
class TestServer {
 public:
  using Script = std::function<ScriptedAnswer(int request, const std::string& head_and_body)>;
  explicit TestServer(Script script) : script_(std::move(script)), listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    listen(listener_, 64);
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~TestServer() {
    stopping_ = true;
    thread_.join();
    close(listener_);
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int num_connections() const { return num_connections_; }
  int num_requests() const { return num_requests_; }
  // Whether a client closed its connection while an answer was not over.
  bool client_left() const { return client_left_; }

 private:
  void Serve() {
    while (!stopping_) {
      if (!Readable(listener_)) continue;
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) continue;
      ++num_connections_;
      Converse(fd);
      close(fd);
    }
  }
  void Converse(int fd) {
    std::string received;
    while (!stopping_) {
      const size_t length = RequestLength(received);
      if (length > 0) {
        const ScriptedAnswer answer = script_(num_requests_++, received.substr(0, length));
        received.erase(0, length);
        if (send(fd, answer.bytes.data(), answer.bytes.size(), MSG_NOSIGNAL) < 0 || answer.close) return;
        continue;
      }
      if (!Readable(fd)) continue;
      char buffer[4096];
      const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) {
        client_left_ = true;
        return;
      }
      received.append(buffer, static_cast<size_t>(n));
    }
  }
  // Of a whole request at the beginning of `text`; 0 when it is not yet whole.
  static size_t RequestLength(const std::string& text) {
    const size_t end = text.find("\r\n\r\n");
    if (end == std::string::npos) return 0;
    const size_t at = text.find("Content-Length: ");
    const size_t body = at < end ? std::stoul(text.substr(at + 16)) : 0;
    return end + 4 + body <= text.size() ? end + 4 + body : 0;
  }
  static bool Readable(int fd) {
    pollfd entry{fd, POLLIN, 0};
    return poll(&entry, 1, 20) > 0;
  }

  const Script script_;
  const int listener_;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_ = false, client_left_ = false;
  std::atomic<int> num_connections_ = 0, num_requests_ = 0;
  std::thread thread_;
};

}  // namespace ingot::client
