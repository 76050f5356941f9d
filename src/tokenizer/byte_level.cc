#include "tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace ingot::tokenizer {
namespace {

// Printable Latin-1 bytes stand for themselves; the others, in order, are U+0100, U+0101, …
struct ByteTable {
  std::array<uint16_t, 256> spelling;
  std::array<int16_t, 512> byte;  // by code point; -1 where none
  ByteTable() {
    byte.fill(-1);
    uint16_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const size_t index = static_cast<size_t>(b);
      spelling[index] = printable ? static_cast<uint16_t>(b) : next++;
      byte[spelling[index]] = static_cast<int16_t>(b);
    }
  }
};
const ByteTable kTable;

}  // namespace

std::string BytesToSpelling(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) AppendUtf8(out, kTable.spelling[static_cast<unsigned char>(c)]);
  return out;
}

std::optional<std::string> SpellingToBytes(std::string_view spelling) {
  std::string out;
  const char* const end = spelling.data() + spelling.size();
  for (const char* p = spelling.data(); p < end;) {
    const auto [code_point, length] = DecodeUtf8(p, end);
    if (code_point >= 512 || kTable.byte[code_point] < 0) return std::nullopt;
    out.push_back(static_cast<char>(kTable.byte[code_point]));
    p += length;
  }
  return out;
}

}  // namespace ingot::tokenizer
