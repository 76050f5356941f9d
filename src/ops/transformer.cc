#include "ops/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace ingot::ops {
namespace {

// A worker should get at least this many elements: some ten microseconds of work, so that waking it pays.
constexpr int64_t kGrain = 16384;

// body(begin, end) over ranges of [0, rows), in parallel where that pays. Rows do not depend on how they are cut.
template <typename Body>
void ForRows(const Context& context, int64_t rows, int64_t elements_per_row, const Body& body) {
  if (rows <= 0) return;
  const int64_t rows_per_part = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements_per_row));
  const int64_t parts = (rows + rows_per_part - 1) / rows_per_part;
  if (parts <= 1 || context.pool == nullptr) {
    body(int64_t{0}, rows);
    return;
  }
  context.pool->ParallelFor(
      parts, [&](int64_t part) { body(part * rows_per_part, std::min(rows, (part + 1) * rows_per_part)); });
}

void CheckMatrix(const TensorView& x) { INGOT_CHECK(x.dtype == DType::kF32 && x.shape.rank() == 2); }

void NormRows(const Context& context, const kernels::RmsNormParams& params, int64_t rows) {
  ForRows(context, rows, params.n,
          [&](int64_t begin, int64_t end) { context.kernels->elementwise.rms_norm(params, begin, end); });
}

}  // namespace

void RmsNorm(const Context& context, const TensorView& x, NormWeight norm, const TensorView& y) {
  CheckMatrix(x);
  INGOT_CHECK(y.dtype == DType::kF32 && x.shape == y.shape);
  NormRows(context, {x.Data<float>(), nullptr, norm.weight, y.Data<float>(), x.shape[1], norm.eps}, x.shape[0]);
}

void AddRmsNorm(const Context& context, const TensorView& x, const TensorView& residual, NormWeight norm,
                const TensorView& y) {
  CheckMatrix(x);
  INGOT_CHECK(y.dtype == DType::kF32 && x.shape == y.shape);
  INGOT_CHECK(residual.dtype == DType::kF32 && x.shape == residual.shape);
  NormRows(context, {x.Data<float>(), residual.Data<float>(), norm.weight, y.Data<float>(), x.shape[1], norm.eps},
           x.shape[0]);
}

void Add(const Context& context, const TensorView& x, const TensorView& y) {
  INGOT_CHECK(x.dtype == DType::kF32 && y.dtype == DType::kF32 && x.shape == y.shape);
  ForRows(context, x.shape.NumElements(), 1, [&](int64_t begin, int64_t end) {
    context.kernels->elementwise.add(x.Data<float>() + begin, y.Data<float>() + begin, end - begin);
  });
}

void ActMul(const Context& context, const TensorView& gate_up, Activation activation, const TensorView& y) {
  CheckMatrix(gate_up);
  CheckMatrix(y);
  INGOT_CHECK(gate_up.shape[0] == y.shape[0] && gate_up.shape[1] == 2 * y.shape[1]);
  const kernels::ActMulParams params = {gate_up.Data<float>(), y.Data<float>(), y.shape[1], activation};
  ForRows(context, y.shape[0], 4 * y.shape[1],  // an activation costs about four plain elements
          [&](int64_t begin, int64_t end) { context.kernels->elementwise.act_mul(params, begin, end); });
}

void Softcap(const Context& context, const TensorView& x, float cap) {
  INGOT_CHECK(x.dtype == DType::kF32 && cap > 0);
  ForRows(context, x.shape.NumElements(), 4, [&](int64_t begin, int64_t end) {
    context.kernels->elementwise.softcap(x.Data<float>() + begin, end - begin, cap);
  });
}

void RopeAngles(const Context& context, std::span<const int32_t> positions, const RopeTable& table, float* cos,
                float* sin) {
  const int64_t half = static_cast<int64_t>(table.inv_freq.size());
  const auto rows = [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const double position = positions[static_cast<size_t>(t)];
      for (int64_t i = 0; i < half; ++i) {
        const double angle = position * table.inv_freq[static_cast<size_t>(i)];
        cos[t * half + i] = static_cast<float>(table.factor * std::cos(angle));
        sin[t * half + i] = static_cast<float>(table.factor * std::sin(angle));
      }
    }
  };
  ForRows(context, static_cast<int64_t>(positions.size()), 64 * half, rows);
}

void RouteTopK(const Context& context, const TensorView& router_logits, RouteRule rule, int32_t* ids, float* weights) {
  const int k = rule.k;
  CheckMatrix(router_logits);
  const int64_t experts = router_logits.shape[1];
  INGOT_CHECK(k >= 1 && k <= experts);
  const auto route = [&](int64_t t) {
    const float* logits = router_logits.Data<float>() + t * experts;
    int32_t* chosen = ids + t * k;
    float* weight = weights + t * k;
    for (int rank = 0; rank < k; ++rank) {
      int32_t best = -1;
      for (int32_t e = 0; e < experts; ++e) {
        if (std::find(chosen, chosen + rank, e) != chosen + rank) continue;
        if (best < 0 || logits[e] > logits[best]) best = e;
      }
      chosen[rank] = best;
      weight[rank] = logits[best] - logits[chosen[0]];
    }
    const float max = logits[chosen[0]];
    context.kernels->elementwise.exp(weight, weight, k);
    float sum = 0;
    if (rule.normalize) {
      for (int rank = 0; rank < k; ++rank) sum += weight[rank];
    } else {
      for (int64_t e = 0; e < experts; ++e) {
        const float difference = logits[e] - max;
        float value;
        context.kernels->elementwise.exp(&difference, &value, 1);
        sum += value;
      }
    }
    for (int rank = 0; rank < k; ++rank) weight[rank] /= sum;
  };
  ForRows(context, router_logits.shape[0], experts * (k + 4), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) route(t);
  });
}

void CombineExperts(const Context& context, const CombineParams& params) {
  const kernels::CombineParams rows = {params.expert_out, params.row_of,      params.weights,
                                       params.y,          params.hidden_size, params.k};
  ForRows(context, params.num_tokens, params.hidden_size * params.k,
          [&](int64_t begin, int64_t end) { context.kernels->elementwise.combine(rows, begin, end); });
}

void GatherRows(const Context& context, const TensorView& x, std::span<const int32_t> rows, const TensorView& y) {
  CheckMatrix(x);
  CheckMatrix(y);
  const int64_t n = x.shape[1];
  INGOT_CHECK(y.shape[0] == static_cast<int64_t>(rows.size()) && y.shape[1] == n);
  ForRows(context, y.shape[0], n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t row = rows[static_cast<size_t>(i)];
      INGOT_CHECK(row >= 0 && row < x.shape[0]);
      std::memcpy(y.Data<float>() + i * n, x.Data<float>() + row * n, static_cast<size_t>(n) * sizeof(float));
    }
  });
}

}  // namespace ingot::ops
