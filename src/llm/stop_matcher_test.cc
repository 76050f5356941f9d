#include "llm/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace ingot::llm {
namespace {

struct Whole {
  std::string text;
  std::optional<size_t> match;
};

Whole Match(const std::vector<std::string>& stops, std::string_view text, const std::vector<size_t>& cuts) {
  StopMatcher matcher(stops);
  Whole whole;
  size_t begin = 0;
  for (size_t i = 0; i <= cuts.size() && !whole.match; ++i) {
    const size_t end = i < cuts.size() ? cuts[i] : text.size();
    const StopMatcher::Result result = matcher.Push(text.substr(begin, end - begin));
    whole.text += result.text;
    whole.match = result.match;
    begin = end;
  }
  if (!whole.match) whole.text += matcher.Finish();
  return whole;
}

// The definition: the first byte at which any stop string is complete; of those the longest.
Whole Plain(const std::vector<std::string>& stops, std::string_view text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<size_t> best;
    for (size_t s = 0; s < stops.size(); ++s) {
      if (!text.substr(0, end).ends_with(stops[s])) continue;
      if (!best || stops[s].size() > stops[*best].size()) best = s;
    }
    if (best) return {std::string(text.substr(0, end - stops[*best].size())), best};
  }
  return {std::string(text), std::nullopt};
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
  StopMatcher matcher({"</answer>", "###"});
  EXPECT_EQ(matcher.Push("one <").text, "one ");
  EXPECT_EQ(matcher.Push("/ans").text, "");
  EXPECT_EQ(matcher.Push("x#").text, "</ansx");
  EXPECT_EQ(matcher.Push("").text, "");
  const StopMatcher::Result result = matcher.Push("## tail");
  EXPECT_EQ(result.text, "");
  ASSERT_TRUE(result.match);
  EXPECT_EQ(matcher.stop(*result.match), "###");
}

TEST(StopMatcher, WithoutStopsEverythingPasses) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Push("abc").text, "abc");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, EqualsTheDefinitionForEveryCut) {
  std::mt19937_64 random(1);
  const auto word = [&](size_t most) {
    std::string text(1 + random() % most, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  int matches = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::string> stops;
    for (uint64_t n = random() % 4; n > 0; --n) stops.push_back(word(7));
    const std::string text = word(40);
    std::vector<size_t> cuts;
    for (size_t at = random() % 5; at < text.size(); at += random() % 5) cuts.push_back(at);
    const Whole expected = Plain(stops, text), got = Match(stops, text, cuts);
    ASSERT_EQ(got.text, expected.text);
    ASSERT_EQ(got.match.has_value(), expected.match.has_value());
    if (!got.match) continue;
    ++matches;
    ASSERT_EQ(stops[*got.match], stops[*expected.match]);
  }
  EXPECT_GT(matches, 5000);
}

TEST(StopMatcher, LongStopsTakeLinearTime) {
  const std::string stop = std::string(100'000, 'a') + "b";
  StopMatcher matcher({stop});
  size_t passed = 0;
  for (int i = 0; i < 100; ++i) passed += matcher.Push(std::string(10'000, 'a')).text.size();
  EXPECT_EQ(passed, 900'000u);
  EXPECT_TRUE(matcher.Push("b").match);
}

}  // namespace
}  // namespace ingot::llm
