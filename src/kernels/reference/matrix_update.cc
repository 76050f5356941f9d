#include "kernels/matrix_update.h"

#include <algorithm>

namespace ingot::kernels::reference {
namespace {

void Update(const MatrixUpdateParams& p, int64_t row, int64_t col_begin, int64_t col_end) {
  for (int64_t i = row; i < std::min(p.m, row + kUpdateTile); ++i) {
    for (int64_t j = col_begin; j < std::min(p.n, col_end); ++j) {
      double sum = 0;
      for (int64_t r = 0; r < p.depth; ++r) sum += double{p.a[r * p.a_stride + i]} * p.b[r * p.b_stride + j];
      p.c[i * p.c_stride + j] += p.alpha * static_cast<float>(sum);
    }
  }
}

}  // namespace

const MatrixUpdateKernels kMatrixUpdate = {Update};

}  // namespace ingot::kernels::reference
