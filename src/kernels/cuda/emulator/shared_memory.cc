#include "kernels/cuda/emulator/shared_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace ingot::kernels::emulator {
namespace {

constexpr size_t kGapBytes = 128;  // around each piece; an access that strays a little ends there
constexpr size_t kArenaBytes = 2 * kMaxSharedBytes + 64 * kGapBytes;
constexpr std::byte kUnwritten{0xff};  // of a float, a NaN

alignas(1024) std::byte arena[kArenaBytes];

size_t RoundUp(size_t value, size_t to) { return (value + to - 1) / to * to; }

}  // namespace

void Clocks::Reset(uint32_t num_threads) {
  num_threads_ = num_threads;
  epoch_ = 1;
  seen_.assign(size_t{num_threads} * num_threads, 0);
  for (uint32_t t = 0; t < num_threads; ++t) seen_[t * num_threads + t] = 1;
}

void Clocks::Join(const std::vector<uint32_t>& threads) {
  joined_.assign(num_threads_, 0);
  for (const uint32_t t : threads) {
    for (uint32_t u = 0; u < num_threads_; ++u) joined_[u] = std::max(joined_[u], seen_[t * num_threads_ + u]);
  }
  for (const uint32_t t : threads) {
    std::copy(joined_.begin(), joined_.end(), seen_.begin() + t * num_threads_);
    ++seen_[t * num_threads_ + t];
  }
}

void SharedMemory::Reset(size_t bytes) {
  limit_ = bytes;
  taken_ = 0;
  end_ = kGapBytes;
  pieces_.clear();
  cells_.assign(kGapBytes, {});
  std::fill_n(arena, kGapBytes, kUnwritten);
}

void* SharedMemory::Take(size_t index, size_t bytes, size_t alignment, std::string* error) {
  if (index < pieces_.size()) {
    if (pieces_[index].bytes != bytes) *error = "threads take pieces of shared memory of different sizes";
    return arena + pieces_[index].begin;
  }
  taken_ = RoundUp(taken_, alignment) + bytes;
  if (taken_ > limit_) {
    *error = fmt::format("the kernel takes {} bytes of shared memory, the launch gave {}", taken_, limit_);
    return nullptr;
  }
  const size_t begin = RoundUp(end_, std::max(alignment, kGapBytes));
  const size_t end = begin + bytes + kGapBytes;
  if (end > kArenaBytes) {
    *error = "the kernel takes more pieces of shared memory than the emulator has room for";
    return nullptr;
  }
  std::fill(arena + end_, arena + end, kUnwritten);
  cells_.resize(end);
  for (size_t i = begin; i < begin + bytes; ++i) cells_[i].live = true;
  pieces_.push_back({begin, bytes});
  end_ = end;
  return arena + begin;
}

bool SharedMemory::Contains(const void* p) const {
  return p >= static_cast<const void*>(arena) && p < static_cast<const void*>(arena + kArenaBytes);
}

std::string SharedMemory::CheckCell(Cell& cell, Access access, uint32_t thread, const Clocks& clocks) {
  if (!cell.live) return "shared memory out of bounds";
  if (cell.in_flight) return fmt::format("shared memory with a copy of thread {} in flight", cell.writer);
  // Without the hooks most writes are not seen.
  if (SeesAccesses() && access != Access::kWrite && !cell.written) return "shared memory that was never written";
  const uint32_t epoch = clocks.epoch();
  const bool both_atomic = access == Access::kAtomic && cell.atomic;
  if (cell.write_epoch == epoch && !both_atomic && cell.writer != thread &&
      !clocks.HasSeen(thread, cell.writer, cell.write_clock)) {
    return fmt::format("a race with a write of thread {}", cell.writer);
  }
  if (cell.read_epoch != epoch) {
    cell.read_epoch = epoch;
    cell.read_clock[0] = cell.read_clock[1] = 0;
  }
  if (access == Access::kRead) {
    const bool first = cell.reader[0] == thread || clocks.HasSeen(thread, cell.reader[0], cell.read_clock[0]);
    cell.reader[first ? 0 : 1] = static_cast<uint16_t>(thread);
    cell.read_clock[first ? 0 : 1] = clocks.Now(thread);
    return "";
  }
  for (int i = 0; i < 2; ++i) {
    if (cell.read_clock[i] > 0 && cell.reader[i] != thread &&
        !clocks.HasSeen(thread, cell.reader[i], cell.read_clock[i])) {
      return fmt::format("a race with a read of thread {}", cell.reader[i]);
    }
  }
  cell.write_epoch = epoch;
  cell.write_clock = clocks.Now(thread);
  cell.writer = static_cast<uint16_t>(thread);
  cell.written = true;
  cell.atomic = access == Access::kAtomic;
  cell.read_clock[0] = cell.read_clock[1] = 0;
  return "";
}

std::string SharedMemory::Check(const void* p, size_t bytes, Access access, uint32_t thread, const Clocks& clocks) {
  const auto begin = static_cast<size_t>(static_cast<const std::byte*>(p) - arena);
  for (size_t i = begin; i < begin + bytes; ++i) {
    if (i >= cells_.size()) return "shared memory out of bounds";
    std::string error = CheckCell(cells_[i], access, thread, clocks);
    if (!error.empty()) {
      return fmt::format("{} {}, byte {}", access == Access::kRead ? "reads" : "writes", error, i - kGapBytes);
    }
  }
  return "";
}

void SharedMemory::BeginCopy(std::byte* to, size_t bytes, uint32_t thread) {
  std::fill_n(to, bytes, kUnwritten);  // so that a copy that comes early and one that comes late both show
  const auto begin = static_cast<size_t>(to - arena);
  for (size_t i = begin; i < begin + bytes; ++i) {
    cells_[i].in_flight = true;
    cells_[i].writer = static_cast<uint16_t>(thread);
  }
}

void SharedMemory::EndCopy(const AsyncCopy& copy, uint32_t thread, const Clocks& clocks) {
  std::memcpy(copy.to, copy.from, copy.from_bytes);
  std::fill(copy.to + copy.from_bytes, copy.to + copy.bytes, std::byte{0});
  const auto begin = static_cast<size_t>(copy.to - arena);
  for (size_t i = begin; i < begin + copy.bytes; ++i) {
    Cell& cell = cells_[i];
    cell.in_flight = cell.atomic = false;
    cell.written = true;
    cell.writer = static_cast<uint16_t>(thread);
    cell.write_epoch = clocks.epoch();
    cell.write_clock = clocks.Now(thread);
  }
}

std::string SharedMemory::CheckGaps() {
  size_t begin = 0;
  for (size_t i = 0; i <= pieces_.size(); ++i) {
    const size_t end = i < pieces_.size() ? pieces_[i].begin : end_;
    const auto* const written = std::find_if(arena + begin, arena + end, [](std::byte b) { return b != kUnwritten; });
    if (written != arena + end) {
      return fmt::format("wrote shared memory out of bounds, {} bytes behind piece {}", written - (arena + begin),
                         static_cast<int64_t>(i) - 1);
    }
    if (i < pieces_.size()) begin = pieces_[i].begin + pieces_[i].bytes;
  }
  return "";
}

}  // namespace ingot::kernels::emulator
