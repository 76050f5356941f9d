// Ops that treat each row on its own, and mixtures.
#include "base/check.h"
#include "ops/cuda/launch.h"

namespace ingot::ops {

using kernels::cuda::KernelId;
using kernels::cuda::kRowThreads;

void CudaBackend::Norm(const TensorView& x, float* residual, const NormWeight& norm, const TensorView& y) {
  INGOT_CHECK(y.dtype == activation_dtype_);
  const KernelId kernel = x.dtype == DType::kF32 ? Pick(KernelId::norm_float_half, KernelId::norm_float_bfloat16)
                                                 : Pick(KernelId::norm_half, KernelId::norm_bfloat16);
  Launch({.kernel = kernel, .grid = {Blocks(x.shape[0])}},
         kernels::cuda::NormParams{.x = x.data,
                                   .residual = residual,
                                   .weight = norm.weight.Data<float>(),
                                   .y = y.data,
                                   .n = x.shape[1],
                                   .eps = norm.eps});
}

void CudaBackend::RmsNorm(const Context&, const TensorView& x, const NormWeight& norm, const TensorView& y) {
  Norm(x, nullptr, norm, y);
}

void CudaBackend::AddRmsNorm(const Context&, const TensorView& x, const TensorView& residual, const NormWeight& norm,
                             const TensorView& y) {
  Norm(x, residual.Data<float>(), norm, y);
}

void CudaBackend::Add(const Context&, const TensorView& x, const TensorView& y) {
  INGOT_CHECK(x.dtype == activation_dtype_);
  const int64_t count = x.shape.NumElements();
  Launch({.kernel = Pick(KernelId::add_half, KernelId::add_bfloat16), .grid = {Blocks(count, kRowThreads)}},
         kernels::cuda::AddParams{.x = x.data, .y = y.Data<float>(), .count = count});
}

void CudaBackend::ActMul(const Context&, const TensorView& gate_up, Activation activation, const TensorView& y) {
  INGOT_CHECK(gate_up.dtype == activation_dtype_ && y.dtype == activation_dtype_);
  const int64_t count = y.shape.NumElements();
  Launch({.kernel = Pick(KernelId::activate_multiply_half, KernelId::activate_multiply_bfloat16),
          .grid = {Blocks(count, kRowThreads)}},
         kernels::cuda::ActivateParams{
             .gate_up = gate_up.data, .y = y.data, .n = y.shape[1], .count = count, .activation = activation});
}

void CudaBackend::Softcap(const Context&, const TensorView& x, float cap) {
  const int64_t count = x.shape.NumElements();
  Launch({.kernel = KernelId::softcap, .grid = {Blocks(count, kRowThreads)}},
         kernels::cuda::SoftcapParams{.x = x.Data<float>(), .count = count, .cap = cap});
}

void CudaBackend::RopeAngles(const Context&, const TensorView& positions, const RopeTable& table, const TensorView& cos,
                             const TensorView& sin) {
  const int64_t count = cos.shape.NumElements();
  Launch({.kernel = KernelId::rope_angles, .grid = {Blocks(count, kRowThreads)}},
         kernels::cuda::RopeAnglesParams{.positions = positions.Data<int32_t>(),
                                         .inv_freq = table.inv_freq.Data<double>(),
                                         .factor = table.factor,
                                         .cos = cos.Data<float>(),
                                         .sin = sin.Data<float>(),
                                         .half = cos.shape[1],
                                         .count = count});
}

void CudaBackend::GatherRows(const Context&, const TensorView& x, const TensorView& rows, const TensorView& y) {
  const auto units = static_cast<int64_t>(SizeOf(x.dtype)) / 2;
  Launch({.kernel = KernelId::gather_rows, .grid = {Blocks(y.shape[0])}},
         kernels::cuda::GatherParams{
             .x = x.Data<uint16_t>(), .rows = rows.Data<int32_t>(), .y = y.Data<uint16_t>(), .n = x.shape[1] * units});
}

void CudaBackend::Draw(const Context&, const DrawTargets& targets) {
  Launch({.kernel = KernelId::draw_tokens, .grid = {Blocks(metadata_.num_draws)}},
         kernels::cuda::DrawParams{.logits = targets.logits.Data<float>(),
                                   .rows = metadata_.draws,
                                   .edits = metadata_.edits,
                                   .drawn_tokens = targets.drawn_tokens.Data<int32_t>(),
                                   .results = reinterpret_cast<DrawResult*>(targets.results),
                                   .vocab_size = targets.logits.shape[1]});
}

void CudaBackend::Route(const Context&, const TensorView& router_logits, RouteRule rule, const Routing& routing) {
  const int64_t tokens = router_logits.shape[0], experts = router_logits.shape[1];
  INGOT_CHECK(experts <= kernels::cuda::kMaxExperts);
  Launch({.kernel = KernelId::route, .grid = {Blocks(tokens, kRowThreads)}},
         kernels::cuda::RouteParams{.logits = router_logits.Data<float>(),
                                    .ids = routing.ids.Data<int32_t>(),
                                    .weights = routing.weights.Data<float>(),
                                    .tokens = tokens,
                                    .experts = static_cast<int>(experts),
                                    .k = rule.k,
                                    .normalize = rule.normalize});
  Launch({.kernel = KernelId::sort_experts},
         kernels::cuda::SortExpertsParams{.ids = routing.ids.Data<int32_t>(),
                                          .row_of = routing.row_of.Data<int32_t>(),
                                          .token_of = routing.token_of.Data<int32_t>(),
                                          .expert_begin = routing.expert_begin.Data<int32_t>(),
                                          .rows = static_cast<int32_t>(tokens * rule.k),
                                          .experts = static_cast<int>(experts),
                                          .k = rule.k});
}

void CudaBackend::CombineExperts(const Context&, const TensorView& x, const Routing& routing, const TensorView& y) {
  INGOT_CHECK(x.dtype == activation_dtype_ && y.dtype == activation_dtype_);
  const int64_t count = y.shape.NumElements();
  Launch({.kernel = Pick(KernelId::combine_experts_half, KernelId::combine_experts_bfloat16),
          .grid = {Blocks(count, kRowThreads)}},
         kernels::cuda::CombineExpertsParams{.x = x.data,
                                             .row_of = routing.row_of.Data<int32_t>(),
                                             .weights = routing.weights.Data<float>(),
                                             .y = y.data,
                                             .n = y.shape[1],
                                             .count = count,
                                             .k = static_cast<int>(routing.ids.shape[1])});
}

}  // namespace ingot::ops
