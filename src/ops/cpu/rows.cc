// Ops that treat each row on its own.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "ops/cpu/backend.h"

namespace ingot::ops {
namespace {

// A worker should get at least this many elements: some ten microseconds of work, so that waking it pays.
constexpr int64_t kGrain = 16384;

kernels::RmsNormParams NormParams(const TensorView& x, float* residual, const NormWeight& norm, const TensorView& y) {
  return {.x = x.Data<float>(),
          .residual = residual,
          .weight = norm.weight.Data<float>(),
          .y = y.Data<float>(),
          .n = x.shape[1],
          .eps = norm.eps};
}

}  // namespace

void CpuBackend::ForRows(int64_t rows, int64_t elements_per_row,
                         FunctionRef<void(int64_t begin, int64_t end)> body) const {
  if (rows <= 0) return;
  const int64_t rows_per_part = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements_per_row));
  const int64_t parts = (rows + rows_per_part - 1) / rows_per_part;
  if (parts <= 1) return body(0, rows);
  pool_.ParallelFor(parts,
                    [&](int64_t part) { body(part * rows_per_part, std::min(rows, (part + 1) * rows_per_part)); });
}

void CpuBackend::RmsNorm(const Context&, const TensorView& x, const NormWeight& norm, const TensorView& y) {
  const kernels::RmsNormParams params = NormParams(x, nullptr, norm, y);
  ForRows(x.shape[0], params.n, [&](int64_t begin, int64_t end) { kernels_.elementwise.rms_norm(params, begin, end); });
}

void CpuBackend::AddRmsNorm(const Context&, const TensorView& x, const TensorView& residual, const NormWeight& norm,
                            const TensorView& y) {
  const kernels::RmsNormParams params = NormParams(x, residual.Data<float>(), norm, y);
  ForRows(x.shape[0], params.n, [&](int64_t begin, int64_t end) { kernels_.elementwise.rms_norm(params, begin, end); });
}

void CpuBackend::Add(const Context&, const TensorView& x, const TensorView& y) {
  ForRows(x.shape.NumElements(), 1, [&](int64_t begin, int64_t end) {
    kernels_.elementwise.add(x.Data<float>() + begin, y.Data<float>() + begin, end - begin);
  });
}

void CpuBackend::ActMul(const Context&, const TensorView& gate_up, Activation activation, const TensorView& y) {
  const kernels::ActMulParams params = {gate_up.Data<float>(), y.Data<float>(), y.shape[1], activation};
  ForRows(y.shape[0], 4 * y.shape[1],  // an activation costs about four plain elements
          [&](int64_t begin, int64_t end) { kernels_.elementwise.act_mul(params, begin, end); });
}

void CpuBackend::Softcap(const Context&, const TensorView& x, float cap) {
  ForRows(x.shape.NumElements(), 4,
          [&](int64_t begin, int64_t end) { kernels_.elementwise.softcap(x.Data<float>() + begin, end - begin, cap); });
}

void CpuBackend::RopeAngles(const Context&, const TensorView& positions, const RopeTable& table, const TensorView& cos,
                            const TensorView& sin) {
  const int64_t half = cos.shape[1];
  const double* const inv_freq = table.inv_freq.Data<double>();
  ForRows(positions.shape[0], 64 * half, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const double position = positions.Data<int32_t>()[t];
      for (int64_t i = 0; i < half; ++i) {
        const double angle = position * inv_freq[i];
        cos.Data<float>()[t * half + i] = static_cast<float>(table.factor * std::cos(angle));
        sin.Data<float>()[t * half + i] = static_cast<float>(table.factor * std::sin(angle));
      }
    }
  });
}

void CpuBackend::GatherRows(const Context&, const TensorView& x, const TensorView& rows, const TensorView& y) {
  const int64_t n = x.shape[1];
  ForRows(y.shape[0], n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t row = rows.Data<int32_t>()[i];
      INGOT_CHECK(row >= 0 && row < x.shape[0]);
      std::memcpy(y.Data<float>() + i * n, x.Data<float>() + row * n, static_cast<size_t>(n) * sizeof(float));
    }
  });
}

}  // namespace ingot::ops
