#include "tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_cpu_time.h"

namespace ingot::tokenizer {
namespace {

std::vector<std::string> Matches(std::string_view pattern, std::string_view text) {
  auto regex = Regex::Compile(pattern);
  if (!regex) return {"error: " + regex.error().ToString()};
  std::vector<ByteSpan> spans;
  (*regex)->FindAll(text, spans);
  std::vector<std::string> out;
  for (const auto& [begin, end] : spans) out.emplace_back(text.substr(begin, end - begin));
  return out;
}

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Regex, Dialect) {
  EXPECT_THAT(Matches(R"(\p{L}+|\p{^L})", "ab1"), ElementsAre("ab", "1"));
  EXPECT_THAT(Matches(R"([^\s\p{N}]+)", "a1 b"), ElementsAre("a", "b"));
  EXPECT_THAT(Matches(R"([a-z&&[^aeiou]]+)", "bcade"), ElementsAre("bc", "d"));
  EXPECT_THAT(Matches(R"([[a-c][x]]+)", "axbz"), ElementsAre("axb"));
  EXPECT_THAT(Matches(R"(\d{1,3}+)", "12345"), ElementsAre("12345"));  // Ruby: repeats the interval
  EXPECT_THAT(Matches(R"(a{,2})", "aaa"), ElementsAre("aa", "a"));
  EXPECT_THAT(Matches(R"(a{)", "a{"), ElementsAre("a{"));
  EXPECT_THAT(Matches(R"(\h+)", "xBEEFy"), ElementsAre("BEEF"));
  EXPECT_THAT(Matches(R"((?i:'s|É))", "'S'ſé"), ElementsAre("'S", "'ſ", "é"));
  EXPECT_THAT(Matches(R"((?i)k+)", "kK\u212A"), ElementsAre("kK\u212A"));
  EXPECT_THAT(Matches(R"(^b|c$)", "ab\nbc\n"), ElementsAre("b", "c"));
  EXPECT_THAT(Matches(R"(a.c)", "a\nc abc"), ElementsAre("abc"));
  EXPECT_THAT(Matches(R"((?m:a.c))", "a\nc"), ElementsAre("a\nc"));
  EXPECT_THAT(Matches(R"(\bfoo\b)", "foo foobar"), ElementsAre("foo"));
  EXPECT_THAT(Matches(R"(\x{1F600}|\u00e9|\x41)", "A😀é"), ElementsAre("A", "😀", "é"));
  EXPECT_THAT(Matches(R"(\s+(?!\S)|\s+)", "  a "), ElementsAre(" ", " ", " "));
  EXPECT_THAT(Matches(R"((?<=a)b(?>c))", "abcbc"), ElementsAre("bc"));
  EXPECT_THAT(Matches(R"([\p{Han}]+)", "a漢字b"), ElementsAre("漢字"));
  EXPECT_THAT(Matches("x*", "axxb"), ElementsAre("xx"));  // empty matches are none
}

TEST(Regex, RefusesByName) {
  for (const auto& [pattern, part] : std::vector<std::pair<std::string, std::string>>{{R"(\p{Klingon})", "Klingon"},
                                                                                      {R"(\X)", "\\X"},
                                                                                      {"(a", "group"},
                                                                                      {"a)", "unmatched"},
                                                                                      {"[a", "unfinished class"},
                                                                                      {"*a", "nothing to repeat"},
                                                                                      {"(?x: a)", "this kind of group"},
                                                                                      {"[z-a]", "empty range"},
                                                                                      {"(*LIMIT_MATCH=1)a", "(*"},
                                                                                      {"a\\", "backslash"},
                                                                                      {R"((a)\1)", "\\1"},
                                                                                      {"[[:upper:]]", "POSIX"},
                                                                                      {R"(\x{110000})", "\\x"},
                                                                                      {"\xFF", "UTF-8"}}) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex) << pattern;
    EXPECT_THAT(regex.error().ToString(), testing::HasSubstr(part)) << pattern;
  }
  EXPECT_FALSE(Regex::Compile(std::string(20000, 'a')));
  EXPECT_FALSE(Regex::Compile(std::string(200, '(') + std::string(200, ')')));
}

TEST(Regex, WorkIsBounded) {
  const double begin = CpuSeconds();
  Matches("(a+)+(a+)+(a+)+b", std::string(5000, 'a'));
  Matches("((((a*)*)*)*)*c", std::string(5000, 'a'));
  EXPECT_EQ(Matches(R"(\p{L}+)", std::string(1'000'000, 'a')).size(), 1u);
  EXPECT_LT(CpuSeconds() - begin, 20.0);
}

TEST(Regex, InvalidBytesAreSymbols) {
  EXPECT_THAT(Matches(R"(\p{S}+|a)",
                      "a\xFF\xFE"
                      "b"),
              ElementsAre("a", "\xFF\xFE"));
}

}  // namespace
}  // namespace ingot::tokenizer
