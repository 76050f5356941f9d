#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/bytes.h"
#include "text/marked_text.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace ingot {
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

TEST(Utf8, CountsCharacters) {
  EXPECT_EQ(CountCharacters(""), 0u);
  EXPECT_EQ(CountCharacters("aé世🙂"), 4u);
  EXPECT_EQ(CountCharacters("a\xE4\xBD"), 3u);  // a byte that is none counts as one
  EXPECT_EQ(CountCharacters("\uFFFD"), 1u);
  EXPECT_TRUE(DecodeUtf8("\uFFFD", 0).valid());
  EXPECT_FALSE(DecodeUtf8("\xE4\xBD", 0).valid());
}

TEST(MarkedText, JoinsNeighbouringSpans) {
  MarkedText text;
  text.Append("<s>", true);
  text.Append("", false);
  text.Append("[", true);
  text.Append("user", false);
  text.Append("]", true);
  EXPECT_EQ(text.text, "<s>[user]");
  EXPECT_THAT(text.trusted, ::testing::ElementsAre(MarkedText::Span{0, 4}, MarkedText::Span{8, 9}));
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

TEST(Unicode, UpperCase) {
  const auto upper = [](uint32_t c) {
    std::string out;
    AppendUpperCase(out, c);
    return out;
  };
  EXPECT_EQ(upper('z'), "Z");
  EXPECT_EQ(upper('Z'), "Z");
  EXPECT_EQ(upper(0xDF), "SS");
  EXPECT_EQ(upper(0x436), "Ж");
  EXPECT_EQ(upper(0x4E00), "一");
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

TEST(Bytes, SizesAreToldAsFlagsTakeThem) {
  EXPECT_EQ(SizeAtMost(24133559392), "22.4GiB");
  EXPECT_EQ(SizeAtLeast(24133559392), "22.5GiB");
  EXPECT_EQ(SizeAtLeast(5368709120), "5GiB");
  EXPECT_EQ(SizeAtMost(1023), "1023");
  EXPECT_EQ(SizeAtLeast(1024), "1KiB");
  EXPECT_EQ(SizeAtLeast(1025), "1.1KiB");
  EXPECT_EQ(SizeAtLeast(int64_t{900} << 40), "900TiB");
  EXPECT_EQ(SizeAtMost(0), "0");
}

TEST(Bytes, BytesAreReadable) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.50 KiB");
  EXPECT_EQ(FormatBytes(int64_t{5} << 30), "5.00 GiB");
}

TEST(Bytes, SizesAreReadInAllSpellings) {
  EXPECT_EQ(ParseBytes("1073741824"), int64_t{1} << 30);
  EXPECT_EQ(ParseBytes("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(ParseBytes("1.5K"), 1536);
  EXPECT_EQ(ParseBytes("500MB"), 500'000'000);
  EXPECT_EQ(ParseBytes(SizeAtMost(24133559392)), 24051816857);
  for (const char* text : {"", "GiB", "-1", "nan", "1 GiB", "1PiB", "9e9GiB"})
    EXPECT_EQ(ParseBytes(text), std::nullopt);
}

}  // namespace
}  // namespace ingot
