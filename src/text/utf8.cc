#include "text/utf8.h"

#include <algorithm>

namespace ingot {
namespace {

// Length of the valid character at p, or 0; `prefix` gets how many bytes from p could begin one.
size_t ValidLength(const char* p, const char* end, uint32_t& code_point, size_t& prefix) {
  const auto byte = [&](int i) { return static_cast<unsigned char>(p[i]); };
  const size_t available = static_cast<size_t>(end - p);
  prefix = 1;
  size_t length;
  unsigned char low = 0x80, high = 0xBF;  // of the second byte
  if (byte(0) >= 0xC2 && byte(0) <= 0xDF) {
    length = 2;
    code_point = byte(0) & 0x1Fu;
  } else if ((byte(0) & 0xF0) == 0xE0) {
    length = 3;
    code_point = byte(0) & 0x0Fu;
    if (byte(0) == 0xE0) low = 0xA0;
    if (byte(0) == 0xED) high = 0x9F;
  } else if (byte(0) >= 0xF0 && byte(0) <= 0xF4) {
    length = 4;
    code_point = byte(0) & 0x07u;
    if (byte(0) == 0xF0) low = 0x90;
    if (byte(0) == 0xF4) high = 0x8F;
  } else {
    code_point = byte(0);
    return byte(0) < 0x80 ? 1 : 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if (i >= available || byte(static_cast<int>(i)) < low || byte(static_cast<int>(i)) > high) return 0;
    code_point = code_point << 6 | (byte(static_cast<int>(i)) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
    prefix = i + 1;
  }
  return length;
}

}  // namespace

Decoded DecodeMultiByte(const char* p, const char* end) {
  uint32_t code_point;
  size_t prefix;
  const size_t length = ValidLength(p, end, code_point, prefix);
  if (length == 0) return {kReplacementCharacter, 1};
  return {code_point, static_cast<uint32_t>(length)};
}

void AppendUtf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

bool IsValidUtf8(std::string_view text) {
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    if (static_cast<unsigned char>(*p) < 0x80) {
      ++p;
      continue;
    }
    uint32_t code_point;
    size_t prefix;
    const size_t length = ValidLength(p, end, code_point, prefix);
    if (length == 0) return false;
    p += length;
  }
  return true;
}

size_t CountCharacters(std::string_view text) {
  size_t count = 0;
  for (size_t pos = 0; pos < text.size(); ++count) pos += DecodeUtf8(text, pos).length;
  return count;
}

size_t IncompleteTail(std::string_view text) {
  const char* const end = text.data() + text.size();
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const char* const p = end - back;
    if ((static_cast<unsigned char>(*p) & 0xC0) == 0x80) continue;
    uint32_t code_point;
    size_t prefix;
    const bool lead = static_cast<unsigned char>(*p) >= 0xC2 && static_cast<unsigned char>(*p) <= 0xF4;
    return lead && ValidLength(p, end, code_point, prefix) == 0 && prefix == back ? back : 0;
  }
  return 0;
}

std::string ReplaceInvalidUtf8(std::string_view text, bool each_byte) {
  std::string out;
  out.reserve(text.size());
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    uint32_t code_point;
    size_t prefix;
    const size_t length = ValidLength(p, end, code_point, prefix);
    if (length > 0) {
      out.append(p, length);
      p += length;
      continue;
    }
    AppendUtf8(out, kReplacementCharacter);
    p += each_byte ? 1 : prefix;
  }
  return out;
}

}  // namespace ingot
