#include "bench/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace ingot::bench {
namespace {

// The definition, word for word: the value at rank p(n - 1), whole ranks being the sorted values.
double PlainPercentile(std::vector<double> values, double percent) {
  std::ranges::sort(values);
  for (size_t i = 0; i + 1 < values.size(); ++i) {
    const double low = 100.0 * static_cast<double>(i) / static_cast<double>(values.size() - 1);
    const double high = 100.0 * static_cast<double>(i + 1) / static_cast<double>(values.size() - 1);
    if (percent >= low && percent <= high)
      return values[i] + (values[i + 1] - values[i]) * (percent - low) / (high - low);
  }
  return values.back();
}

TEST(Percentile, OfKnownRows) {
  const std::vector<double> row = {10, 20, 30, 40};  // numpy.percentile(row, …)
  EXPECT_DOUBLE_EQ(Percentile(row, 0), 10);
  EXPECT_DOUBLE_EQ(Percentile(row, 25), 17.5);
  EXPECT_DOUBLE_EQ(Percentile(row, 50), 25);
  EXPECT_DOUBLE_EQ(Percentile(row, 90), 37);
  EXPECT_DOUBLE_EQ(Percentile(row, 100), 40);
  const std::vector<double> one = {7};
  for (const double percent : {0.0, 50.0, 99.9, 100.0}) EXPECT_DOUBLE_EQ(Percentile(one, percent), 7);
}

TEST(Percentile, AsThePlainDefinition) {
  std::mt19937 random(1);
  std::lognormal_distribution<double> draw;
  for (const size_t count : {1u, 2u, 3u, 10u, 101u, 1000u}) {
    std::vector<double> values(count);
    for (double& value : values) value = draw(random);
    std::vector<double> sorted = values;
    std::ranges::sort(sorted);
    for (const double percent : {0.0, 0.1, 1.0, 33.3, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0}) {
      const double expected = PlainPercentile(values, percent);
      EXPECT_TRUE(std::abs(Percentile(sorted, percent) - expected) <= 1e-12 * (1 + expected))
          << count << " " << percent;
    }
  }
}

TEST(Summary, OfKnownRows) {
  const double percents[] = {0, 50, 75};
  const Summary summary = Summarize({4, 2, 4, 4, 5, 5, 7, 9}, percents);
  EXPECT_EQ(summary.count, 8);
  EXPECT_DOUBLE_EQ(summary.mean, 5);
  EXPECT_DOUBLE_EQ(summary.stddev, 2);
  EXPECT_DOUBLE_EQ(summary.min, 2);
  EXPECT_DOUBLE_EQ(summary.median, 4.5);
  EXPECT_DOUBLE_EQ(summary.max, 9);
  EXPECT_EQ(summary.percentiles, (std::vector<double>{2, 4.5, 5.5}));
}

TEST(Summary, OfNothing) {
  const double percents[] = {50, 99};
  const Summary summary = Summarize({}, percents);
  EXPECT_EQ(summary.count, 0);
  EXPECT_EQ(summary.mean, 0);
  EXPECT_EQ(summary.percentiles, (std::vector<double>{0, 0}));
}

}  // namespace
}  // namespace ingot::bench
