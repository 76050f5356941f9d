#include "quant/smooth.h"

#include <numeric>

#include "base/check.h"
#include "base/hash.h"
#include "quant/row_blocks.h"
#include "quant/scale_search.h"

namespace ingot::quant {
namespace {

constexpr int kAlphas = 20;

// max|w| of each input over all linears.
std::vector<float> LargestWeights(std::span<const LinearWeight> linears, int64_t channels) {
  std::vector<float> largest(static_cast<size_t>(channels));
  for (const LinearWeight& linear : linears) {
    for (int64_t i = 0; i < linear.rows * channels; ++i) {
      largest[i % channels] = std::max(largest[i % channels], std::fabs(linear.w[i]));
    }
  }
  return largest;
}

// sizes: of the inputs, [channels]; weights: max|w|, [channels]
std::vector<float> SmoothingFor(const std::vector<float>& sizes, const std::vector<float>& weights, float alpha) {
  std::vector<float> scale(weights.size(), 1.0f);
  if (alpha == 0) return scale;
  const float size_floor = FloorOf(sizes), weight_floor = FloorOf(weights);
  for (size_t c = 0; c < scale.size(); ++c) {
    scale[c] =
        std::pow(std::max(sizes[c], size_floor), alpha) / std::pow(std::max(weights[c], weight_floor), 1 - alpha);
  }
  Center(scale);
  return scale;
}

// Some outputs of a linear, exact and as W8A8 has them.
class Outputs {
 public:
  Outputs(const ops::Host& host, const LinearWeight& linear, const TokenSample& tokens)
      : host_(host),
        sample_(SampleRows(linear, tokens.channels)),
        channels_(tokens.channels),
        tokens_(tokens.rows),
        exact_(static_cast<size_t>(sample_.rows * tokens_)) {
    std::vector<float> xt(tokens.x.size());
    Transpose(tokens.x.data(), tokens_, channels_, xt.data());
    ForBlocks(host, sample_.rows, [&](const RowBlock& block) {
      AddOutputs(block, &sample_.w[block.begin * channels_], xt, 1, &exact_[block.begin * tokens_]);
    });
  }

  // Σ y² of each token, added to.   squares: [tokens]
  void AddSquares(double* squares) const {
    for (size_t i = 0; i < exact_.size(); ++i) squares[i % tokens_] += sample_.weight * exact_[i] * exact_[i];
  }

  // Σ over tokens of weight · |error of the outputs|².   xt: [channels, tokens], the rounded inputs
  double Error(std::span<const float> scale, const std::vector<float>& xt, const std::vector<double>& weights) const {
    std::vector<double> errors(static_cast<size_t>(NumBlocks(sample_.rows)));
    ForBlocks(host_, sample_.rows, [&](const RowBlock& block) {
      const float* from = &sample_.w[block.begin * channels_];
      std::vector<float> w(from, from + block.count * channels_);
      ScaleWeights(scale, block.count, w.data());
      WeightRows rounded;
      RoundToNearest(w.data(), block.count, channels_, kInt8PerOutput, &rounded);
      DequantizeRows(rounded, w.data());
      const float* exact = &exact_[block.begin * tokens_];
      std::vector<float> error(exact, exact + block.count * tokens_);
      AddOutputs(block, w.data(), xt, -1, error.data());
      for (size_t i = 0; i < error.size(); ++i) errors[block.index] += weights[i % tokens_] * error[i] * error[i];
    });
    return sample_.weight * std::accumulate(errors.begin(), errors.end(), 0.0);
  }

 private:
  // y += alpha · w · xt.   w: [block.count, channels], y: [block.count, tokens]
  void AddOutputs(const RowBlock& block, const float* w, const std::vector<float>& xt, float alpha, float* y) const {
    std::vector<float> wt(static_cast<size_t>(block.count * channels_));
    Transpose(w, block.count, channels_, wt.data());
    ops::AddProduct(block.alone, {.a = wt.data(),
                                  .b = xt.data(),
                                  .c = y,
                                  .a_stride = block.count,
                                  .b_stride = tokens_,
                                  .c_stride = tokens_,
                                  .depth = channels_,
                                  .m = block.count,
                                  .n = tokens_,
                                  .alpha = alpha});
  }

  const ops::Host& host_;
  RowSample sample_;
  int64_t channels_, tokens_;
  std::vector<float> exact_;  // [sampled rows, tokens]
};

// A number that looks random.
uint64_t Draw(uint64_t number) { return MixBits((number + 1) * kMixStep); }

// x / scale in int8, transposed: [channels, tokens].
std::vector<float> RoundedInputs(const TokenSample& sample, std::span<const float> scale) {
  std::vector<float> x = sample.x, xt(sample.x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] /= scale[i % scale.size()];
  RoundTokens(sample.rows, sample.channels, x.data());
  Transpose(x.data(), sample.rows, sample.channels, xt.data());
  return xt;
}

}  // namespace

void AddTokens(const float* x, int64_t rows, int64_t channels, TokenSample* sample) {
  if (sample->channels == 0) sample->channels = channels;
  INGOT_CHECK(sample->channels == channels);
  for (int64_t row = 0; row < rows; ++row, x += channels) {
    const int64_t number = sample->seen++;
    if (sample->rows < kSampledTokens) {
      sample->x.insert(sample->x.end(), x, x + channels);
      ++sample->rows;
      continue;
    }
    const int64_t place = static_cast<int64_t>(Draw(static_cast<uint64_t>(number)) % static_cast<uint64_t>(number + 1));
    if (place < kSampledTokens) std::copy(x, x + channels, &sample->x[place * channels]);
  }
}

void RoundTokens(int64_t rows, int64_t channels, float* x) {
  for (int64_t row = 0; row < rows; ++row, x += channels) {
    float largest = 0;
    for (int64_t c = 0; c < channels; ++c) largest = std::max(largest, std::fabs(x[c]));
    const float step = largest < 1e-30f ? 0 : largest / 127, inverse = step > 0 ? 1 / step : 0;
    for (int64_t c = 0; c < channels; ++c) x[c] = std::nearbyint(x[c] * inverse) * step;
  }
}

InputScale SearchSmoothing(const ops::Host& host, std::span<const LinearWeight> linears, const InputStats& stats,
                           const TokenSample& sample, std::span<const int32_t> pools) {
  std::vector<Outputs> outputs;
  std::vector<double> weights(static_cast<size_t>(sample.rows));  // [tokens]
  for (const LinearWeight& linear : linears) outputs.emplace_back(host, linear, sample).AddSquares(weights.data());
  for (double& weight : weights) weight = weight > 0 ? 1 / weight : 0;
  const std::vector<float> largest = PoolSizes(LargestWeights(linears, stats.channels), pools);
  InputScale best;
  const auto consider = [&](const std::vector<float>& sizes, float alpha) {
    std::vector<float> scale = SmoothingFor(PoolSizes(sizes, pools), largest, alpha);
    const std::vector<float> xt = RoundedInputs(sample, scale);
    double error = 0;
    for (const Outputs& linear : outputs) error += linear.Error(scale, xt, weights);
    if (alpha == 0) best.plain_error = error;
    if (alpha > 0 && !(error < best.error)) return;
    best.scale = std::move(scale);
    best.exponent = alpha;
    best.error = error;
  };
  consider(stats.abs_max, 0);
  for (const std::vector<float>* sizes : {&stats.abs_max, &stats.abs_sum}) {  // a common factor changes nothing
    for (int i = 1; i < kAlphas; ++i) consider(*sizes, static_cast<float>(i) / kAlphas);
  }
  return best;
}

}  // namespace ingot::quant
