#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace ingot {
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

void AppendUpperCase(std::string& out, uint32_t code_point) {
  if (code_point == 0xDF) {  // the one letter in common use whose upper case is two: ß
    out += "SS";
    return;
  }
  AppendUtf8(out, static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code_point))));
}

}  // namespace ingot
