// The shared memory of the running block, and what is known of each of its bytes.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/emulator/primitives.h"

namespace ingot::kernels::emulator {

// Which accesses come before which, of the threads of a block. A barrier of the whole block orders all before it and
// all after it (`epoch`); between two of these, thread t has seen thread u's accesses up to seen(t, u).
class Clocks {
 public:
  void Reset(uint32_t num_threads);
  uint32_t epoch() const { return epoch_; }
  uint32_t Now(uint32_t thread) const { return seen_[thread * num_threads_ + thread]; }
  bool HasSeen(uint32_t thread, uint32_t other, uint32_t clock) const {
    return seen_[thread * num_threads_ + other] >= clock;
  }
  void BlockBarrier() { ++epoch_; }
  // The threads have seen all that each of them had.
  void Join(const std::vector<uint32_t>& threads);

 private:
  uint32_t num_threads_ = 0, epoch_ = 1;
  std::vector<uint32_t> seen_;    // [num_threads, num_threads]
  std::vector<uint32_t> joined_;  // [num_threads] of Join
};

class SharedMemory {
 public:
  void Reset(size_t bytes);
  // Piece number `index`, which the first thread to ask for it determines; null and a message if that cannot be.
  void* Take(size_t index, size_t bytes, size_t alignment, std::string* error);
  bool Contains(const void* p) const;
  // Checks an access of `thread` and remembers it. Returns "" or what is wrong.
  std::string Check(const void* p, size_t bytes, Access access, uint32_t thread, const Clocks& clocks);
  void BeginCopy(std::byte* to, size_t bytes, uint32_t thread);
  void EndCopy(const AsyncCopy& copy, uint32_t thread, const Clocks& clocks);
  // "" or which byte outside of the pieces was written.
  std::string CheckGaps();

 private:
  struct Piece {
    size_t begin, bytes;
  };
  struct Cell {  // a byte; clocks count within the epoch beside them
    uint32_t write_epoch = 0, write_clock = 0, read_epoch = 0, read_clock[2] = {};
    uint16_t writer = 0, reader[2] = {};
    bool live = false, written = false, in_flight = false, atomic = false;
  };
  std::string CheckCell(Cell& cell, Access access, uint32_t thread, const Clocks& clocks);

  size_t limit_ = 0, taken_ = 0, end_ = 0;  // what the launch gave, what pieces take of it, and with gaps
  std::vector<Piece> pieces_;
  std::vector<Cell> cells_;
};

}  // namespace ingot::kernels::emulator
