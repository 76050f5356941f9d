#include "ops/matrix_update.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/kernel_table.h"

namespace ingot::ops {
namespace {

using kernels::kUpdateTile;

constexpr int64_t kColsEach = 16 * kUpdateTile;  // of c for one piece of work: a's tile is copied once for all

int64_t Pieces(int64_t size, int64_t each) { return (size + each - 1) / each; }

}  // namespace

void AddProduct(const Host& host, const MatrixUpdateParams& params) {
  const int64_t across = Pieces(params.n, kColsEach);
  host.pool->ParallelFor(Pieces(params.m, kUpdateTile) * across, [&](int64_t i) {
    const int64_t col = i % across * kColsEach;
    host.kernels->matrix_update.update(params, i / across * kUpdateTile, col, std::min(col + kColsEach, params.n));
  });
}

void AddProductLower(const Host& host, const MatrixUpdateParams& params) {
  INGOT_CHECK(params.m == params.n);
  const int64_t down = Pieces(params.m, kUpdateTile);
  host.pool->ParallelFor(down, [&](int64_t i) {
    const int64_t row = (down - 1 - i) * kUpdateTile;  // long ones first, so that threads end together
    host.kernels->matrix_update.update(params, row, 0, std::min(row + kUpdateTile, params.n));
  });
}

void MirrorLower(const Host& host, float* c, int64_t n) {
  host.pool->ParallelFor(Pieces(n, kUpdateTile), [&](int64_t tile) {
    const int64_t begin = tile * kUpdateTile, end = std::min(n, begin + kUpdateTile);
    for (int64_t j0 = 0; j0 < end; j0 += kUpdateTile) {
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t j = j0; j < std::min(i, j0 + kUpdateTile); ++j) c[j * n + i] = c[i * n + j];
      }
    }
  });
}

}  // namespace ingot::ops
