#include "quant/awq.h"

#include <cmath>
#include <numeric>

#include "base/check.h"
#include "quant/output_error.h"
#include "quant/round_to_nearest.h"

namespace ingot::quant {
namespace {

constexpr int kExponents = 20;
constexpr int64_t kSampledRows = 512;  // of a linear: the sum over them ranks exponents as that over all rows does

std::vector<float> ScaleFor(const InputStats& stats, float exponent) {
  // Inputs that are nearly always zero would stretch the range of the scales for nothing.
  const float floor = 1e-4f * *std::max_element(stats.abs_sum.begin(), stats.abs_sum.end());
  std::vector<float> scale(stats.abs_sum.size(), 1.0f);
  if (exponent == 0 || floor == 0) return scale;
  for (size_t c = 0; c < scale.size(); ++c) scale[c] = std::pow(std::max(stats.abs_sum[c], floor), exponent);
  const auto [min, max] = std::minmax_element(scale.begin(), scale.end());
  const float middle = std::sqrt(*min) * std::sqrt(*max);
  for (float& s : scale) s /= middle;
  return scale;
}

// Some rows of a linear, evenly apart.
struct Sample {
  std::vector<float> w;  // [rows, channels]
  int64_t rows;
  double weight;  // rows that each stands for
};
Sample SampleRows(const LinearWeight& linear, int64_t channels) {
  Sample sample{.rows = std::min(linear.rows, kSampledRows)};
  sample.w.resize(static_cast<size_t>(sample.rows * channels));
  for (int64_t i = 0; i < sample.rows; ++i) {
    const float* from = linear.w + i * linear.rows / sample.rows * channels;
    std::copy(from, from + channels, &sample.w[i * channels]);
  }
  sample.weight = static_cast<double>(linear.rows) / static_cast<double>(std::max<int64_t>(1, sample.rows));
  return sample;
}

// OutputError of rounding W · diag(scale) to nearest.
double ErrorWith(const ops::Context& context, const Sample& sample, const InputStats& stats,
                 std::span<const float> scale, const Format& format) {
  const int64_t channels = stats.channels;
  std::vector<float> d(sample.w.size());
  context.pool->ParallelFor(sample.rows, [&](int64_t row) {
    const float* w = &sample.w[row * channels];
    float* error = &d[row * channels];
    std::copy(w, w + channels, error);
    ScaleWeights(scale, 1, error);
    WeightRows rounded;
    RoundToNearest(error, 1, channels, format, &rounded);
    DequantizeRows(rounded, error);
    for (int64_t c = 0; c < channels; ++c) error[c] = error[c] / scale[c] - w[c];
  });
  return sample.weight * OutputError(context, d.data(), sample.rows, stats);
}

}  // namespace

InputScale SearchScale(const ops::Context& context, std::span<const LinearWeight> linears, const InputStats& stats,
                       const Format& format) {
  std::vector<Sample> samples;
  for (const LinearWeight& linear : linears) samples.push_back(SampleRows(linear, stats.channels));
  InputScale best;
  for (int i = 0; i < kExponents; ++i) {
    const float exponent = static_cast<float>(i) / kExponents;
    std::vector<float> scale = ScaleFor(stats, exponent);
    double error = 0;
    for (const Sample& sample : samples) error += ErrorWith(context, sample, stats, scale, format);
    if (i == 0) best.plain_error = error;
    if (i > 0 && !(error < best.error)) continue;
    best.scale = std::move(scale);
    best.exponent = exponent;
    best.error = error;
  }
  return best;
}

void ScaleWeights(std::span<const float> scale, int64_t rows, float* w) {
  const int64_t channels = static_cast<int64_t>(scale.size());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < channels; ++c) w[row * channels + c] *= scale[c];
  }
}

}  // namespace ingot::quant
