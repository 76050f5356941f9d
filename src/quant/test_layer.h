// Layers for the tests: random weights, and inputs as those of language models are: correlated, a few channels large.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "quant/input_stats.h"

namespace ingot::quant {

struct TestLayer {
  TestLayer(const ops::Host& host, int64_t num_rows, int64_t num_channels, int64_t num_tokens, uint32_t seed)
      : rows(num_rows), channels(num_channels), tokens(num_tokens) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> draw(0, 1);
    constexpr int64_t kSources = 12;  // what the channels have in common
    std::vector<float> mix(static_cast<size_t>(kSources * channels)), source(kSources);
    for (float& m : mix) m = draw(rng);
    x.resize(static_cast<size_t>(tokens * channels));
    for (int64_t t = 0; t < tokens; ++t) {
      for (float& s : source) s = draw(rng);
      for (int64_t c = 0; c < channels; ++c) {
        float value = 0.5f * draw(rng);
        for (int64_t s = 0; s < kSources; ++s) value += 0.3f * source[s] * mix[s * channels + c];
        x[t * channels + c] = value * (c % 13 == 5 ? 12.0f : 1.0f);
      }
    }
    w.resize(static_cast<size_t>(rows * channels));
    for (float& value : w) value = 0.05f * draw(rng) * std::exp(0.5f * draw(rng));
    Accumulate(host, x.data(), tokens, channels, &stats);
  }

  // Σ over tokens of |(Q - W) · x|², from the tokens themselves.   q: [rows, channels]
  double ErrorOf(const std::vector<float>& q) const {
    double sum = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t r = 0; r < rows; ++r) {
        double y = 0;
        for (int64_t c = 0; c < channels; ++c)
          y += double{q[r * channels + c] - w[r * channels + c]} * x[t * channels + c];
        sum += y * y;
      }
    }
    return sum;
  }

  int64_t rows, channels, tokens;
  std::vector<float> w, x;  // [rows, channels], [tokens, channels]
  InputStats stats;
};

inline std::vector<float> ValuesOf(const WeightRows& rows) {
  std::vector<float> values(rows.codes.size());
  DequantizeRows(rows, values.data());
  return values;
}

}  // namespace ingot::quant
