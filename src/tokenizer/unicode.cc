#include "tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include "tokenizer/unicode_tables.h"

namespace ingot::tokenizer {
namespace {

constexpr uint32_t kMaxCodePoint = 0x10FFFF;
constexpr const char* kCategoryNames[kNumCategories] = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
                                                        "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
                                                        "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cn", "Cs"};

CodePointSet SetOfPairs(const uint32_t* pairs, size_t count) {
  CodePointSet set;
  for (size_t i = 0; i + 1 < count; i += 2) set.push_back({pairs[i], pairs[i + 1]});
  return set;
}

bool Contains(const uint32_t* pairs, size_t count, uint32_t code_point) {
  // The first pair whose last is not before code_point.
  size_t low = 0, high = count / 2;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (pairs[2 * middle + 1] < code_point) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count / 2 && pairs[2 * low] <= code_point;
}

// 4352 pages of 256 code points, equal pages shared.
struct ClassTable {
  static constexpr size_t kPages = (kMaxCodePoint + 1) / 256;
  using Page = std::array<ClassMask, 256>;
  std::array<uint16_t, kPages> index;
  std::vector<Page> pages;

  ClassTable() {
    std::vector<ClassMask> flat(kMaxCodePoint + 1);
    for (size_t i = 0; i < kCategoryStartsCount; ++i) {
      const uint32_t begin = kCategoryStarts[i] >> 5;
      const uint32_t end = i + 1 < kCategoryStartsCount ? kCategoryStarts[i + 1] >> 5 : kMaxCodePoint + 1;
      std::fill(flat.begin() + begin, flat.begin() + end, ClassMask{1} << (kCategoryStarts[i] & 31));
    }
    const auto flip = [&](const uint32_t* pairs, size_t count, ClassMask bit) {
      for (const auto& [first, last] : SetOfPairs(pairs, count)) {
        for (uint32_t c = first; c <= last; ++c) flat[c] ^= bit;
      }
    };
    flip(kSpaceRanges, kSpaceRangesCount, kSpace);
    flip(kWordRanges, kWordRangesCount, kWord);
    flip(kRustWordToggles, kRustWordTogglesCount, kWord);
    std::map<Page, uint16_t> seen;
    for (size_t page = 0; page < kPages; ++page) {
      Page content;
      std::copy_n(flat.begin() + static_cast<std::ptrdiff_t>(page * 256), 256, content.begin());
      const auto [it, inserted] = seen.try_emplace(content, static_cast<uint16_t>(pages.size()));
      if (inserted) pages.push_back(content);
      index[page] = it->second;
    }
  }
};

const ClassTable& Table() {
  static const ClassTable* const table = new ClassTable();
  return *table;
}

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

ClassMask ClassOf(uint32_t code_point) {
  static const ClassTable& table = Table();
  return table.pages[table.index[code_point >> 8]][code_point & 255];
}

bool IsRustNumeric(uint32_t code_point) {
  return ((ClassOf(code_point) & kNumber) != 0) != Contains(kRustNumberToggles, kRustNumberTogglesCount, code_point);
}

bool IsRustPunctuation(uint32_t code_point) {
  return ((ClassOf(code_point) & kPunctuation) != 0) !=
         Contains(kRustPunctuationToggles, kRustPunctuationTogglesCount, code_point);
}

Decoded DecodeSlow(const char* p, const char* end) {
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
    out += "\xEF\xBF\xBD";
    p += each_byte ? 1 : prefix;
  }
  return out;
}

CodePointSet Normalized(CodePointSet set) {
  std::sort(set.begin(), set.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  CodePointSet out;
  for (const CodePointRange& range : set) {
    if (!out.empty() && range.first <= out.back().last + 1) {
      out.back().last = std::max(out.back().last, range.last);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CodePointSet Complement(const CodePointSet& set) {
  CodePointSet out;
  uint32_t next = 0;
  for (const CodePointRange& range : set) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kMaxCodePoint) out.push_back({next, kMaxCodePoint});
  return out;
}

CodePointSet Intersection(const CodePointSet& a, const CodePointSet& b) {
  CodePointSet out = Complement(a);
  const CodePointSet rest = Complement(b);
  out.insert(out.end(), rest.begin(), rest.end());
  return Complement(Normalized(std::move(out)));
}

bool FindProperty(std::string_view name, CodePointSet& set) {
  static const std::map<std::string_view, std::string_view> kAliases = {{"Letter", "L"},
                                                                        {"Mark", "M"},
                                                                        {"Number", "N"},
                                                                        {"Punctuation", "P"},
                                                                        {"Punct", "P"},
                                                                        {"Symbol", "S"},
                                                                        {"Separator", "Z"},
                                                                        {"Other", "C"},
                                                                        {"Uppercase_Letter", "Lu"},
                                                                        {"Lowercase_Letter", "Ll"},
                                                                        {"Decimal_Number", "Nd"},
                                                                        {"Digit", "Nd"},
                                                                        {"Space_Separator", "Zs"}};
  if (const auto alias = kAliases.find(name); alias != kAliases.end()) name = alias->second;
  set.clear();
  if (name == "Any") {
    set = {{0, kMaxCodePoint}};
    return true;
  }
  if (name == "Space" || name == "White_Space") {
    set = SpaceSet();
    return true;
  }
  for (size_t i = 0; i < kScriptsCount; ++i) {
    if (name != kScripts[i].name) continue;
    set = SetOfPairs(kScriptWords + kScripts[i].begin, kScripts[i].count);
    return true;
  }
  for (size_t i = 0; i < kCategoryStartsCount; ++i) {
    const std::string_view category = kCategoryNames[kCategoryStarts[i] & 31];
    if (name.empty() || name.size() > 2 || category.substr(0, name.size()) != name) continue;
    const uint32_t end = i + 1 < kCategoryStartsCount ? kCategoryStarts[i + 1] >> 5 : kMaxCodePoint + 1;
    set.push_back({kCategoryStarts[i] >> 5, end - 1});
  }
  set = Normalized(std::move(set));
  return !set.empty();
}

CodePointSet OnigurumaWord() { return SetOfPairs(kWordRanges, kWordRangesCount); }
CodePointSet SpaceSet() { return SetOfPairs(kSpaceRanges, kSpaceRangesCount); }

bool IsOpaqueToNormalization(uint32_t code_point) { return Contains(kOpaqueRanges, kOpaqueRangesCount, code_point); }

void AppendLowerCase(std::string& out, uint32_t code_point) {
  if (code_point == 0x130) {  // the one letter whose lower case is two: i and a dot above
    out += "i\xCC\x87";
    return;
  }
  const LowerCaseRow* const end = kLowerCaseRows + kLowerCaseRowsCount;
  const LowerCaseRow* row =
      std::upper_bound(kLowerCaseRows, end, code_point, [](uint32_t c, const LowerCaseRow& r) { return c < r.first; });
  // Rows of step 2 may interleave, so the one before the last candidate is asked too.
  for (int i = 0; i < 2 && row != kLowerCaseRows; ++i) {
    --row;
    if (code_point <= row->last && (code_point - row->first) % row->step == 0) {
      AppendUtf8(out, code_point + static_cast<uint32_t>(row->delta));
      return;
    }
  }
  AppendUtf8(out, code_point);
}

}  // namespace ingot::tokenizer
