// Text in UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ingot {

inline constexpr uint32_t kReplacementCharacter = 0xFFFD;

struct Decoded {
  uint32_t code_point;  // kReplacementCharacter for a byte that begins no valid character
  uint32_t length;      // bytes, ≥ 1
  // U+FFFD itself has three bytes.
  bool valid() const { return length > 1 || code_point != kReplacementCharacter; }
};
Decoded DecodeMultiByte(const char* p, const char* end);
// REQUIRES: p < end
inline Decoded DecodeUtf8(const char* p, const char* end) {
  const auto byte = static_cast<unsigned char>(*p);
  if (byte < 0x80) return {byte, 1};
  return DecodeMultiByte(p, end);
}
// The character at text[pos]. REQUIRES: pos < text.size()
inline Decoded DecodeUtf8(std::string_view text, size_t pos) {
  return DecodeUtf8(text.data() + pos, text.data() + text.size());
}
void AppendUtf8(std::string& out, uint32_t code_point);
bool IsValidUtf8(std::string_view text);
// A byte that belongs to no valid character counts as one.
size_t CountCharacters(std::string_view text);
// How many bytes at the end of `text` begin a character that more bytes may complete: 0…3.
size_t IncompleteTail(std::string_view text);
// U+FFFD for every maximal part of a character that is not one (what Rust and Python do), or for every single byte of
// it.
std::string ReplaceInvalidUtf8(std::string_view text, bool each_byte = false);

}  // namespace ingot
