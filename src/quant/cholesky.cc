#include "quant/cholesky.h"

#include <cmath>

#include "ops/matrix_update.h"

namespace ingot::quant {
namespace {

constexpr int64_t kBlock = 64;  // rows whose products are taken off those above in one update

// Rows [begin, end), last first: divides each by its root, and takes its products off the rows above within the block.
bool FactorRows(int64_t n, int64_t begin, int64_t end, float* h) {
  for (int64_t k = end - 1; k >= begin; --k) {
    float* row = h + k * n;
    if (!(row[k] > 0) || !std::isfinite(row[k])) return false;
    const float root = std::sqrt(row[k]);
    for (int64_t i = 0; i < k; ++i) row[i] /= root;
    row[k] = root;
    for (int64_t j = begin; j < k; ++j) {
      float* above = h + j * n;
      const float factor = row[j];
      for (int64_t i = 0; i <= j; ++i) above[i] -= factor * row[i];
    }
  }
  return true;
}

}  // namespace

bool FactorFromTheEnd(const ops::Host& host, int64_t n, float* h) {
  for (int64_t end = n; end > 0;) {
    const int64_t begin = (end - 1) / kBlock * kBlock;
    if (!FactorRows(n, begin, end, h)) return false;
    ops::AddProductLower(host, {.a = h + begin * n,
                                .b = h + begin * n,
                                .c = h,
                                .a_stride = n,
                                .b_stride = n,
                                .c_stride = n,
                                .depth = end - begin,
                                .m = begin,
                                .n = begin,
                                .alpha = -1});
    end = begin;
  }
  return true;
}

}  // namespace ingot::quant
