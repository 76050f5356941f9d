// What searches for scales of inputs have in common.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/awq.h"

namespace ingot::quant {

inline constexpr int64_t kSampledRows = 512;  // of a linear: the sum over them ranks scales as that over all rows does

// Some rows of a linear, evenly apart.
struct RowSample {
  std::vector<float> w;  // [rows, channels]
  int64_t rows;
  double weight;  // rows that each stands for
};
inline RowSample SampleRows(const LinearWeight& linear, int64_t channels) {
  RowSample sample{.rows = std::min(linear.rows, kSampledRows)};
  sample.w.resize(static_cast<size_t>(sample.rows * channels));
  for (int64_t i = 0; i < sample.rows; ++i) {
    const float* from = linear.w + i * linear.rows / sample.rows * channels;
    std::copy(from, from + channels, &sample.w[i * channels]);
  }
  sample.weight = static_cast<double>(linear.rows) / static_cast<double>(std::max<int64_t>(1, sample.rows));
  return sample;
}

// Inputs that are nearly always zero would stretch the range of the scales for nothing.
inline float FloorOf(const std::vector<float>& sizes) {
  const float max = *std::max_element(sizes.begin(), sizes.end());
  return max > 0 ? 1e-4f * max : 1.0f;
}

// For each input the largest size of its pool (see SearchScale); as they are where there are no pools.
inline std::vector<float> PoolSizes(const std::vector<float>& sizes, std::span<const int32_t> pools) {
  if (pools.empty()) return sizes;
  std::vector<float> largest(sizes.size()), pooled(sizes.size());
  for (size_t c = 0; c < sizes.size(); ++c) largest[pools[c]] = std::max(largest[pools[c]], sizes[c]);
  for (size_t c = 0; c < sizes.size(); ++c) pooled[c] = largest[pools[c]];
  return pooled;
}

// Divides by sqrt(max · min).
inline void Center(std::vector<float>& scale) {
  const auto [min, max] = std::minmax_element(scale.begin(), scale.end());
  const float middle = std::sqrt(*min) * std::sqrt(*max);
  for (float& s : scale) s /= middle;
}

}  // namespace ingot::quant
