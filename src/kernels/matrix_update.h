// Updates of dense matrices: c += alpha · aᵀ · b. What Gram matrices, Cholesky factors and the feedback of rounding
// errors are made of.
#pragma once

#include <cstdint>

namespace ingot::kernels {

inline constexpr int64_t kUpdateTile = 48;  // 6 · 8 rows and 3 · 16 or 6 · 8 columns of c: whole register tiles

struct MatrixUpdateParams {
  const float* a;  // [depth, m], row stride a_stride
  const float* b;  // [depth, n], row stride b_stride
  float* c;        // [m, n], row stride c_stride
  int64_t a_stride, b_stride, c_stride;
  int64_t depth, m, n;
  float alpha;
};

struct MatrixUpdateKernels {
  // c[i][j] += alpha · Σ_r a[r][i] · b[r][j] for i in [row, row + kUpdateTile) and j in [col_begin, col_end), as far as
  // c reaches. r runs upwards; the bits of an element do not depend on the range it came in.
  // REQUIRES: row and col_begin are multiples of kUpdateTile.
  void (*update)(const MatrixUpdateParams&, int64_t row, int64_t col_begin, int64_t col_end);
};

namespace reference {
extern const MatrixUpdateKernels kMatrixUpdate;
}
namespace avx2 {
extern const MatrixUpdateKernels kMatrixUpdate;
}
namespace avx2vnni {
extern const MatrixUpdateKernels kMatrixUpdate;
}
namespace avx512 {
extern const MatrixUpdateKernels kMatrixUpdate;
}

}  // namespace ingot::kernels
