#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "ops/test_linear.h"

namespace ingot::ops {
namespace {

// What tiles compute does not depend on whether they are emulated.
class TilesTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<std::string> isas = GetIsaInfo().available;
    if (std::ranges::find(isas, "amx") == isas.end()) GTEST_SKIP() << "this machine has no AMX";
  }
  Runner real_{"amx", Compute::kFast, 2}, emulated_{"amx_emulated", Compute::kFast};
};

TEST_F(TilesTest, EmulatedOnesAgreeBitForBit) {
  uint32_t seed = 400;
  for (const Case& c : Cases()) {
    for (const int64_t m : {1, 2, 15, 16, 17, 40}) {
      const int64_t n = 85, k = RoundUp(600, c.multiple);
      const RandomSource source(c.format, n, k, ++seed);
      const std::vector<float> x = RandomActivations(m * k, ++seed), bias = RandomActivations(n, ++seed);
      const std::vector<float> y = real_.Multiply(x, real_.Pack(source), bias);
      ASSERT_TRUE(SameBits(y, emulated_.Multiply(x, emulated_.Pack(source), bias))) << c.name << " M=" << m;
    }
  }
}

// Numbers of bf16 by their bits.
class Bf16Source : public WeightSource {
 public:
  Bf16Source(int64_t rows, std::vector<float> numbers) : rows_(rows), numbers_(std::move(numbers)) {}
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return std::ssize(numbers_) / rows_; }
  Format format() const override { return Format::Dense(DType::kBF16); }
  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    *out = {.format = format(), .rows = count, .cols = cols()};
    out->dense.assign(numbers_.begin() + row * cols(), numbers_.begin() + (row + count) * cols());
  }

 private:
  int64_t rows_;
  std::vector<float> numbers_;
};

// The order of a tile's operations, their rounding, denormals, Inf and NaN: a step of 32 inputs, and some of them.
TEST_F(TilesTest, EmulatedOnesAgreeOnAllNumbers) {
  std::mt19937 random(500);
  // Exponents of weights and activations: of everyday numbers; products and sums about the smallest normal number;
  // about the largest; any bits at all.
  const struct {
    uint32_t low, high;
  } exponents[] = {{120, 130}, {55, 68}, {0, 130}, {185, 194}, {0, 255}};
  for (const auto& range : exponents) {
    const auto numbers = [&](int64_t count) {
      std::vector<float> values(count);
      for (float& value : values) {
        const uint32_t exponent = range.low + random() % (range.high - range.low + 1);
        value = BF16ToF32(static_cast<uint16_t>(random() % 2 << 15 | exponent << 7 | random() % 128));
        if (random() % 50 == 0) value = 0;
      }
      return values;
    };
    for (const int64_t k : {32, 64, 320}) {
      for (int round = 0; round < 50; ++round) {
        const Bf16Source source(64, numbers(64 * k));
        const std::vector<float> x = numbers(20 * k);
        const std::vector<float> y = real_.Multiply(x, real_.Pack(source));
        const std::vector<float> want = emulated_.Multiply(x, emulated_.Pack(source));
        const std::vector<float> alone = real_.Multiply(Row(x, 3, k), real_.Pack(source));  // without tiles
        for (size_t i = 0; i < alone.size(); ++i) {
          const float in_batch = y[3 * alone.size() + i];
          if (std::isnan(alone[i]) && std::isnan(in_batch)) continue;
          ASSERT_EQ(std::bit_cast<uint32_t>(alone[i]), std::bit_cast<uint32_t>(in_batch)) << "K=" << k;
        }
        for (size_t i = 0; i < y.size(); ++i) {
          if (std::isnan(y[i]) && std::isnan(want[i])) continue;
          ASSERT_EQ(std::bit_cast<uint32_t>(y[i]), std::bit_cast<uint32_t>(want[i]))
              << y[i] << " is not " << want[i] << ", exponents " << range.low << " to " << range.high << " K=" << k;
        }
      }
    }
  }
}

}  // namespace
}  // namespace ingot::ops
