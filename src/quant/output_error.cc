#include "quant/output_error.h"

#include <numeric>
#include <vector>

#include "quant/row_blocks.h"

namespace ingot::quant {

double OutputError(const ops::Host& host, const float* d, int64_t rows, const InputStats& stats) {
  const int64_t channels = stats.channels;
  std::vector<double> errors(static_cast<size_t>(NumBlocks(rows)));
  ForBlocks(host, rows, [&](const RowBlock& block) {
    const size_t size = static_cast<size_t>(block.count * channels);
    std::vector<float> dt(size), product(size);  // [channels, rows]: Dᵀ, gram · Dᵀ
    Transpose(d + block.begin * channels, block.count, channels, dt.data());
    ops::AddProduct(block.alone, {.a = stats.gram.data(),
                                  .b = dt.data(),
                                  .c = product.data(),
                                  .a_stride = channels,
                                  .b_stride = block.count,
                                  .c_stride = block.count,
                                  .depth = channels,
                                  .m = channels,
                                  .n = block.count,
                                  .alpha = 1});
    errors[block.index] = std::inner_product(dt.begin(), dt.end(), product.begin(), 0.0);
  });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

}  // namespace ingot::quant
