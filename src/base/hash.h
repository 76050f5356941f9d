// Hashes against accidents, not against attackers: xxHash, and splitmix64 for random bits.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace ingot {

// XXH3: the same on every machine.
uint64_t Hash64(std::string_view text);
std::array<uint64_t, 2> Hash128(std::string_view text);

// A short name for much text: a hash of 128 bits of everything that was added.
class Fingerprint {
 public:
  Fingerprint();
  ~Fingerprint();
  void Add(std::string_view text);  // "ab" and "c" differ from "a" and "bc"
  std::string Text() const;         // 32 hexadecimal digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// splitmix64 (Steele, Lea and Flood 2014): its finalizer, a bijection whose bits all depend on all, and the step
// between its states.
constexpr uint64_t MixBits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
inline constexpr uint64_t kMixStep = 0x9E3779B97F4A7C15u;

}  // namespace ingot
