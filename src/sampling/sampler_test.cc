#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

namespace ingot::sampling {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Options {
  History* history = nullptr;
  std::vector<int32_t> masked;
  uint64_t position = 0;
  std::vector<LogitBias> bias = {};
  const TokenMask* allowed = nullptr;
};

Outcome RunRow(std::vector<float> logits, const Params& params, Sampled* result, const Options& options = {}) {
  Workspace workspace(static_cast<int64_t>(logits.size()));
  const SampleInputs inputs{&params, options.history, options.bias, options.masked, options.position, options.allowed};
  return Sample(logits, inputs, workspace, result);
}

int32_t Token(const std::vector<float>& logits, const Params& params, const Options& options = {}) {
  Sampled result;
  EXPECT_EQ(RunRow(logits, params, &result, options), Outcome::kOk);
  return result.id;
}

std::vector<float> RandomRow(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  std::vector<float> row(size);
  for (float& x : row) x = normal(random);
  return row;
}

// Draws many times and compares the frequencies with what the definition gives.
void ExpectDistribution(const std::vector<float>& logits, Params params, const std::vector<double>& expected) {
  constexpr int kDraws = 40'000;
  std::vector<int> counts(logits.size());
  for (int i = 0; i < kDraws; ++i)
    ++counts[static_cast<size_t>(Token(logits, params, {.position = static_cast<uint64_t>(i)}))];
  for (size_t id = 0; id < logits.size(); ++id) {
    const double p = expected[id];
    if (p == 0.0) {
      EXPECT_EQ(counts[id], 0) << id;
      continue;
    }
    const double sigma = std::sqrt(kDraws * p * (1 - p)) + 1e-9;
    EXPECT_TRUE(std::abs(counts[id] - kDraws * p) <= 5 * sigma) << id << ": " << counts[id] << " for " << kDraws * p;
  }
}

// The definition, in the plainest way.
std::vector<double> Expected(const std::vector<float>& logits, const Params& params) {
  const size_t size = logits.size();
  std::vector<size_t> order(size);
  for (size_t i = 0; i < size; ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
  if (params.top_k > 0) order.resize(std::min(size, static_cast<size_t>(params.top_k)));
  std::vector<double> p(size);
  double total = 0;
  for (const size_t i : order) total += p[i] = std::exp((logits[i] - logits[order[0]]) / params.temperature);
  double sum = 0;
  bool over = false;
  for (const size_t i : order) {
    const double share = p[i] / total;
    if (over || p[i] < params.min_p) p[i] = 0;
    sum += share;
    over = over || (params.top_p < 1.0 && sum >= params.top_p);
  }
  double kept = 0;
  for (const double x : p) kept += x;
  for (double& x : p) x /= kept;
  return p;
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowestIdOfTies) {
  EXPECT_EQ(Token({1, 5, 5, 2}, {.temperature = 0}), 1);
  EXPECT_EQ(Token({-kInfinity, -kInfinity, -1e30f}, {.temperature = 0}), 2);
}

TEST(Sampler, DrawsFromTheDistributionAsDefined) {
  const std::vector<float> row = {2.0f, 1.0f, -kInfinity, 0.5f, 1.0f, -1.0f, 3.0f, 0.0f};
  for (const Params& params : std::vector<Params>{{},
                                                  {.temperature = 0.5},
                                                  {.top_k = 3},
                                                  {.top_p = 0.7},
                                                  {.min_p = 0.2},
                                                  {.temperature = 1.7, .top_k = 5, .top_p = 0.8, .min_p = 0.1},
                                                  {.top_k = 100, .seed = 99}}) {
    ExpectDistribution(row, params, Expected(row, params));
  }
}

TEST(Sampler, LargeRowsStayInsideWhatTheFiltersKeep) {
  const std::vector<float> row = RandomRow(20'000, 1);
  for (const Params& params : std::vector<Params>{{.top_p = 0.999}, {.top_k = 40}, {.min_p = 0.05}, {.top_p = 0.01}}) {
    const std::vector<double> expected = Expected(row, params);
    for (uint64_t i = 0; i < 200; ++i) {
      ASSERT_GT(expected[static_cast<size_t>(Token(row, params, {.position = i}))], 0.0);
    }
  }
}

// Of weights 1 1 1 1 the first two are half of all, exactly: no third is needed.
TEST(Sampler, TopPEndsWithTheTokenThatReachesIt) {
  const std::vector<float> row(4, 1.5f);
  for (const int64_t top_k : {0, 3, 4}) {
    const double top_p = top_k == 3 ? 2.0 / 3.0 : 0.5;
    std::map<int32_t, int> counts;
    for (uint64_t i = 0; i < 200; ++i) ++counts[Token(row, {.top_k = top_k, .top_p = top_p}, {.position = i})];
    EXPECT_EQ(counts.size(), 2u) << top_k;
    EXPECT_GT(counts[0], 0);
    EXPECT_GT(counts[1], 0);
  }
}

TEST(Sampler, TinyTemperatureAndTinyTopPAreGreedy) {
  const std::vector<float> row = RandomRow(5000, 2);
  const int32_t greedy = Token(row, {.temperature = 0});
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(Token(row, {.temperature = 1e-300}, {.position = i}), greedy);
    EXPECT_EQ(Token(row, {.top_p = 1e-9}, {.position = i}), greedy);
    EXPECT_EQ(Token(row, {.top_k = 1}, {.position = i}), greedy);
    EXPECT_EQ(Token(row, {.min_p = 1.0}, {.position = i}), greedy);
  }
}

TEST(Sampler, SeedAndPositionDecideTheDraw) {
  const std::vector<float> row(1000, 0.0f);
  EXPECT_EQ(Token(row, {.seed = 5}, {.position = 7}), Token(row, {.seed = 5}, {.position = 7}));
  EXPECT_NE(Token(row, {.seed = 5}, {.position = 7}), Token(row, {.seed = 6}, {.position = 7}));
  EXPECT_NE(Token(row, {.seed = 5}, {.position = 7}), Token(row, {.seed = 5}, {.position = 8}));
}

TEST(Sampler, LogprobsAreOfTheRawLogitsAndFinite) {
  std::vector<float> row = {1.0f, 2.0f, -kInfinity, 2.0f};
  const double sum = std::log(std::exp(1.0) + 2 * std::exp(2.0));
  std::vector<int32_t> prompt = {1, 3};
  History history(prompt, 4);
  const Params params{.temperature = 0, .repetition_penalty = 10, .num_logprobs = 4};
  Sampled result;
  ASSERT_EQ(RunRow(row, params, &result, {.history = &history}), Outcome::kOk);
  EXPECT_EQ(result.id, 0);
  EXPECT_NEAR(result.logprob, 1.0 - sum, 1e-6);
  ASSERT_EQ(result.num_top, 4);
  EXPECT_EQ(result.top[0].id, 1);
  EXPECT_EQ(result.top[1].id, 3);
  EXPECT_EQ(result.top[2].id, 0);
  EXPECT_EQ(result.top[3].id, 2);
  EXPECT_NEAR(result.top[0].value, 2.0 - sum, 1e-6);
  EXPECT_EQ(result.top[3].value, -9999.0f);
}

TEST(Sampler, TheChosenTokensLogprobIsUnpenalizedToo) {
  std::vector<int32_t> prompt = {0};
  History history(prompt, 1);
  const Params params{.temperature = 0, .repetition_penalty = 2, .num_logprobs = 0};
  Sampled result;
  ASSERT_EQ(RunRow({8.0f, 1.0f}, params, &result, {.history = &history}), Outcome::kOk);
  EXPECT_EQ(result.id, 0);
  EXPECT_NEAR(result.logprob, 8.0 - std::log(std::exp(8.0) + std::exp(1.0)), 1e-7);
}

TEST(Sampler, PenaltiesFollowTheirDefinitions) {
  std::vector<int32_t> prompt = {0, 1, 5};
  const auto history = [&] {
    History h(prompt, 8);
    for (const int32_t id : {2, 2, 3}) h.AddAnswerToken(id);
    return h;
  };
  std::vector<float> row = {4.0f, -4.0f, 4.0f, 4.0f, 4.0f, -0.25f};
  History h = history();
  h.Penalize({.repetition_penalty = 2}, row);
  EXPECT_EQ(row, (std::vector<float>{2, -8, 2, 2, 4, -0.5f}));
  row = {4.0f, -4.0f, 4.0f, 4.0f, 4.0f, -0.25f};
  h = history();
  h.Penalize({.presence_penalty = 1.5, .frequency_penalty = 0.5}, row);
  EXPECT_EQ(row, (std::vector<float>{4, -4, 1.5, 2, 4, -0.25f}));
}

TEST(Sampler, MaskedTokensAreNeverDrawn) {
  const std::vector<float> row = {10.0f, 0.0f, 9.0f};
  EXPECT_EQ(Token(row, {.temperature = 0}, {.masked = {0, 2}}), 1);
  for (uint64_t i = 0; i < 50; ++i) EXPECT_EQ(Token(row, {}, {.masked = {2, 0, 77}, .position = i}), 1);
  Sampled result;
  EXPECT_EQ(RunRow(row, {}, &result, {.masked = {0, 1, 2}}), Outcome::kNoToken);
}

TEST(Sampler, BiasMovesTheChoiceAndNotTheLogprobs) {
  const std::vector<float> row = {3.0f, 1.0f, 2.0f};
  const Params params{.temperature = 0, .num_logprobs = 3};
  Sampled plain, biased;
  ASSERT_EQ(RunRow(row, params, &plain), Outcome::kOk);
  ASSERT_EQ(RunRow(row, params, &biased, {.bias = {{1, 100.0f}, {0, -100.0f}}}), Outcome::kOk);
  EXPECT_EQ(plain.id, 0);
  EXPECT_EQ(biased.id, 1);
  EXPECT_EQ(biased.logprob, plain.top[2].value);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(biased.top[i].value, plain.top[i].value);
  // A mask is stronger than any bias.
  EXPECT_EQ(Token(row, params, {.masked = {1}, .bias = {{1, 100.0f}}}), 0);
}

// Tokens of one row of a table at a time, by how many were accepted.
class InTurn : public TokenMask {
 public:
  explicit InTurn(std::vector<std::vector<int32_t>> turns) : turns_(std::move(turns)) {}
  void FillAllowed(std::span<uint32_t> allowed) const override {
    std::ranges::fill(allowed, 0u);
    for (const int32_t id : Now()) allowed[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
  }
  bool Accept(int32_t id) override {
    if (std::ranges::find(Now(), id) == Now().end()) return false;
    ++num_accepted_;
    return true;
  }
  void Rollback(int count) override { num_accepted_ -= static_cast<size_t>(count); }
  const std::vector<int32_t>& Now() const { return turns_[num_accepted_ % turns_.size()]; }

 private:
  std::vector<std::vector<int32_t>> turns_;
  size_t num_accepted_ = 0;
};

TEST(Sampler, OnlyWhatAMaskAllowsIsDrawnAndLogprobsStayRaw) {
  InTurn mask({{7}, {31, 32, 64}, {0, 70}});
  for (const Params& params : {Params{.temperature = 0, .num_logprobs = 3}, Params{.seed = 5, .num_logprobs = 3},
                               Params{.top_k = 3, .seed = 6, .num_logprobs = 3}}) {
    for (uint64_t position = 0; position < 60; ++position) {
      const std::vector<float> row = RandomRow(71, position);
      Sampled masked, free;
      ASSERT_EQ(RunRow(row, params, &masked, {.position = position, .allowed = &mask}), Outcome::kOk);
      ASSERT_EQ(RunRow(row, params, &free, {.position = position}), Outcome::kOk);
      Sampled described;
      Workspace workspace(71);
      ASSERT_EQ(Describe(row, masked.id, 3, workspace, &described), Outcome::kOk);
      EXPECT_EQ(masked.logprob, described.logprob);
      EXPECT_EQ(masked.top[0].id, free.top[0].id);
      EXPECT_EQ(masked.top[2].value, free.top[2].value);
      ASSERT_TRUE(mask.Accept(masked.id)) << masked.id;
      EXPECT_FALSE(mask.Accept(1));
    }
  }
}

TEST(Sampler, AMaskGoesBackToWhatItAllowedBefore) {
  InTurn mask({{1, 2}, {3}, {4, 5, 6}});
  const auto draw = [&](int count) {
    std::vector<int32_t> drawn;
    for (int i = 0; i < count; ++i) {
      drawn.push_back(Token(RandomRow(40, 9), {.seed = 2}, {.position = drawn.size(), .allowed = &mask}));
      EXPECT_TRUE(mask.Accept(drawn.back()));
    }
    return drawn;
  };
  const std::vector<int32_t> first = draw(8);
  mask.Rollback(8);
  EXPECT_EQ(draw(8), first);
}

TEST(Sampler, AMaskThatAllowsNothingIsAnOutcome) {
  const InTurn mask({{}});
  Sampled result;
  EXPECT_EQ(RunRow(RandomRow(40, 1), {}, &result, {.allowed = &mask}), Outcome::kNoToken);
}

TEST(Sampler, DescribeTellsAGivenTokenWithTheSameBits) {
  const std::vector<float> row = RandomRow(700, 9);
  Workspace workspace(700);
  Sampled drawn, described;
  ASSERT_EQ(RunRow(row, {.seed = 4, .num_logprobs = 5}, &drawn), Outcome::kOk);
  ASSERT_EQ(Describe(row, drawn.id, 5, workspace, &described), Outcome::kOk);
  EXPECT_EQ(described.logprob, drawn.logprob);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(described.top[i].value, drawn.top[i].value);
}

TEST(Sampler, BadRowsAreOutcomes) {
  Sampled result;
  for (const double temperature : {0.0, 1.0}) {
    const Params params{.temperature = temperature, .num_logprobs = 1};
    EXPECT_EQ(RunRow({0, std::nanf(""), 1}, params, &result), Outcome::kNotANumber);
    EXPECT_EQ(RunRow({0, kInfinity, 1}, params, &result), Outcome::kNotANumber);
    EXPECT_EQ(RunRow({-kInfinity, -kInfinity}, params, &result), Outcome::kNoToken);
  }
}

TEST(Sampler, ExtremeLogitsAreDrawnWithoutOverflow) {
  EXPECT_EQ(Token({3e38f, -3e38f, 0}, {.temperature = 1e-3}), 0);
  EXPECT_EQ(Token({-3e38f, -3e38f + 1e33f, -kInfinity}, {.temperature = 0}), 1);
}

}  // namespace
}  // namespace ingot::sampling
