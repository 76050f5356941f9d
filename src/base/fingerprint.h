// A short name for much text.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace ingot {

// Two hashes of everything that was added, FNV-1a and another: tells things apart, does not defend against anybody.
class Fingerprint {
 public:
  void Add(std::string_view text) {
    for (const char c : text) Mix(static_cast<unsigned char>(c));
    Mix(0xFFFF);
  }
  std::string Text() const { return fmt::format("{:016x}{:016x}", a_, b_); }

 private:
  void Mix(uint64_t value) {
    a_ = (a_ ^ value) * 0x100000001B3u;
    b_ = (b_ ^ (value + 0x9E37)) * 0x9E3779B97F4A7C15u;
    b_ ^= b_ >> 29;
  }
  uint64_t a_ = 0xCBF29CE484222325u, b_ = 0x84222325CBF29CE4u;
};

}  // namespace ingot
