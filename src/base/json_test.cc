#include "base/json.h"

#include <gmock/gmock.h>

#include <boost/json/parse.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <random>

namespace ingot {
namespace {

using ::testing::HasSubstr;

boost::json::value Parsed(std::string_view text) {
  Result<boost::json::value> value = ParseJson(text, "f.json");
  EXPECT_TRUE(value) << value.error().message();
  return value ? *value : boost::json::value();
}

std::string ParseError(std::string_view text) {
  const Result<boost::json::value> value = ParseJson(text, "f.json");
  EXPECT_FALSE(value) << text;
  if (value) return "";
  EXPECT_EQ(value.error().code(), Code::kInvalidArgument);
  return value.error().message();
}

TEST(ParseJson, NamesFileAndOffset) {
  EXPECT_THAT(ParseError("[1, 2, x]"), HasSubstr("f.json: not JSON at byte 7:"));
  EXPECT_THAT(ParseError("[1, 2"), HasSubstr("the text ends too early"));
  EXPECT_THAT(ParseError(""), HasSubstr("the text ends too early"));
  EXPECT_THAT(ParseError("{} {}"), HasSubstr("at byte 3: extra data"));
  EXPECT_THAT(ParseError("\"\xff\""), HasSubstr("at byte 1:"));  // not UTF-8
  EXPECT_THAT(ParseError(std::string_view("{\0}", 3)), HasSubstr("at byte 1:"));
}

TEST(ParseJson, LimitsDepth) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  Parsed(nested(64));
  EXPECT_THAT(ParseError(nested(65)), HasSubstr("deeper than 64"));
  EXPECT_THAT(ParseError(std::string(1'000'000, '[')), HasSubstr("deeper than 64"));
}

TEST(ParseJson, LimitsWhatTakesMemoryOfItsOwn) {
  const auto is_taken = [](std::string_view text, size_t max_parts) {
    const auto value = ParseJson(text, "f.json", max_parts);
    if (!value) {
      EXPECT_THAT(value.error().message(),
                  HasSubstr(fmt::format("more than {} keys, strings, arrays and objects", max_parts)));
    }
    return value.has_value();
  };
  for (const char* text : {R"({"a":{"b":1}})", R"([[],["x"]])", R"([{},{},""])"}) {
    EXPECT_TRUE(is_taken(text, 4)) << text;
    EXPECT_FALSE(is_taken(text, 3)) << text;
  }
  EXPECT_TRUE(is_taken("[1,2,3.5,true,null,-1]", 1));
  EXPECT_FALSE(is_taken("[1]", 0));
}

TEST(JsonView, FindsMembers) {
  const boost::json::value value = Parsed(R"({"a": {"b": [1, {"c": "x"}]}, "none": null, "flag": true})");
  const JsonView view(value, "f.json");
  EXPECT_EQ(view.Find("a")->Find("b")->At(1).String("c"), "x");
  EXPECT_EQ(view.Find("a")->Find("b")->At(1).Find("c")->path(), "f.json: a.b[1].c");
  EXPECT_FALSE(view.Find("none"));
  EXPECT_FALSE(view.Find("missing"));
  EXPECT_FALSE(view.Find("flag")->Find("anything"));  // no object
  EXPECT_EQ(view.Int("none", 7), 7);
  EXPECT_EQ(view.String("missing", "s"), "s");
  EXPECT_EQ(view.Bool("flag", false), true);
}

TEST(JsonView, ErrorsNameThePath) {
  const boost::json::value value = Parsed(R"({"rope": {"factor": "big"}, "n": 1.5, "list": []})");
  const JsonView view(value, "config.json");
  EXPECT_EQ(view.Find("rope")->Double("factor").error().message(),
            "config.json: rope.factor: must be a number, is a string");
  EXPECT_EQ(view.Int("hidden_size").error().message(), "config.json: hidden_size: missing");
  EXPECT_THAT(view.Int("n").error().message(), HasSubstr("n: must be an integer"));
  EXPECT_THAT(view.Find("list")->Get("x").error().message(), HasSubstr("list: must be an object, is an array"));
  EXPECT_FALSE(view.Find("list")->AsObject());
  EXPECT_TRUE(view.Find("list")->AsArray());
  EXPECT_FALSE(view.String("n", "fallback"));  // a wrong type is an error, not the fallback
}

TEST(JsonView, Integers) {
  const boost::json::value value = Parsed(R"([4096.0, 9223372036854775807, 9223372036854775808, -9223372036854775808,
                                              1e300, -0.0, 0.5])");
  const JsonView view(value, "f.json");
  EXPECT_EQ(view.At(0).AsInt(), 4096);
  EXPECT_EQ(view.At(1).AsInt(), std::numeric_limits<int64_t>::max());
  EXPECT_FALSE(view.At(2).AsInt());
  EXPECT_EQ(view.At(3).AsInt(), std::numeric_limits<int64_t>::min());
  EXPECT_FALSE(view.At(4).AsInt());
  EXPECT_EQ(view.At(5).AsInt(), 0);
  EXPECT_FALSE(view.At(6).AsInt());
  EXPECT_EQ(view.At(2).AsDouble(), 0x1p63);
}

std::string JsonString(std::string_view text) {
  std::string out;
  AppendJsonString(out, text);
  return out;
}

TEST(AppendJsonString, Escapes) {
  EXPECT_EQ(JsonString("a\"b\\c\n\r\t\b\f\x01\x1f"), R"("a\"b\\c\n\r\t\b\f\u0001\u001f")");
  EXPECT_EQ(JsonString(std::string_view("\0", 1)), R"("\u0000")");
  EXPECT_EQ(JsonString("é 中 😀"), "\"é 中 😀\"");
  EXPECT_EQ(JsonString(""), "\"\"");
}

TEST(AppendJsonString, ReplacesWhatIsNotUtf8) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(JsonString("a\xff"), "\"a" + bad + "\"");
  EXPECT_EQ(JsonString("\xE4\xB8"), "\"" + bad + bad + "\"");                      // cut short
  EXPECT_EQ(JsonString("\xC0\x80"), "\"" + bad + bad + "\"");                      // overlong
  EXPECT_EQ(JsonString("\xED\xA0\x80"), "\"" + bad + bad + bad + "\"");            // surrogate
  EXPECT_EQ(JsonString("\xF4\x90\x80\x80"), "\"" + bad + bad + bad + bad + "\"");  // above U+10FFFF
}

TEST(AppendJsonString, AnyBytesReadBack) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string text(random() % 12, '\0');
    for (char& c : text) c = static_cast<char>(random() % 2 == 0 ? random() : 0x80 + random() % 0x40);
    ASSERT_TRUE(ParseJson(JsonString(text), "s")) << JsonString(text);
  }
}

TEST(AppendJsonString, AnyCodePointReadsBack) {
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    if (c < 0x80) {
      text = {static_cast<char>(c)};
    } else if (c < 0x800) {
      text = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
    } else if (c < 0x10000) {
      text = {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
              static_cast<char>(0x80 | (c & 63))};
    } else {
      text = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
              static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
    }
    const Result<boost::json::value> back = ParseJson(JsonString(text), "s");
    ASSERT_TRUE(back) << c;
    ASSERT_EQ(std::string(back->as_string()), text) << c;
  }
}

template <typename T>
std::string JsonNumber(T value) {
  std::string out;
  AppendJsonNumber(out, value);
  return out;
}

TEST(AppendJsonNumber, ShortestForm) {
  EXPECT_EQ(JsonNumber(0.1), "0.1");
  EXPECT_EQ(JsonNumber(0.1f), "0.1");
  EXPECT_EQ(JsonNumber(3.0), "3");
  EXPECT_EQ(JsonNumber(-1.5e-9), "-1.5e-09");
  EXPECT_EQ(JsonNumber(std::nan("")), "null");
  EXPECT_EQ(JsonNumber(-std::numeric_limits<float>::infinity()), "null");
}

TEST(AppendJsonNumber, ReadsBackExactly) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 20000; ++round) {
    const double value = std::bit_cast<double>(random());
    if (!std::isfinite(value)) continue;
    const std::string text = JsonNumber(value);
    double back = 0;
    std::from_chars(text.data(), text.data() + text.size(), back);
    ASSERT_EQ(back, value) << text;
    const auto parsed = ParseJson(text, "n");
    ASSERT_TRUE(parsed) << text;
    ASSERT_EQ(parsed->to_number<double>(), value) << text;
  }
}

}  // namespace
}  // namespace ingot
