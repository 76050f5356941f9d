#include "models/rope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "models/spec_internal.h"

namespace ingot::models {
namespace {

boost::json::value ReadGolden(const char* name) {
  std::ifstream file(std::string(INGOT_SOURCE_DIR) + "/tests/goldens/" + name, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return ParseJson(text.str(), name).value();
}

// transformers computes in fp32, so it is off by some units of 6e-8.
TEST(Rope, FrequenciesAreThoseOfTransformers) {
  const auto cases = ReadGolden("rope.json");
  ASSERT_GE(cases.as_array().size(), 12u);
  for (const auto& c : cases.as_array()) {
    SCOPED_TRACE(boost::json::serialize(c.at("config").at("rope_parameters")));
    const auto spec = ReadHuggingFaceSpec(c.at("config"));
    ASSERT_TRUE(spec) << spec.error().ToString();
    ASSERT_EQ(spec->ropes.size(), 1u);
    const RopeFrequencies got = MakeRopeFrequencies(spec->ropes[0], spec->rotary_dim, spec->max_position,
                                                    c.at("session_len").to_number<int64_t>());
    const auto& wanted = c.at("inv_freq").as_array();
    ASSERT_EQ(got.inv_freq.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto value = wanted[i].to_number<double>();
      EXPECT_TRUE(std::abs(got.inv_freq[i] / value - 1.0) <= 1e-6) << i << ": " << got.inv_freq[i] << ", not " << value;
    }
    EXPECT_NEAR(got.factor, c.at("factor").to_number<double>(), 1e-7);
  }
}

TEST(Rope, DynamicNtkIsPlainWithinTheTrainedLength) {
  const RopeSpec plain, dynamic{.kind = RopeSpec::Kind::kDynamicNtk, .factor = 2.0};
  EXPECT_EQ(MakeRopeFrequencies(dynamic, 64, 2048, 512).inv_freq, MakeRopeFrequencies(plain, 64, 2048, 0).inv_freq);
  // The slowest pair of twice the length: growth 2·2 - 1 = 3.
  const auto stretched = MakeRopeFrequencies(dynamic, 64, 2048, 4096);
  const double slowest = MakeRopeFrequencies(plain, 64, 2048, 0).inv_freq.back();
  EXPECT_NEAR(stretched.inv_freq.back(), slowest / 3.0, 1e-9);
}

// Where the ramp begins and ends, from the paper's formula: pair = d ln(original / (2π turns)) / (2 ln θ).
TEST(Rope, YarnsRampIsBetweenThePairsThatTurnBetaFastAndBetaSlowTimes) {
  struct Case {
    int64_t original;
    double low, high;  // pairs
  };
  // 32 turns and 1 over 4096 tokens: pairs 10.47 and 22.51. Over 2^20 the slowest of 32 pairs turns more than once: the
  // ramp ends at 42, behind it.
  for (const auto& [original, low, high] : {Case{4096, 10, 23}, Case{int64_t{1} << 20, 29, 42}}) {
    const RopeSpec yarn{.kind = RopeSpec::Kind::kYarn, .factor = 8.0, .original_max_position = original};
    const auto plain = MakeRopeFrequencies({}, 64, original, 0).inv_freq;
    const auto scaled = MakeRopeFrequencies(yarn, 64, 8 * original, 0).inv_freq;
    for (size_t i = 0; i < plain.size(); ++i) {
      const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      EXPECT_NEAR(scaled[i] / plain[i], ramp / 8.0 + (1.0 - ramp), 1e-12) << original << ", pair " << i;
    }
  }
}

TEST(Rope, TwoRotaryDimensionsAreOnePairWhateverTheKind) {
  for (auto kind : {RopeSpec::Kind::kDefault, RopeSpec::Kind::kDynamicNtk, RopeSpec::Kind::kYarn}) {
    const RopeSpec rope{.kind = kind, .factor = 4.0, .original_max_position = 64};
    const auto got = MakeRopeFrequencies(rope, 2, 64, 1024);
    ASSERT_EQ(got.inv_freq.size(), 1u);
    EXPECT_TRUE(std::isfinite(got.inv_freq[0]));
  }
}

}  // namespace
}  // namespace ingot::models
