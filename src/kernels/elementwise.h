// Kernels that treat each row on its own: norms, activations, mixtures.
#pragma once

#include <cstdint>

namespace ingot::kernels {

enum class Activation : uint8_t { kSilu, kGeluTanh, kGelu };

struct RmsNormParams {
  const float* x;       // [rows, n]
  float* residual;      // [rows, n]: x is added to it and the sum is normalized; null: x itself is
  const float* weight;  // [n]
  float* y;             // [rows, n]; may be x
  int64_t n;
  float eps;
};

struct ActMulParams {
  const float* gate_up;  // [rows, 2 · n]
  float* y;              // [rows, n]
  int64_t n;
  Activation activation;
};

struct CombineParams {
  const float* expert_out;  // [T · k, n]
  const int32_t* row_of;    // [T, k]
  const float* weights;     // [T, k]
  float* y;                 // [T, n]
  int64_t n;
  int k;
};

// Every function does the rows (or elements) [begin, end) on the calling thread. The bits of a row do not depend on the
// range it came in.
struct ElementwiseKernels {
  void (*rms_norm)(const RmsNormParams&, int64_t begin, int64_t end);
  void (*add)(const float* x, float* y, int64_t n);   // y += x
  void (*exp)(const float* x, float* y, int64_t n);   // y = e^x, <= 1.1 ulp where the result is a normal number
  void (*tanh)(const float* x, float* y, int64_t n);  // y = tanh(x), <= 1.3 ulp
  void (*softcap)(float* x, int64_t n, float cap);    // x = cap · tanh(x / cap)
  void (*act_mul)(const ActMulParams&, int64_t begin, int64_t end);
  void (*combine)(const CombineParams&, int64_t begin, int64_t end);
};

namespace reference {
extern const ElementwiseKernels kElementwise;
}
namespace avx2 {
extern const ElementwiseKernels kElementwise;
}
namespace avx2vnni {
extern const ElementwiseKernels kElementwise;
}
namespace avx512 {
extern const ElementwiseKernels kElementwise;
}

}  // namespace ingot::kernels
