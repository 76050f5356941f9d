#include "models/fused_linear.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace ingot::models {
namespace {

TensorView View(const float* data, int64_t rows, int64_t cols) {
  return {.data = const_cast<float*>(data), .dtype = DType::kF32, .shape = {rows, cols}};
}

}  // namespace

int64_t FusedLinear::out_features() const {
  int64_t sum = 0;
  for (const ops::PackedWeight& part : parts) sum += part.out_features();
  return sum;
}

void FusedLinear::Apply(const ops::Context& context, const float* x, int64_t rows, float* y) const {
  const TensorView input = View(x, rows, in_features());
  const float* const biases = bias.empty() ? nullptr : bias.data();
  if (parts.size() == 1) {
    ops::Linear(context, input, parts[0], biases, View(y, rows, out_features()));
    return;
  }
  const int64_t stride = out_features();
  int64_t begin = 0;  // the part's first column of y
  for (const ops::PackedWeight& part : parts) {
    const ops::Scratch::Mark mark(*context.scratch);
    const int64_t width = part.out_features();
    // A single row of y is contiguous; more are written aside and copied.
    float* out = rows == 1 ? y + begin : context.scratch->Take<float>(rows * width);
    ops::Linear(context, input, part, biases ? biases + begin : nullptr, View(out, rows, width));
    if (rows != 1) {
      context.pool->ParallelFor(rows, [&](int64_t row) {
        std::memcpy(y + row * stride + begin, out + row * width, static_cast<size_t>(width) * sizeof(float));
      });
    }
    begin += width;
  }
}

int64_t FusedLinear::ScratchBytes(int64_t rows) const {
  int64_t widest = 0, product = 0;
  for (const ops::PackedWeight& part : parts) {
    widest = std::max(widest, part.out_features());
    product = std::max(product, ops::LinearScratchBytes(rows, part));
  }
  const int64_t aside = parts.size() > 1 ? rows * widest * static_cast<int64_t>(sizeof(float)) + 64 : 0;
  return aside + product;
}

}  // namespace ingot::models
