// Text to a file descriptor from within a signal's handler: takes no memory and no lock, and leaves errno as it is.
#pragma once

#include <errno.h>
#include <unistd.h>

#include <cstdint>
#include <string_view>

namespace ingot::engine {

class SignalSafeWriter {
 public:
  explicit SignalSafeWriter(int fd) : fd_(fd), errno_(errno) {}
  ~SignalSafeWriter() {
    Flush();
    errno = errno_;
  }
  SignalSafeWriter(const SignalSafeWriter&) = delete;
  SignalSafeWriter& operator=(const SignalSafeWriter&) = delete;

  SignalSafeWriter& operator<<(std::string_view text) {
    for (const char c : text) {
      if (size_ == sizeof(buffer_)) Flush();
      buffer_[size_++] = c;
    }
    return *this;
  }
  SignalSafeWriter& operator<<(int64_t value) {
    if (value < 0) *this << "-";
    char digits[20];
    int count = 0;
    uint64_t rest = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
    do {
      digits[count++] = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    while (count > 0) *this << std::string_view(&digits[--count], 1);
    return *this;
  }
  // 1234567: "1.234567 s". REQUIRES: micros >= 0
  SignalSafeWriter& Seconds(int64_t micros) {
    *this << micros / 1'000'000 << ".";
    for (int64_t place = 100'000; place > 0; place /= 10) *this << micros / place % 10;
    return *this << " s";
  }

 private:
  void Flush() {
    size_t written = 0;
    while (written < size_) {
      const ssize_t now = write(fd_, buffer_ + written, size_ - written);
      if (now < 0 && errno == EINTR) continue;
      if (now <= 0) break;  // a full disk: the rest is lost
      written += static_cast<size_t>(now);
    }
    size_ = 0;
  }

  int fd_, errno_;
  size_t size_ = 0;
  char buffer_[512];
};

}  // namespace ingot::engine
