#include "quant/input_stats.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "ops/matrix_update.h"

namespace ingot::quant {
namespace {

bool AllFinite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

}  // namespace

void AccumulateSizes(const float* x, int64_t rows, int64_t channels, InputStats* stats) {
  if (stats->channels == 0) {
    stats->channels = channels;
    stats->abs_sum.resize(static_cast<size_t>(channels));
    stats->abs_max.resize(static_cast<size_t>(channels));
  }
  INGOT_CHECK(stats->channels == channels);
  stats->tokens += rows;
  std::vector<float> abs_sum(static_cast<size_t>(channels));  // of these rows, so that many calls lose no digits
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < channels; ++c) {
      const float size = std::fabs(x[row * channels + c]);
      abs_sum[c] += size;
      stats->abs_max[c] = size <= stats->abs_max[c] ? stats->abs_max[c] : size;  // NaN shows
    }
  }
  for (int64_t c = 0; c < channels; ++c) stats->abs_sum[c] += abs_sum[c];
}

void Accumulate(const ops::Host& host, const float* x, int64_t rows, int64_t channels, InputStats* stats) {
  AccumulateSizes(x, rows, channels, stats);
  stats->gram.resize(static_cast<size_t>(channels * channels));
  ops::AddProductLower(host, {.a = x,
                              .b = x,
                              .c = stats->gram.data(),
                              .a_stride = channels,
                              .b_stride = channels,
                              .c_stride = channels,
                              .depth = rows,
                              .m = channels,
                              .n = channels,
                              .alpha = 1});
  ops::MirrorLower(host, stats->gram.data(), channels);
}

void Merge(const InputStats& from, InputStats* into) {
  INGOT_CHECK(from.channels == into->channels);
  into->tokens += from.tokens;
  for (size_t i = 0; i < from.gram.size(); ++i) into->gram[i] += from.gram[i];
  for (size_t c = 0; c < from.abs_sum.size(); ++c) {
    into->abs_sum[c] += from.abs_sum[c];
    into->abs_max[c] = from.abs_max[c] <= into->abs_max[c] ? into->abs_max[c] : from.abs_max[c];
  }
}

void DivideInputs(std::span<const float> scale, InputStats* stats) {
  const size_t channels = static_cast<size_t>(stats->channels);
  INGOT_CHECK(scale.size() == channels);
  for (size_t i = 0; i < channels; ++i) {
    for (size_t j = 0; j < channels; ++j) stats->gram[i * channels + j] /= scale[i] * scale[j];
    stats->abs_sum[i] /= scale[i];
    stats->abs_max[i] /= scale[i];
  }
}

Status CheckStats(const InputStats& stats) {
  if (stats.tokens == 0) return InvalidArgument("no calibration tokens: give a longer text or more samples");
  if (!AllFinite(stats.gram) || !AllFinite(stats.abs_sum) || !AllFinite(stats.abs_max)) {
    return InvalidArgument("the calibration text makes activations that are not finite numbers");
  }
  return {};
}

}  // namespace ingot::quant
