// What a step draws, on a device that draws by itself (Backend::draws), and what of it the host's sampler shares.
#pragma once

#include "kernels/sampling.h"
#include "tensor/tensor.h"

namespace ingot::ops {

using kernels::DrawnLogit;
using kernels::DrawOutcome;
using kernels::DrawResult;
using kernels::DrawRow;
using kernels::kMaxTopLogprobs;
using kernels::kSumBlock;
using kernels::kSumLanes;
using kernels::LogitEdit;
using kernels::Penalties;
using kernels::Philox4;
using kernels::Philox4x32;
using kernels::TokenWeights;
using kernels::UniformAt;

// Of all rows of a step.
inline constexpr int64_t kMaxLogitEdits = 1 << 16;

struct DrawTargets {
  TensorView logits;        // f32 [L, vocab_size]; used up
  TensorView drawn_tokens;  // i32 [slots]
  std::byte* results;       // DrawResult [StepBatch::draws] of the device's memory
};

}  // namespace ingot::ops
