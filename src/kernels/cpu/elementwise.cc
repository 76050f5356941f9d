#include "kernels/elementwise.h"

#include "kernels/cpu/flush_denormals.h"
#include "kernels/cpu/vector_math.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

// f(i, count) for each whole vector of [0, n), then for the masked rest.
template <typename F>
inline void ForVectors(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, kLanes);
  if (i < n) f(i, static_cast<int>(n - i));
}

void RmsNorm(const RmsNormParams& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* x = p.x + row * p.n;
    float* residual = p.residual == nullptr ? nullptr : p.residual + row * p.n;
    float* y = p.y + row * p.n;
    F32 sum[4] = {Set(0), Set(0), Set(0), Set(0)};  // vector i goes to sum i mod 4: four chains hide the latency
    int chain = 0;
    ForVectors(p.n, [&](int64_t i, int count) {
      F32 v = LoadSome(x + i, count);
      if (residual != nullptr) {
        v = v + LoadSome(residual + i, count);
        StoreSome(residual + i, v, count);
      }
      sum[chain] = Fma(v, v, sum[chain]);
      chain = (chain + 1) & 3;
    });
    const float total = ReduceAdd((sum[0] + sum[1]) + (sum[2] + sum[3]));
    const F32 inverse = Set(1.0f) / SquareRoot(Set(total / static_cast<float>(p.n) + p.eps));
    const float* normed = residual != nullptr ? residual : x;
    ForVectors(p.n, [&](int64_t i, int count) {
      StoreSome(y + i, LoadSome(normed + i, count) * inverse * LoadSome(p.weight + i, count), count);
    });
  }
}

void Add(const float* x, float* y, int64_t n) {
  ForVectors(n,
             [&](int64_t i, int count) { StoreSome(y + i, LoadSome(y + i, count) + LoadSome(x + i, count), count); });
}

void ExpArray(const float* x, float* y, int64_t n) {
  ForVectors(n, [&](int64_t i, int count) { StoreSome(y + i, Exp(LoadSome(x + i, count)), count); });
}

void TanhArray(const float* x, float* y, int64_t n) {
  ForVectors(n, [&](int64_t i, int count) { StoreSome(y + i, Tanh(LoadSome(x + i, count)), count); });
}

void Softcap(float* x, int64_t n, float cap) {
  const F32 c = Set(cap);
  ForVectors(n, [&](int64_t i, int count) { StoreSome(x + i, c * Tanh(LoadSome(x + i, count) / c), count); });
}

template <F32 (*kActivate)(F32)>
void ActMulRows(const ActMulParams& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* gate = p.gate_up + row * 2 * p.n;
    const float* up = gate + p.n;
    float* y = p.y + row * p.n;
    ForVectors(p.n, [&](int64_t i, int count) {
      StoreSome(y + i, kActivate(LoadSome(gate + i, count)) * LoadSome(up + i, count), count);
    });
  }
}

void ActMul(const ActMulParams& p, int64_t begin, int64_t end) {
  const FlushDenormals flush;  // e^-x of the large x that real models have
  switch (p.activation) {
    case Activation::kSilu:
      return ActMulRows<Silu>(p, begin, end);
    case Activation::kGeluTanh:
      return ActMulRows<GeluTanh>(p, begin, end);
    case Activation::kGelu:
      return ActMulRows<Gelu>(p, begin, end);
  }
}

void Combine(const CombineParams& p, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const int32_t* rows = p.row_of + t * p.k;
    const float* weights = p.weights + t * p.k;
    ForVectors(p.n, [&](int64_t i, int count) {
      F32 sum = Set(0);
      for (int rank = 0; rank < p.k; ++rank) {
        sum = Fma(Set(weights[rank]), LoadSome(p.expert_out + rows[rank] * p.n + i, count), sum);
      }
      StoreSome(p.y + t * p.n + i, sum, count);
    });
  }
}

}  // namespace

const ElementwiseKernels kElementwise = {RmsNorm, Add, ExpArray, TanhArray, Softcap, ActMul, Combine};

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
