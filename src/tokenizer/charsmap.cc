#include "tokenizer/charsmap.h"

#include <cstring>

namespace ingot::tokenizer {

Result<CharsMap> CharsMap::FromBytes(std::string_view bytes) {
  CharsMap map;
  if (bytes.empty()) return map;
  uint32_t trie_bytes = 0;
  if (bytes.size() < 4) return Corrupt("precompiled_charsmap: {} bytes are too few", bytes.size());
  std::memcpy(&trie_bytes, bytes.data(), 4);
  if (trie_bytes > bytes.size() - 4 || trie_bytes % 4 != 0 || trie_bytes == 0) {
    return Corrupt("precompiled_charsmap: a trie of {} bytes in a table of {}", trie_bytes, bytes.size());
  }
  map.units_.resize(trie_bytes / 4);
  std::memcpy(map.units_.data(), bytes.data() + 4, trie_bytes);
  map.replacements_ = bytes.substr(4 + trie_bytes);
  return map;
}

Result<CharsMap> CharsMap::FromBase64(std::string_view base64) {
  std::string bytes;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : base64) {
    if (c == '=') break;
    uint32_t value;
    if (c >= 'A' && c <= 'Z') {
      value = static_cast<uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      value = static_cast<uint32_t>(c - 'a' + 26);
    } else if (c >= '0' && c <= '9') {
      value = static_cast<uint32_t>(c - '0' + 52);
    } else if (c == '+' || c == '/') {
      value = c == '+' ? 62 : 63;
    } else {
      return Corrupt("precompiled_charsmap: not base64");
    }
    bits = bits << 6 | value;
    have += 6;
    if (have < 8) continue;
    have -= 8;
    bytes.push_back(static_cast<char>(bits >> have & 0xFF));
  }
  return FromBytes(bytes);
}

template <typename Found>
void CharsMap::Prefixes(std::string_view text, Found found) const {
  // A unit has the label of the byte that leads to it, the distance to its children, and whether a value hangs there.
  const auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  if (units_.empty()) return;
  size_t at = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= units_.size()) return;
    const uint32_t unit = units_[at];
    if ((unit & (1u << 31 | 0xFFu)) != byte) return;
    at ^= offset(unit);
    if ((unit >> 8 & 1) == 0) continue;
    if (at >= units_.size()) return;
    if (!found(i + 1, units_[at] & ~(1u << 31))) return;
  }
}

std::string_view CharsMap::ReplacementAt(uint32_t value) const {
  if (value >= replacements_.size()) return {};
  const size_t end = replacements_.find('\0', value);
  return std::string_view(replacements_).substr(value, end == std::string::npos ? end : end - value);
}

bool CharsMap::FindLongest(std::string_view text, size_t& length, std::string_view& replacement) const {
  bool any = false;
  Prefixes(text, [&](size_t prefix, uint32_t value) {
    any = true;
    length = prefix;
    replacement = ReplacementAt(value);
    return true;
  });
  return any;
}

bool CharsMap::FindShortest(std::string_view text, std::string_view& replacement) const {
  bool any = false;
  Prefixes(text, [&](size_t, uint32_t value) {
    any = true;
    replacement = ReplacementAt(value);
    return false;
  });
  return any;
}

}  // namespace ingot::tokenizer
