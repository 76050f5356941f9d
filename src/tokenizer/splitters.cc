#include "tokenizer/splitters.h"

#include <cstdint>

#include "text/unicode.h"
#include "text/utf8.h"

namespace ingot::tokenizer {

const char kGpt2Pattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char kQwen2Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char kQwen35Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char kO200kPattern[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char kDeepSeek3NumberPattern[] = R"(\p{N}{1,3})";
const char kDeepSeek3HanPattern[] = "[一-龥぀-ゟ゠-ヿ]+";
const char kDeepSeek3Pattern[] =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

struct Character {
  uint32_t code_point;
  ClassMask mask;
  size_t end;  // offset of what follows
};

// REQUIRES: at < text.size()
inline Character CharacterAt(std::string_view text, size_t at) {
  const auto [code_point, length] = DecodeUtf8(text.data() + at, text.data() + text.size());
  return {code_point, ClassOf(code_point), at + length};
}

// The end of the run of characters in (or, with In false, outside) `mask` that begins at `at`.
template <bool In>
inline size_t RunEnd(std::string_view text, size_t at, ClassMask mask) {
  while (at < text.size()) {
    const Character c = CharacterAt(text, at);
    if (((c.mask & mask) != 0) != In) break;
    at = c.end;
  }
  return at;
}

inline size_t NewlinesEnd(std::string_view text, size_t at, bool slash_too = false) {
  while (at < text.size() && (text[at] == '\r' || text[at] == '\n' || (slash_too && text[at] == '/'))) ++at;
  return at;
}

inline size_t DigitsEnd(std::string_view text, size_t at, int max_digits) {
  for (int i = 0; i < max_digits && at < text.size(); ++i) {
    const Character c = CharacterAt(text, at);
    if ((c.mask & kNumber) == 0) break;
    at = c.end;
  }
  return at;
}

// 's 't 're 've 'm 'll 'd. Without regard to case "ſ" is an s too. Returns `at` if there is none.
size_t ContractionEnd(std::string_view text, size_t at, bool any_case) {
  if (at + 1 >= text.size() || text[at] != '\'') return at;
  const auto letter = [&](size_t i) -> char {
    if (i >= text.size()) return 0;
    const char c = text[i];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(at + 1), second = letter(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if (any_case && text.substr(at + 1, 2) == "\xC5\xBF") return at + 3;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
    return at + 3;
  return at;
}

// \s+(?!\S)|\s+, and before them \s*[\r\n]+ if `newlines`. REQUIRES: white space at `begin`
size_t SpacesEnd(std::string_view text, size_t begin, bool newlines) {
  size_t at = begin, last_begin = begin, after_newline = begin;
  while (at < text.size()) {
    const Character c = CharacterAt(text, at);
    if ((c.mask & kSpace) == 0) break;
    if (c.code_point == '\r' || c.code_point == '\n') after_newline = c.end;
    last_begin = at;
    at = c.end;
  }
  if (newlines && after_newline > begin) return after_newline;
  if (at == text.size() || last_begin == begin) return at;
  return last_begin;  // the last space goes with what follows
}

size_t MatchGpt2(std::string_view text, size_t begin) {
  const Character c = CharacterAt(text, begin);
  if (c.code_point == '\'') {
    const size_t end = ContractionEnd(text, begin, false);
    if (end > begin) return end;
  }
  Character head = c;
  if (c.code_point == ' ' && c.end < text.size()) head = CharacterAt(text, c.end);
  if (head.mask & kLetter) return RunEnd<true>(text, head.end, kLetter);
  if (head.mask & kNumber) return RunEnd<true>(text, head.end, kNumber);
  if (!(head.mask & kSpace)) return RunEnd<false>(text, head.end, kSpace | kLetter | kNumber);
  return SpacesEnd(text, begin, false);
}

// The family of cl100k: Llama 3 takes numbers by up to three digits, Qwen by one; Qwen 3.5 counts marks as letters.
template <int kMaxDigits, ClassMask kWordMask>
size_t MatchCl100k(std::string_view text, size_t begin) {
  const Character c = CharacterAt(text, begin);
  if (c.code_point == '\'') {
    const size_t end = ContractionEnd(text, begin, true);
    if (end > begin) return end;
  }
  const bool newline = c.code_point == '\r' || c.code_point == '\n';
  // The optional character before a word may itself be a mark.
  if (!newline && !(c.mask & (kLetter | kNumber)) && c.end < text.size()) {
    const Character next = CharacterAt(text, c.end);
    if (next.mask & kWordMask) return RunEnd<true>(text, next.end, kWordMask);
  }
  if (c.mask & kWordMask) return RunEnd<true>(text, c.end, kWordMask);
  if (c.mask & kNumber) return DigitsEnd(text, begin, kMaxDigits);
  constexpr ClassMask kNotOther = kSpace | kNumber | kWordMask;
  Character head = c;
  if (c.code_point == ' ' && c.end < text.size()) head = CharacterAt(text, c.end);
  if (!(head.mask & kNotOther)) return NewlinesEnd(text, RunEnd<false>(text, head.end, kNotOther));
  return SpacesEnd(text, begin, true);
}

constexpr ClassMask kCased =
    MaskOf(Category::kLm) | MaskOf(Category::kLo) | kMark;  // counts as upper and as lower case
constexpr ClassMask kUpper = MaskOf(Category::kLu) | MaskOf(Category::kLt) | kCased;
constexpr ClassMask kLower = MaskOf(Category::kLl) | kCased;

// [upper]*[lower]+ from `at`, or `at`: the longest run of `upper`, given back until a `lower` follows.
size_t LowerWordEnd(std::string_view text, size_t at) {
  size_t after_cased = at, end = at;
  while (end < text.size()) {
    const Character c = CharacterAt(text, end);
    if (!(c.mask & kUpper)) {
      if (c.mask & kLower) return RunEnd<true>(text, c.end, kLower);
      break;
    }
    end = c.end;
    if (c.mask & kCased) after_cased = end;
  }
  return after_cased;
}

size_t MatchO200k(std::string_view text, size_t begin) {
  const Character c = CharacterAt(text, begin);
  const bool newline = c.code_point == '\r' || c.code_point == '\n';
  const bool may_prefix = !newline && !(c.mask & (kLetter | kNumber)) && c.end < text.size();
  if (may_prefix) {
    const size_t end = LowerWordEnd(text, c.end);
    if (end > c.end) return ContractionEnd(text, end, true);
  }
  if (c.mask & (kUpper | kLower)) {
    const size_t end = LowerWordEnd(text, begin);
    if (end > begin) return ContractionEnd(text, end, true);
  }
  // No lower case at all: a run of upper case.
  if (may_prefix) {
    const size_t end = RunEnd<true>(text, c.end, kUpper);
    if (end > c.end) return ContractionEnd(text, end, true);
  }
  if (c.mask & kUpper) return ContractionEnd(text, RunEnd<true>(text, begin, kUpper), true);
  if (c.mask & kNumber) return DigitsEnd(text, begin, 3);
  constexpr ClassMask kNotOther = kSpace | kNumber | kLetter;
  Character head = c;
  if (c.code_point == ' ' && c.end < text.size()) head = CharacterAt(text, c.end);
  if (!(head.mask & kNotOther)) return NewlinesEnd(text, RunEnd<false>(text, head.end, kNotOther), true);
  return SpacesEnd(text, begin, true);
}

inline bool IsAsciiLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

size_t MatchDeepSeek3Number(std::string_view text, size_t begin) { return DigitsEnd(text, begin, 3); }

size_t MatchDeepSeek3Han(std::string_view text, size_t begin) {
  size_t at = begin;
  while (at < text.size()) {
    const Character c = CharacterAt(text, at);
    const bool in =
        (c.code_point >= 0x4E00 && c.code_point <= 0x9FA5) || (c.code_point >= 0x3040 && c.code_point <= 0x30FF);
    if (!in) break;
    at = c.end;
  }
  return at;
}

size_t MatchDeepSeek3(std::string_view text, size_t begin) {
  const Character c = CharacterAt(text, begin);
  const bool ascii_punctuation = c.code_point < 0x80 && (c.mask & (kPunctuation | kSymbol)) != 0;
  if (ascii_punctuation && c.end < text.size() && IsAsciiLetter(text[c.end])) {
    size_t at = c.end;
    while (at < text.size() && IsAsciiLetter(text[at])) ++at;
    return at;
  }
  constexpr ClassMask kWordMask = kLetter | kMark;
  const bool newline = c.code_point == '\r' || c.code_point == '\n';
  if (!newline && !(c.mask & (kLetter | kPunctuation | kSymbol)) && c.end < text.size()) {
    const Character next = CharacterAt(text, c.end);
    if (next.mask & kWordMask) return RunEnd<true>(text, next.end, kWordMask);
  }
  if (c.mask & kWordMask) return RunEnd<true>(text, c.end, kWordMask);
  constexpr ClassMask kOther = kPunctuation | kSymbol;
  Character head = c;
  if (c.code_point == ' ' && c.end < text.size()) head = CharacterAt(text, c.end);
  if (head.mask & kOther) return NewlinesEnd(text, RunEnd<true>(text, head.end, kOther));
  if (c.mask & kSpace) return SpacesEnd(text, begin, true);
  return begin;
}

struct Known {
  const char* pattern;
  MatchFunction match;
};
const Known kKnown[] = {
    {kGpt2Pattern, MatchGpt2},
    {kLlama3Pattern, MatchCl100k<3, kLetter>},
    {kQwen2Pattern, MatchCl100k<1, kLetter>},
    {kQwen35Pattern, MatchCl100k<1, kLetter | kMark>},
    {kO200kPattern, MatchO200k},
    {kDeepSeek3NumberPattern, MatchDeepSeek3Number},
    {kDeepSeek3HanPattern, MatchDeepSeek3Han},
    {kDeepSeek3Pattern, MatchDeepSeek3},
};

}  // namespace

MatchFunction FindSplitter(std::string_view pattern) {
  for (const Known& known : kKnown) {
    if (pattern == known.pattern) return known.match;
  }
  return nullptr;
}

}  // namespace ingot::tokenizer
