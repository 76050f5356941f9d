// Character classes, as the `tokenizers` package sees them, and case.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ingot {

// The order is that of tools/gen_unicode_tables.py.
// clang-format off
enum class Category : uint8_t {
  kLu, kLl, kLt, kLm, kLo, kMn, kMc, kMe, kNd, kNl, kNo, kPc, kPd, kPs, kPe, kPi, kPf, kPo,
  kSm, kSc, kSk, kSo, kZs, kZl, kZp, kCc, kCf, kCo, kCn, kCs,
};
// clang-format on
inline constexpr int kNumCategories = 30;

// Sets of categories as bits, and two sets that are none.
using ClassMask = uint32_t;
constexpr ClassMask MaskOf(Category category) { return ClassMask{1} << static_cast<int>(category); }
constexpr ClassMask MaskOf(Category first, Category last) { return (MaskOf(last) << 1) - MaskOf(first); }
inline constexpr ClassMask kLetter = MaskOf(Category::kLu, Category::kLo);
inline constexpr ClassMask kMark = MaskOf(Category::kMn, Category::kMe);
inline constexpr ClassMask kNumber = MaskOf(Category::kNd, Category::kNo);
inline constexpr ClassMask kPunctuation = MaskOf(Category::kPc, Category::kPo);
inline constexpr ClassMask kSymbol = MaskOf(Category::kSm, Category::kSo);
inline constexpr ClassMask kSpace = ClassMask{1} << 30;
inline constexpr ClassMask kWord = ClassMask{1} << 31;  // \w of Rust's regex crate

ClassMask ClassOf(uint32_t code_point);  // one category bit, and kSpace and kWord where they hold
bool IsRustNumeric(uint32_t code_point);
bool IsRustPunctuation(uint32_t code_point);

// A set of code points: ascending, disjoint, not adjacent.
struct CodePointRange {
  uint32_t first, last;
  auto operator<=>(const CodePointRange&) const = default;
};
using CodePointSet = std::vector<CodePointRange>;
CodePointSet Normalized(CodePointSet set);  // sorts and joins
CodePointSet Complement(const CodePointSet& set);
CodePointSet Intersection(const CodePointSet& a, const CodePointSet& b);
// "L", "Lu", "Letter", "Han", "Alphabetic" …; false if unknown.
bool FindProperty(std::string_view name, CodePointSet& set);
CodePointSet OnigurumaWord();
CodePointSet SpaceSet();
bool IsOpaqueToNormalization(uint32_t code_point);
void AppendLowerCase(std::string& out, uint32_t code_point);
void AppendUpperCase(std::string& out, uint32_t code_point);

}  // namespace ingot
