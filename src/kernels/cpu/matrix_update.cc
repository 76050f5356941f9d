#include "kernels/matrix_update.h"

#include "kernels/cpu/simd.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

constexpr int64_t kDepth = 64;  // rows of a and b at a time: two tiles of 12 KB, in L1 together
constexpr int kRows = 6;        // of a register tile, which is kRows · kVectors accumulators:
#if defined(__AVX512F__)
constexpr int kVectors = 3;  // 18 of 32 registers
#else
constexpr int kVectors = 2;  // 12 of 16
#endif
constexpr int64_t kCols = kVectors * kLanes;
static_assert(kUpdateTile % kRows == 0 && kUpdateTile % kCols == 0);

// x[r][first …] → out[r][kUpdateTile], filled up with zeros beyond `width`.
void CopyTile(const float* x, int64_t stride, int64_t depth, int64_t width, float* out) {
  for (int64_t r = 0; r < depth; ++r) {
    for (int64_t j = 0; j < kUpdateTile; j += kLanes) {
      const int64_t left = width - j;
      Store(out + r * kUpdateTile + j, left > 0 ? LoadSome(x + r * stride + j, left) : Set(0));
    }
  }
}

// out[i][j] = Σ_r a[r][i] · b[r][j] for a register tile.   a, b, out: row stride kUpdateTile
void MultiplyRegisters(const float* a, const float* b, int64_t depth, float* out) {
  F32 sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) sum[i][v] = Set(0);
  }
  for (int64_t r = 0; r < depth; ++r, a += kUpdateTile, b += kUpdateTile) {
    F32 row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = Load(b + v * kLanes);
    for (int i = 0; i < kRows; ++i) {
      const F32 x = Set(a[i]);
      for (int v = 0; v < kVectors; ++v) sum[i][v] = Fma(x, row[v], sum[i][v]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) Store(out + i * kUpdateTile + v * kLanes, sum[i][v]);
  }
}

// c += alpha · product.   c: [rows, cols], row stride c_stride; product: [.., kUpdateTile]
void AddTile(const MatrixUpdateParams& p, const float* product, int64_t rows, int64_t cols, float* c) {
  const F32 alpha = Set(p.alpha);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; j += kLanes) {
      float* at = c + i * p.c_stride + j;
      StoreSome(at, Fma(alpha, Load(product + i * kUpdateTile + j), LoadSome(at, cols - j)), cols - j);
    }
  }
}

inline int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void Update(const MatrixUpdateParams& p, int64_t row, int64_t col_begin, int64_t col_end) {
  alignas(64) float a[kDepth * kUpdateTile], b[kDepth * kUpdateTile], product[kUpdateTile * kUpdateTile];
  const int64_t rows = Smaller(kUpdateTile, p.m - row), end = Smaller(col_end, p.n);
  for (int64_t r = 0; r < p.depth; r += kDepth) {
    const int64_t depth = Smaller(kDepth, p.depth - r);
    CopyTile(p.a + r * p.a_stride + row, p.a_stride, depth, rows, a);
    for (int64_t col = col_begin; col < end; col += kUpdateTile) {
      const int64_t cols = Smaller(kUpdateTile, end - col);
      CopyTile(p.b + r * p.b_stride + col, p.b_stride, depth, cols, b);
      for (int64_t i = 0; i < rows; i += kRows) {
        for (int64_t j = 0; j < cols; j += kCols) {
          MultiplyRegisters(a + i, b + j, depth, product + i * kUpdateTile + j);
        }
      }
      AddTile(p, product, rows, cols, p.c + row * p.c_stride + col);
    }
  }
}

}  // namespace

const MatrixUpdateKernels kMatrixUpdate = {Update};

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
