// Operations on strings that methods and filters share. They charge the runtime for what they do.
#pragma once

#include "chat/runtime.h"

namespace ingot::chat {

// str.split: `separator` null splits at white space; max_splits < 0: all. REQUIRES: separator is not empty
Values SplitText(Runtime& runtime, const Str& text, const Str* separator, int64_t max_splits);
Value ReplaceText(Runtime& runtime, const Str& text, const Str& old_part, const Str& new_part, int64_t max_count);
// Items that are no strings are printed.
Value JoinTexts(Runtime& runtime, const Str& separator, const Values& items);
// Decimal numbers with white space around them; nullopt for anything else.
std::optional<int64_t> ParseInt(std::string_view text);
std::optional<double> ParseFloat(std::string_view text);

}  // namespace ingot::chat
