// GPTQ: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023.
#pragma once

#include "quant/awq.h"
#include "quant/input_stats.h"
#include "tensor/weight_source.h"

namespace ingot::quant {

struct GptqOptions {
  // Added to each diagonal element of the Gram matrix, as a share of itself and of 1 % of their mean. In the quantized
  // model the inputs carry the errors of the layers before, about in proportion to their size; the damping stands for
  // those. (GPTQ's own is 1 % of the mean for all. On SmolLM2, 4 bits, symmetric groups of 32, a perplexity of 17.05 in
  // f16 becomes 19.03 with that, 18.28 with a share of 0.1 and 18.22 with 0.3.)
  float damping = 0.3f;
  // Inputs are quantized from the largest to the smallest diagonal element.
  bool act_order = false;
  // Scales and zeros to keep (RoundClipped's), of groups in the order of the inputs, whatever order they are quantized
  // in. Null: every group's grid is searched when its turn comes, after the feedback of the inputs before it.
  const WeightRows* grids = nullptr;
};

struct GptqWeight {
  WeightRows rows;
  InputOrder order;  // column j multiplies input order[j]; empty: input j. Only act_order without `grids` needs it
};

// Quantizes one input after the other, each with the feedback of the errors so far that makes the error of the outputs
// smallest (codes stay those of GPTQ; there is no inverse Hessian, see gptq.cc). Inputs that the calibration never saw
// are rounded to nearest. kInvalidArgument when the Gram matrix cannot be factored even with a thousandfold damping.
// REQUIRES: CheckScheme, CheckStats and CheckWeights are OK.
Result<GptqWeight> Gptq(const ops::Host& host, const LinearWeight& linear, const InputStats& stats,
                        const Format& format, const GptqOptions& options);

}  // namespace ingot::quant
