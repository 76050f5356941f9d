// What the `tokenizers` package takes each code point for. Used by unicode.cc and the tokenizer's patterns alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot {

// Ranges are pairs first, last; toggles are the code points where a set differs from the categories it is named after.
extern const uint32_t kCategoryStarts[];  // first code point << 5 | Category, ascending, from 0
extern const size_t kCategoryStartsCount;
extern const uint32_t kWordRanges[];  // \w of Oniguruma
extern const size_t kWordRangesCount;
extern const uint32_t kRustWordToggles[];  // \w of Rust's regex crate, against kWordRanges
extern const size_t kRustWordTogglesCount;
extern const uint32_t kRustNumberToggles[];  // char::is_numeric, against N
extern const size_t kRustNumberTogglesCount;
extern const uint32_t kRustPunctuationToggles[];  // the Punctuation pre-tokenizer, against P
extern const size_t kRustPunctuationTogglesCount;
extern const uint32_t kSpaceRanges[];
extern const size_t kSpaceRangesCount;
extern const uint32_t kOpaqueRanges[];  // left alone by normalization, and never combined with what precedes them
extern const size_t kOpaqueRangesCount;

struct ScriptRanges {
  const char* name;
  size_t begin, count;  // in kScriptWords
};
extern const ScriptRanges kScripts[];
extern const size_t kScriptsCount;
extern const uint32_t kScriptWords[];
extern const size_t kScriptWordsCount;

struct LowerCaseRow {
  uint32_t first, last, step;
  int32_t delta;
};
extern const LowerCaseRow kLowerCaseRows[];
extern const size_t kLowerCaseRowsCount;

}  // namespace ingot
