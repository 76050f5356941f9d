#include "tokenizer/splitters.h"

#include <gtest/gtest.h>

#include <random>

#include "text/utf8.h"
#include "tokenizer/pattern.h"

namespace ingot::tokenizer {
namespace {

const char* const kPatterns[] = {kGpt2Pattern,  kLlama3Pattern,          kQwen2Pattern,        kQwen35Pattern,
                                 kO200kPattern, kDeepSeek3NumberPattern, kDeepSeek3HanPattern, kDeepSeek3Pattern};

std::string RandomText(std::mt19937& random) {
  static const std::vector<std::string> kPieces = {
      " ",  "  ", "\n",  "\r\n", "\t", "\u00A0", "\u3000", "a",       "the",    "A",    "AB",
      "aB", "'s", "'LL", "'ſ",   "'",  "1",      "12",     "345",     "½",      "٣",    ".",
      ",",  "!",  "/",   "//",   "<|", "$",      "é",      "e\u0301", "\u0301", "日本", "中",
      "。", "한", "Ж",   "ǅ",    "ʰ",  "😀",     "\u200B", "\u0378",  "\x01",   "_",    "-"};
  std::string text;
  const size_t n = random() % 12 + 1;
  for (size_t i = 0; i < n; ++i) {
    if (random() % 4 != 0) {
      text += kPieces[random() % kPieces.size()];
      continue;
    }
    uint32_t c = random() % 0x110000;
    if (c >= 0xD800 && c < 0xE000) c = 'x';
    AppendUtf8(text, c);
  }
  return text;
}

TEST(Splitters, EqualTheirRegularExpressions) {
  for (const char* const text : kPatterns) {
    auto regex = Regex::Compile(text);
    ASSERT_TRUE(regex) << regex.error().ToString();
    const Pattern function = Pattern::Function(FindSplitter(text));
    ASSERT_NE(function.function(), nullptr);
    std::mt19937 random(1);
    for (int i = 0; i < 20000; ++i) {
      const std::string subject = RandomText(random);
      std::vector<ByteSpan> expected, got;
      (*regex)->FindAll(subject, expected);
      function.FindAll(subject, got);
      ASSERT_EQ(got, expected) << text << " on \"" << subject << "\"";
    }
  }
}

TEST(Splitters, EveryCodePointBetweenLettersAndSpaces) {
  for (const char* const text : kPatterns) {
    auto regex = Regex::Compile(text);
    ASSERT_TRUE(regex);
    const Pattern function = Pattern::Function(FindSplitter(text));
    // One subject per 256 code points: each alone, after a letter, before one, and after a space.
    for (uint32_t page = 0; page < 0x1100; ++page) {
      std::string subject;
      for (uint32_t c = page * 256; c < page * 256 + 256; ++c) {
        if (c >= 0xD800 && c < 0xE000) continue;
        subject += "a";
        AppendUtf8(subject, c);
        subject += "Z ";
        AppendUtf8(subject, c);
        subject += "1";
        AppendUtf8(subject, c);
        subject += "\n";
      }
      std::vector<ByteSpan> expected, got;
      (*regex)->FindAll(subject, expected);
      function.FindAll(subject, got);
      ASSERT_EQ(got, expected) << text << " on page " << page;
    }
  }
}

TEST(Splitters, OnlyExactPatternsAreKnown) {
  EXPECT_EQ(FindSplitter(""), nullptr);
  EXPECT_EQ(FindSplitter(R"(\p{N}{1,2})"), nullptr);
  EXPECT_EQ(FindSplitter(std::string(kGpt2Pattern) + " "), nullptr);
}

}  // namespace
}  // namespace ingot::tokenizer
