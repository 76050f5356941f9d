#include "quant/round_to_nearest.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tensor/dtype.h"

namespace ingot::quant {
namespace {

using Zero = Format::Zero;
using Scale = Format::Scale;

std::vector<Format> Formats() {
  std::vector<Format> formats;
  for (const int bits : {2, 3, 4, 8}) {
    for (const int group : {0, 16, 32, 64, 128}) {
      for (const Zero zero : {Zero::kMidpoint, Zero::kInteger, Zero::kMin}) {
        formats.push_back({.bits = bits, .group_size = group, .zero = zero});
      }
    }
  }
  formats.push_back({.bits = 8, .group_size = 0, .scale = Scale::kF32});
  formats.push_back({.bits = 4, .group_size = 16, .zero = Zero::kInteger, .min_zero = 1});
  return formats;
}

std::vector<float> Random(int64_t n, float mean = 0, float deviation = 0.1f) {
  std::mt19937 rng(7);
  std::normal_distribution<float> draw(mean, deviation);
  std::vector<float> w(static_cast<size_t>(n));
  for (float& value : w) value = draw(rng);
  return w;
}

float ValueOf(const WeightRows& rows, size_t group, int code) {
  switch (rows.format.zero) {
    case Zero::kMidpoint:
      return rows.scale[group] * static_cast<float>(code - (1 << (rows.format.bits - 1)));
    case Zero::kInteger:
      return rows.scale[group] * (static_cast<float>(code) - rows.zero[group]);
    case Zero::kMin:
      return rows.scale[group] * static_cast<float>(code) + rows.zero[group];
  }
  return 0;
}

// What no format may do: take another code than the nearest, or a number that the file cannot hold.
void ExpectNearest(const std::vector<float>& w, const WeightRows& rows) {
  const int64_t group = rows.format.group_size == 0 ? rows.cols : rows.format.group_size;
  for (size_t i = 0; i < w.size(); ++i) {
    const size_t g = i / static_cast<size_t>(group);
    float best = INFINITY;
    for (int code = 0; code < 1 << rows.format.bits; ++code)
      best = std::min(best, std::fabs(ValueOf(rows, g, code) - w[i]));
    ASSERT_LT(rows.codes[i], 1 << rows.format.bits);
    const float error = std::fabs(ValueOf(rows, g, rows.codes[i]) - w[i]);
    ASSERT_TRUE(error <= best + 1e-5f * std::fabs(rows.scale[g])) << rows.format.ToString() << " at " << i;
  }
  for (size_t g = 0; g < rows.scale.size(); ++g) {
    if (rows.format.scale != Scale::kF16) continue;
    ASSERT_EQ(F16ToF32(F32ToF16(rows.scale[g])), rows.scale[g]);
    if (rows.format.zero == Zero::kMin) ASSERT_EQ(F16ToF32(F32ToF16(rows.zero[g])), rows.zero[g]);
    if (rows.format.zero == Zero::kInteger) {
      ASSERT_TRUE(rows.zero[g] >= static_cast<float>(rows.format.min_zero) &&
                  rows.zero[g] < static_cast<float>(1 << rows.format.bits));
      ASSERT_EQ(rows.zero[g], std::floor(rows.zero[g]));
    }
  }
}

TEST(RoundToNearestTest, EveryWeightTakesTheNearestCode) {
  for (const Format& format : Formats()) {
    for (const float mean : {0.0f, 0.5f, -0.5f}) {  // groups on one side of zero too
      const std::vector<float> w = Random(3 * 256, mean);
      WeightRows rows;
      RoundToNearest(w.data(), 3, 256, format, &rows);
      ASSERT_EQ(rows.rows, 3);
      ASSERT_EQ(rows.cols, 256);
      ExpectNearest(w, rows);
    }
  }
}

TEST(RoundToNearestTest, ErrorsStayWithinHalfAStep) {
  for (const Format& format : Formats()) {
    if (format.zero == Zero::kMidpoint) continue;  // one end of its range is a step short
    const std::vector<float> w = Random(2 * 128);
    WeightRows rows;
    RoundToNearest(w.data(), 2, 128, format, &rows);
    std::vector<float> back(w.size());
    DequantizeRows(rows, back.data());
    const size_t group = static_cast<size_t>(format.group_size == 0 ? 128 : format.group_size);
    for (size_t i = 0; i < w.size(); ++i) {
      // The integer zero moves the ends of the range by up to half a step more.
      const float steps = format.zero == Zero::kInteger ? 1.01f : 0.51f;
      const float lost = format.zero == Zero::kMin ? 0.001f * std::fabs(rows.zero[i / group]) : 0.0f;  // f16
      ASSERT_TRUE(std::fabs(w[i] - back[i]) <= steps * rows.scale[i / group] + lost) << format.ToString();
    }
  }
}

// Weights that are on a grid already, both ends of it in use, come back as they are.
TEST(RoundToNearestTest, WhatIsOnAGridStays) {
  std::mt19937 rng(3);
  for (const Format& format : Formats()) {
    if (format.bits == 8 && format.zero == Zero::kMidpoint) continue;  // that grid ends at ±127
    const int64_t cols = 256, group = format.group_size == 0 ? cols : format.group_size;
    WeightRows made{.format = format, .rows = 2, .cols = cols};
    SizeToFormat(&made);
    for (uint8_t& code : made.codes) code = static_cast<uint8_t>(rng() % (1u << format.bits));
    for (size_t g = 0; g < made.scale.size(); ++g) {
      made.scale[g] = 0.0078125f * static_cast<float>(g % 3 + 1);
      if (format.zero == Zero::kInteger)
        made.zero[g] = std::max(static_cast<float>(format.min_zero), static_cast<float>(rng() % (1u << format.bits)));
      if (format.zero == Zero::kMin) made.zero[g] = -0.25f;
      made.codes[g * group] = 0;
      made.codes[g * group + 1] = static_cast<uint8_t>((1 << format.bits) - 1);
    }
    std::vector<float> w(made.codes.size());
    DequantizeRows(made, w.data());
    WeightRows rows;
    RoundToNearest(w.data(), 2, cols, format, &rows);
    EXPECT_EQ(rows.codes, made.codes) << format.ToString();
    EXPECT_EQ(rows.scale, made.scale) << format.ToString();
    EXPECT_EQ(rows.zero, made.zero) << format.ToString();
  }
}

TEST(RoundToNearestTest, ZerosConstantsAndTheEndsOfF16) {
  for (const Format& format : Formats()) {
    if (format.group_size != 16 && format.scale != Scale::kF32) continue;
    for (const float value : {0.0f, 0.25f, -3.0f, 1e-9f, 1e-44f, 1e7f}) {
      const std::vector<float> w(16, value);
      WeightRows rows;
      RoundToNearest(w.data(), 1, 16, format, &rows);
      ExpectNearest(w, rows);
      if (value == 0) {
        std::vector<float> back(16, 1);
        DequantizeRows(rows, back.data());
        EXPECT_EQ(back, w) << format.ToString();
      }
    }
  }
  WeightRows none;
  RoundToNearest(nullptr, 0, 64, {.bits = 4, .group_size = 32}, &none);
  EXPECT_TRUE(none.codes.empty());
}

// Not the grid with its zero moved alone, which would lose the highest weight.
TEST(RoundToNearestTest, ALowestZeroStillReachesBothEnds) {
  const Format format{.bits = 4, .group_size = 16, .zero = Zero::kInteger, .min_zero = 1};
  for (const float low : {0.0f, 0.5f, -0.001f, -0.02f}) {
    const Grid grid = FitGrid(format, low, 1.4f);
    EXPECT_EQ(grid.zero, 1) << low;
    EXPECT_NEAR(grid.scale * 14, 1.4f, 1e-3f) << low;
  }
  EXPECT_EQ(FitGrid(format, -15, 0).zero, 15);
  EXPECT_EQ(FitGrid(format, 0, 0).zero, 1);
}

TEST(RoundToNearestTest, SchemesThatCannotBe) {
  const auto refused = [](const Format& format, int64_t cols, const char* part) {
    const Status status = CheckScheme(format, cols);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.ToString();
  };
  refused({.bits = 4, .group_size = 64}, 96, "96 inputs are no multiple of the group size 64");
  refused({.bits = 4, .group_size = 48}, 96, "groups of 48");
  refused({.bits = 4, .group_size = -1}, 96, "groups of -1");
  refused({.bits = 16, .group_size = 64}, 64, "16 bits");
  refused({.bits = 1, .group_size = 64}, 64, "1 bits");
  refused({.bits = 4, .group_size = 32, .scale = Scale::kSuper}, 64, "scales of scales");
  EXPECT_TRUE(CheckScheme({.bits = 8}, 97).ok());
  EXPECT_TRUE(CheckScheme({.bits = 4, .group_size = 32}, 96).ok());
  const float bad[] = {1, NAN}, good[] = {1, 2};
  EXPECT_NE(CheckWeights(bad, 2).message().find("weight 1 is nan"), std::string::npos);
  EXPECT_TRUE(CheckWeights(good, 2).ok());
}

}  // namespace
}  // namespace ingot::quant
