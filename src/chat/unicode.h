// What templates need to know of characters, as Python's str methods have it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ingot::chat {

struct Decoded {
  char32_t code;
  size_t length;  // bytes, at least 1
};
// The character at text[pos]. A byte that is not UTF-8 is a character of its own. REQUIRES: pos < text.size()
Decoded DecodeUtf8(std::string_view text, size_t pos);
bool IsValidUtf8(std::string_view text);
size_t CountChars(std::string_view text);
void AppendUtf8(std::string& out, char32_t code);

bool IsSpace(char32_t code);  // also `\s` of Python's re
bool IsAlpha(char32_t code);
bool IsDecimal(char32_t code);
bool IsDigit(char32_t code);
bool IsNumeric(char32_t code);
bool IsUpper(char32_t code);
bool IsLower(char32_t code);
bool IsTitle(char32_t code);
bool IsPrintable(char32_t code);

// Full mappings: "ß" becomes "SS".
void AppendUpper(std::string& out, char32_t code);
void AppendLower(std::string& out, char32_t code);
void AppendTitle(std::string& out, char32_t code);

}  // namespace ingot::chat
