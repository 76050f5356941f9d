// Mixtures of experts.
#include <algorithm>

#include "base/check.h"
#include "ops/cpu/backend.h"

namespace ingot::ops {
namespace {

// The experts of one token: `chosen` [k] by rank, and `weight` [k].   logits: [experts]
struct TokenRoute {
  const float* logits;
  int64_t experts;
  RouteRule rule;
  int32_t* chosen;
  float* weight;
};
void RouteToken(const kernels::ElementwiseKernels& kernels, const TokenRoute& t) {
  for (int rank = 0; rank < t.rule.k; ++rank) {
    int32_t best = -1;
    for (int32_t e = 0; e < t.experts; ++e) {
      if (std::find(t.chosen, t.chosen + rank, e) != t.chosen + rank) continue;
      if (best < 0 || t.logits[e] > t.logits[best]) best = e;
    }
    t.chosen[rank] = best;
    t.weight[rank] = t.logits[best] - t.logits[t.chosen[0]];
  }
  const float max = t.logits[t.chosen[0]];
  kernels.exp(t.weight, t.weight, t.rule.k);
  float sum = 0;
  if (t.rule.normalize) {
    for (int rank = 0; rank < t.rule.k; ++rank) sum += t.weight[rank];
  } else {
    for (int64_t e = 0; e < t.experts; ++e) {
      const float difference = t.logits[e] - max;
      float value;
      kernels.exp(&difference, &value, 1);
      sum += value;
    }
  }
  for (int rank = 0; rank < t.rule.k; ++rank) t.weight[rank] /= sum;
}

// A counting sort of (token, rank) by expert. What an expert makes of a row does not depend on the other rows, so
// the order serves speed alone.
void SortByExpert(const Routing& routing, int64_t experts) {
  const int64_t rows = routing.token_of.shape[0], k = routing.ids.shape[1];
  const int32_t* const ids = routing.ids.Data<int32_t>();
  int32_t* const begin = routing.expert_begin.Data<int32_t>();
  std::fill_n(begin, experts + 1, 0);
  for (int64_t i = 0; i < rows; ++i) ++begin[ids[i] + 1];
  for (int64_t e = 0; e < experts; ++e) begin[e + 1] += begin[e];
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t row = begin[ids[i]]++;
    routing.row_of.Data<int32_t>()[i] = row;
    routing.token_of.Data<int32_t>()[row] = static_cast<int32_t>(i / k);
  }
  // Each begin has moved to its end, which is the next one's begin.
  std::copy_backward(begin, begin + experts, begin + experts + 1);
  begin[0] = 0;
}

}  // namespace

void CpuBackend::Route(const Context&, const TensorView& router_logits, RouteRule rule, const Routing& routing) {
  const int64_t experts = router_logits.shape[1];
  ForRows(router_logits.shape[0], experts * (rule.k + 4), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      RouteToken(kernels_.elementwise, {.logits = router_logits.Data<float>() + t * experts,
                                        .experts = experts,
                                        .rule = rule,
                                        .chosen = routing.ids.Data<int32_t>() + t * rule.k,
                                        .weight = routing.weights.Data<float>() + t * rule.k});
    }
  });
  SortByExpert(routing, experts);
}

void CpuBackend::ExpertLinear(const Context& context, const TensorView& x, const Routing& routing,
                              std::span<const FusedLinear> experts, const TensorView& y) {
  const int32_t* const begin = routing.expert_begin.Data<int32_t>();
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t rows = begin[e + 1] - begin[e];
    if (rows == 0) continue;
    MultiplyParts(context, experts[e].parts,
                  {.x = x.Data<float>() + begin[e] * x.shape[1],
                   .rows = rows,
                   .bias = experts[e].bias.Data<float>(),
                   .y = y.Data<float>() + begin[e] * y.shape[1]});
  }
}

void CpuBackend::CombineExperts(const Context&, const TensorView& x, const Routing& routing, const TensorView& y) {
  const auto k = static_cast<int>(routing.ids.shape[1]);
  const kernels::CombineParams params = {.expert_out = x.Data<float>(),
                                         .row_of = routing.row_of.Data<int32_t>(),
                                         .weights = routing.weights.Data<float>(),
                                         .y = y.Data<float>(),
                                         .n = y.shape[1],
                                         .k = k};
  ForRows(y.shape[0], y.shape[1] * k,
          [&](int64_t begin, int64_t end) { kernels_.elementwise.combine(params, begin, end); });
}

}  // namespace ingot::ops
