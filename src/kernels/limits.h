// What a core can do at most: loops that do nothing else, to measure kernels against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ingot::kernels {

struct MultiplyLimit {
  const char* name;         // "int8_vnni"
  const char* instruction;  // "vpdpbusd zmm"
  double products;          // multiply-adds of a round
  void (*run)(int64_t rounds);
};
// Those that this machine has, from slow to fast. A tile has been loaded before it is multiplied: tiles that were only
// zeroed are multiplied fast even where the core's other hardware thread slows down loaded ones.
std::vector<MultiplyLimit> MultiplyLimits();

// Reads memory in two streams, which is faster than one, and returns its sum.   from: 64-byte aligned
// REQUIRES: bytes is a multiple of 1024.
uint64_t ReadMemory(const std::byte* from, int64_t bytes);

}  // namespace ingot::kernels
