// Operations on strings that methods and filters share. They charge the runtime for what they do.
#pragma once

#include "chat/runtime.h"

namespace ingot::chat {

// str.split: `separator` null splits at white space; max_splits < 0: all. REQUIRES: separator is not empty
Values SplitText(Runtime& runtime, const Str& text, const Str* separator, int64_t max_splits, bool from_right);
Values SplitLines(Runtime& runtime, const Str& text, bool keep_ends);
Value ReplaceText(Runtime& runtime, const Str& text, const Str& old_part, const Str& new_part, int64_t max_count);
// Items that are no strings are printed.
Value JoinTexts(Runtime& runtime, const Str& separator, const Values& items);
// To at least `width` characters; side: -1 text to the left, 0 in the middle, 1 to the right.
Value PadText(Runtime& runtime, const Str& text, int64_t width, const Str& fill, int side);
size_t FindLastBytes(std::string_view haystack, std::string_view needle);
// str.isupper, str.islower: at least one cased character, all of that case.
bool IsUpperText(std::string_view text);
bool IsLowerText(std::string_view text);
// int() and float() of a string; nullopt where Python raises ValueError.
std::optional<int64_t> ParseInt(std::string_view text, int64_t base);
std::optional<double> ParseFloat(std::string_view text);

}  // namespace ingot::chat
