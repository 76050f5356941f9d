#include "chat/unicode.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace ingot::chat {
namespace {

struct CharRange {
  char32_t first, last;
};
struct CaseRun {  // first, first + stride, … last, each of which maps to itself + delta
  char32_t first, last;
  int stride, delta;
};
struct CaseSpecial {
  char32_t code;
  const char* text;
};

#include "chat/unicode_tables.inc"

template <typename Entry, size_t n>
const Entry* FindRange(const Entry (&table)[n], char32_t code) {
  const Entry* entry =
      std::lower_bound(std::begin(table), std::end(table), code,
                       [](const Entry& candidate, char32_t wanted) { return candidate.last < wanted; });
  return entry != std::end(table) && entry->first <= code ? entry : nullptr;
}

template <size_t n>
bool AppendSpecial(std::string& out, const CaseSpecial (&table)[n], char32_t code) {
  const CaseSpecial* entry =
      std::lower_bound(std::begin(table), std::end(table), code,
                       [](const CaseSpecial& candidate, char32_t wanted) { return candidate.code < wanted; });
  if (entry == std::end(table) || entry->code != code) return false;
  out += entry->text;
  return true;
}

template <size_t n>
char32_t MapCase(const CaseRun (&table)[n], char32_t code) {
  const CaseRun* run = FindRange(table, code);
  if (run == nullptr || (code - run->first) % static_cast<char32_t>(run->stride) != 0) return code;
  return static_cast<char32_t>(static_cast<int64_t>(code) + run->delta);
}

}  // namespace

Decoded DecodeUtf8(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[pos + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() - pos < length) return {lead, 1};
  char32_t code = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {lead, 1};
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return {lead, 1};
  return {code, length};
}

bool IsValidUtf8(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    const Decoded decoded = DecodeUtf8(text, pos);
    if (decoded.length == 1 && static_cast<unsigned char>(text[pos]) >= 0x80) return false;
    pos += decoded.length;
  }
  return true;
}

size_t CountChars(std::string_view text) {
  size_t count = 0;
  for (size_t pos = 0; pos < text.size(); ++count) {
    pos += static_cast<unsigned char>(text[pos]) < 0x80 ? 1 : DecodeUtf8(text, pos).length;
  }
  return count;
}

void AppendUtf8(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

bool IsSpace(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x1F);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool IsAlpha(char32_t code) { return FindRange(kAlpha, code) != nullptr; }
bool IsDecimal(char32_t code) { return FindRange(kDecimal, code) != nullptr; }
bool IsDigit(char32_t code) { return IsDecimal(code) || FindRange(kDigit, code) != nullptr; }
bool IsNumeric(char32_t code) { return IsDigit(code) || FindRange(kNumeric, code) != nullptr; }
bool IsUpper(char32_t code) { return FindRange(kUpper, code) != nullptr; }
bool IsLower(char32_t code) { return FindRange(kLower, code) != nullptr; }
bool IsTitle(char32_t code) { return FindRange(kTitle, code) != nullptr; }
bool IsPrintable(char32_t code) { return FindRange(kNotPrintable, code) == nullptr; }

void AppendUpper(std::string& out, char32_t code) {
  if (!AppendSpecial(out, kToUpperSpecial, code)) AppendUtf8(out, MapCase(kToUpper, code));
}
void AppendLower(std::string& out, char32_t code) {
  if (!AppendSpecial(out, kToLowerSpecial, code)) AppendUtf8(out, MapCase(kToLower, code));
}
void AppendTitle(std::string& out, char32_t code) {
  if (!AppendSpecial(out, kToTitleSpecial, code)) AppendUpper(out, code);
}

}  // namespace ingot::chat
