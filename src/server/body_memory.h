// How many bytes of request bodies a server holds at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace ingot::server {

// Thread safety: all methods from any thread.
class BodyMemory {
 public:
  explicit BodyMemory(size_t limit) : limit_(limit) {}
  bool HasRoom(size_t bytes) const { return used_ + bytes <= limit_; }
  bool TryTake(size_t bytes) {
    if ((used_ += bytes) <= limit_) return true;
    used_ -= bytes;
    return false;
  }
  void Return(size_t bytes) { used_ -= bytes; }
  size_t limit() const { return limit_; }
  size_t used() const { return used_; }

 private:
  const size_t limit_;
  std::atomic<size_t> used_ = 0;
};

// What one body has of it; returned when this is destroyed.
class BodyShare {
 public:
  BodyShare() = default;  // of nothing
  explicit BodyShare(std::shared_ptr<BodyMemory> memory) : memory_(std::move(memory)) {}
  BodyShare(BodyShare&& other) noexcept : memory_(std::move(other.memory_)), bytes_(std::exchange(other.bytes_, 0)) {}
  BodyShare& operator=(BodyShare&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~BodyShare() {
    if (memory_) memory_->Return(bytes_);
  }

  // To hold `bytes` in all. False: there is no room, and the share stays as it was. REQUIRES: of some memory; bytes is
  // no less than before.
  bool GrowTo(size_t bytes) {
    if (!memory_->TryTake(bytes - bytes_)) return false;
    bytes_ = bytes;
    return true;
  }

 private:
  std::shared_ptr<BodyMemory> memory_;
  size_t bytes_ = 0;
};

}  // namespace ingot::server
