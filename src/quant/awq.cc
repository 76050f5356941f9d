#include "quant/awq.h"

#include <cmath>
#include <numeric>

#include "base/check.h"
#include "quant/output_error.h"
#include "quant/round_to_nearest.h"
#include "quant/scale_search.h"

namespace ingot::quant {
namespace {

constexpr int kExponents = 20;

std::vector<float> ScaleFor(const std::vector<float>& sizes, float exponent) {
  std::vector<float> scale(sizes.size(), 1.0f);
  if (exponent == 0) return scale;
  const float floor = FloorOf(sizes);
  for (size_t c = 0; c < scale.size(); ++c) scale[c] = std::pow(std::max(sizes[c], floor), exponent);
  Center(scale);
  return scale;
}

// OutputError of rounding W · diag(scale) to nearest.
double ErrorWith(const ops::Host& host, const RowSample& sample, const InputStats& stats, std::span<const float> scale,
                 const Format& format) {
  const int64_t channels = stats.channels;
  std::vector<float> d(sample.w.size());
  host.pool->ParallelFor(sample.rows, [&](int64_t row) {
    const float* w = &sample.w[row * channels];
    float* error = &d[row * channels];
    std::copy(w, w + channels, error);
    ScaleWeights(scale, 1, error);
    WeightRows rounded;
    RoundToNearest(error, 1, channels, format, &rounded);
    DequantizeRows(rounded, error);
    for (int64_t c = 0; c < channels; ++c) error[c] = error[c] / scale[c] - w[c];
  });
  return sample.weight * OutputError(host, d.data(), sample.rows, stats);
}

}  // namespace

InputScale SearchScale(const ops::Host& host, std::span<const LinearWeight> linears, const InputStats& stats,
                       const Format& format, std::span<const int32_t> pools) {
  const std::vector<float> sizes = PoolSizes(stats.abs_sum, pools);
  std::vector<RowSample> samples;
  for (const LinearWeight& linear : linears) samples.push_back(SampleRows(linear, stats.channels));
  InputScale best;
  for (int i = 0; i < kExponents; ++i) {
    const float exponent = static_cast<float>(i) / kExponents;
    std::vector<float> scale = ScaleFor(sizes, exponent);
    double error = 0;
    for (const RowSample& sample : samples) error += ErrorWith(host, sample, stats, scale, format);
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
