#include "tokenizer/unicode.h"

#include <gtest/gtest.h>

#include "tokenizer/byte_level.h"

namespace ingot::tokenizer {
namespace {

TEST(Utf8, RoundTripsEveryScalar) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    AppendUtf8(text, c);
    const Decoded decoded = DecodeUtf8(text.data(), text.data() + text.size());
    ASSERT_EQ(decoded.code_point, c);
    ASSERT_EQ(decoded.length, text.size());
    ASSERT_TRUE(IsValidUtf8(text));
    // Every proper prefix is unfinished; the whole is not.
    ASSERT_EQ(IncompleteTail(text), 0u);
    for (size_t n = 1; n < text.size(); ++n) ASSERT_EQ(IncompleteTail("x" + text.substr(0, n)), n);
  }
}

TEST(Utf8, RefusesWhatIsNoCharacter) {
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                          "\xF4\x90\x80\x80", "\xF8", "\xFF", "a\xC3", "\xE2\x82", "\xF0\x9F\x98"}) {
    EXPECT_FALSE(IsValidUtf8(bad));
  }
}

TEST(Utf8, ReplacesMaximalPartsOrBytes) {
  EXPECT_EQ(ReplaceInvalidUtf8("a\xE4\xBD"
                               "b"),
            "a\uFFFDb");
  EXPECT_EQ(ReplaceInvalidUtf8("a\xE4\xBD"
                               "b",
                               true),
            "a\uFFFD\uFFFDb");
  EXPECT_EQ(ReplaceInvalidUtf8("\xE0\x80\xAF"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98\xE4\xBD\xA0"), "\uFFFD你");
}

TEST(Unicode, Classes) {
  EXPECT_EQ(ClassOf('a') & ~(kSpace | kWord), MaskOf(Category::kLl));
  EXPECT_TRUE(ClassOf(0x4E00) & kLetter);
  EXPECT_TRUE(ClassOf(0x323AF) & kLetter);  // Unicode 15: Debian's PCRE2 does not know it
  EXPECT_TRUE(ClassOf(0x0301) & kMark);
  EXPECT_TRUE(ClassOf(0xBD) & kNumber);
  EXPECT_TRUE(ClassOf(0x85) & kSpace);
  EXPECT_FALSE(ClassOf(0x200B) & kSpace);
  EXPECT_TRUE(IsRustNumeric(0x11DE0));
  EXPECT_FALSE(ClassOf(0x11DE0) & kNumber);
  EXPECT_TRUE(IsRustPunctuation('$'));
  EXPECT_FALSE(ClassOf('$') & kPunctuation);
}

TEST(Unicode, LowerCase) {
  const auto lower = [](uint32_t c) {
    std::string out;
    AppendLowerCase(out, c);
    return out;
  };
  EXPECT_EQ(lower('A'), "a");
  EXPECT_EQ(lower('z'), "z");
  EXPECT_EQ(lower(0x130), "i\u0307");
  EXPECT_EQ(lower(0x416), "ж");
  EXPECT_EQ(lower(0x1E9E), "ß");
  EXPECT_EQ(lower(0x4E00), "一");
}

TEST(Unicode, SetsAreClosedUnderTheirOperations) {
  CodePointSet letters, upper;
  ASSERT_TRUE(FindProperty("L", letters));
  ASSERT_TRUE(FindProperty("Lu", upper));
  EXPECT_EQ(Intersection(letters, upper), upper);
  EXPECT_EQ(Complement(Complement(letters)), letters);
  EXPECT_EQ(Complement({}), (CodePointSet{{0, 0x10FFFF}}));
  EXPECT_TRUE(Complement({{0, 0x10FFFF}}).empty());
  CodePointSet set;
  EXPECT_FALSE(FindProperty("Klingon", set));
  EXPECT_FALSE(FindProperty("", set));
}

TEST(ByteLevel, SpellingIsABijection) {
  std::string all;
  for (int b = 0; b < 256; ++b) all.push_back(static_cast<char>(b));
  const std::string spelling = BytesToSpelling(all);
  EXPECT_EQ(SpellingToBytes(spelling), all);
  EXPECT_EQ(BytesToSpelling(" a\n"), "ĠaĊ");
  EXPECT_EQ(SpellingToBytes("你"), std::nullopt);
}

}  // namespace
}  // namespace ingot::tokenizer
