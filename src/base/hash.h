// Hashes that need not resist anybody.
#pragma once

#include <cstdint>
#include <string_view>

namespace ingot {

// FNV-1a of 64 bits.
constexpr uint64_t Fnv1a(std::string_view text) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

// splitmix64 (Steele, Lea and Flood 2014): its finalizer, a bijection whose bits all depend on all, and the step
// between its states.
constexpr uint64_t MixBits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
inline constexpr uint64_t kMixStep = 0x9E3779B97F4A7C15u;

}  // namespace ingot
