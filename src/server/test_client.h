// A plain socket client for tests: sends bytes as they are, so that it can also send wrong ones.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace ingot::server {

class TestClient {
 public:
  explicit TestClient(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~TestClient() { Close(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  bool connected() const { return connected_; }
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  // Reads until `needle` has arrived; what came up to and with it, or all there was when the connection ended or time
  // ran out.
  std::string ReadUntil(std::string_view needle, int timeout_ms = 5000) {
    for (;;) {
      const size_t at = pending_.find(needle);
      if (at != std::string::npos) {
        std::string head = pending_.substr(0, at + needle.size());
        pending_.erase(0, at + needle.size());
        return head;
      }
      if (!ReadSome(timeout_ms)) return std::exchange(pending_, "");
    }
  }
  // Everything until the server closes; *closed tells whether it did within the time.
  std::string ReadAll(int timeout_ms, bool* closed) {
    while (ReadSome(timeout_ms)) {
    }
    *closed = eof_;
    return std::exchange(pending_, "");
  }
  // The same, in pieces with a pause after each.
  std::string ReadAllSlowly(std::chrono::milliseconds pause) {
    while (ReadSome(20'000)) std::this_thread::sleep_for(pause);
    return std::exchange(pending_, "");
  }
  // A whole response with Content-Length: head and body.
  std::string ReadResponse() {
    std::string head = ReadUntil("\r\n\r\n");
    const size_t at = head.find("Content-Length: ");
    size_t length = at == std::string::npos ? 0 : std::stoul(head.substr(at + 16));
    while (pending_.size() < length && ReadSome(5000)) {
    }
    length = std::min(length, pending_.size());
    head += pending_.substr(0, length);
    pending_.erase(0, length);
    return head;
  }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  bool ReadSome(int timeout_ms) {
    pollfd entry{fd_, POLLIN, 0};
    if (poll(&entry, 1, timeout_ms) <= 0) return false;
    char buffer[65536];
    const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) {
      eof_ = true;
      return false;
    }
    pending_.append(buffer, static_cast<size_t>(n));
    return true;
  }

  int fd_;
  bool connected_ = false, eof_ = false;
  std::string pending_;
};

}  // namespace ingot::server
