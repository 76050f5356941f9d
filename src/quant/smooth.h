// SmoothQuant: Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
// ICML 2023. Weights in int8 with a scale per output, inputs in int8 with a scale per token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/awq.h"
#include "quant/input_stats.h"

namespace ingot::quant {

// Weights of W8A8. Gptq takes this format too: smoothing moves errors into the weights, and their feedback takes most
// of them back.
inline constexpr Format kInt8PerOutput{.bits = 8, .scale = Format::Scale::kF32};

// Some tokens' inputs. What rounding a token does depends on its largest input, which no sum over tokens tells; so a
// few hundred are kept as they are.
struct TokenSample {
  int64_t channels = 0, rows = 0;
  std::vector<float> x;  // [rows, channels]
  int64_t seen = 0;
};
inline constexpr int64_t kSampledTokens = 256;
// x: [rows, channels]. Of all tokens that come, each has the same chance to be among the kSampledTokens that are kept
// (a reservoir, with the same draws in every run): at even distances they would be the same positions of all texts.
void AddTokens(const float* x, int64_t rows, int64_t channels, TokenSample* sample);

// What int8 makes of inputs: every row to the nearest multiple of its max|x| / 127; to 0 where that max is below 1e-30.
// x: [rows, channels]
void RoundTokens(int64_t rows, int64_t channels, float* x);

// scale = size^alpha / max|w|^(1 - alpha), divided by sqrt(max · min), where size is max|x|, as in the paper, or
// mean|x|, which no single token rules. Which of the two, and alpha (the result's `exponent`: 0.05, 0.1 … 0.95), are
// those that make the error of the outputs of W8A8 over the tokens of `sample` smallest, each token's taken relative to
// its outputs; or all ones (exponent 0) if that is better than any. `stats` gives the sizes; max|w| is over all
// `linears`, which share their input. pools: as for SearchScale; of sizes and max|w| the largest of the pool counts.
InputScale SearchSmoothing(const ops::Host& host, std::span<const LinearWeight> linears, const InputStats& stats,
                           const TokenSample& sample, std::span<const int32_t> pools = {});

}  // namespace ingot::quant
