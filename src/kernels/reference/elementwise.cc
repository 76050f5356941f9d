#include "kernels/elementwise.h"

#include <cmath>

#define INGOT_ISA_NAMESPACE reference
#include "kernels/cpu/vector_math.h"

namespace ingot::kernels::reference {
namespace {

void RmsNorm(const RmsNormParams& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* x = p.x + row * p.n;
    if (p.residual != nullptr) {
      float* residual = p.residual + row * p.n;
      for (int64_t i = 0; i < p.n; ++i) residual[i] += x[i];
      x = residual;
    }
    double sum = 0;
    for (int64_t i = 0; i < p.n; ++i) sum += double{x[i]} * x[i];
    const float inverse = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(p.n) + p.eps));
    for (int64_t i = 0; i < p.n; ++i) p.y[row * p.n + i] = x[i] * inverse * p.weight[i];
  }
}

void Add(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void ExpArray(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = Exp({x[i]}).v;
}

void TanhArray(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = Tanh({x[i]}).v;
}

void Softcap(float* x, int64_t n, float cap) {
  for (int64_t i = 0; i < n; ++i) x[i] = cap * Tanh({x[i] / cap}).v;
}

float Activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kSilu:
      return Silu({x}).v;
    case Activation::kGeluTanh:
      return GeluTanh({x}).v;
    case Activation::kGelu:
      return Gelu({x}).v;
  }
  return x;
}

void ActMul(const ActMulParams& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* gate = p.gate_up + row * 2 * p.n;
    const float* up = gate + p.n;
    for (int64_t i = 0; i < p.n; ++i) p.y[row * p.n + i] = Activate(p.activation, gate[i]) * up[i];
  }
}

void Combine(const CombineParams& p, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    float* y = p.y + t * p.n;
    for (int64_t i = 0; i < p.n; ++i) y[i] = 0;
    for (int rank = 0; rank < p.k; ++rank) {
      const float* x = p.expert_out + p.row_of[t * p.k + rank] * p.n;
      const float weight = p.weights[t * p.k + rank];
      for (int64_t i = 0; i < p.n; ++i) y[i] += weight * x[i];
    }
  }
}

}  // namespace

const ElementwiseKernels kElementwise = {RmsNorm, Add, ExpArray, TanhArray, Softcap, ActMul, Combine};

}  // namespace ingot::kernels::reference
