// How the searches share out their work: each thread takes some output rows and does all for them. Inside, matrices lie
// transposed, [inputs, rows], so that a vector holds one input of many outputs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/backend.h"
#include "ops/matrix_update.h"
#include "quant/round_to_nearest.h"

namespace ingot::quant {

// A block's matrices have to stay in L2: 96 rows of 5632 inputs are 2 MB. A multiple of kernels::kUpdateTile.
inline constexpr int64_t kBlockRows = 96;

inline int64_t NumBlocks(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

struct RowBlock {
  ops::Host alone;  // of the calling thread
  int64_t index, begin, count;
};

// body(const RowBlock&) for blocks of up to kBlockRows of `rows`, in parallel.
template <typename Body>
void ForBlocks(const ops::Host& host, int64_t rows, Body body) {
  host.pool->ParallelFor(NumBlocks(rows), [&](int64_t index) {
    ThreadPool one(1);
    ops::Host alone = host;
    alone.pool = &one;
    const int64_t begin = index * kBlockRows;
    body(RowBlock{alone, index, begin, std::min(kBlockRows, rows - begin)});
  });
}

// to[c][r] = from[r][c].   from: [rows, cols], to: [cols, rows]
inline void Transpose(const float* from, int64_t rows, int64_t cols, float* to) {
  for (int64_t c0 = 0; c0 < cols; c0 += 16) {  // so that lines of `from` are used up while they are in L1
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = c0; c < std::min(cols, c0 + 16); ++c) to[c * rows + r] = from[r * cols + c];
    }
  }
}

// The grids of a group for many rows at once: w ≈ scale · (code - shift) + origin.
class GridLanes {
 public:
  GridLanes(const Format& format, int64_t rows)
      : zero_(format.zero),
        levels_(static_cast<float>((1 << format.bits) - 1)),
        scale_(rows),
        inverse_(rows),
        shift_(rows),
        origin_(rows) {}

  void Set(int64_t row, const Grid& grid) {
    scale_[row] = grid.scale;
    inverse_[row] = grid.scale == 0 ? 0 : 1 / grid.scale;
    shift_[row] = zero_ == Format::Zero::kMin ? 0 : grid.zero;
    origin_[row] = zero_ == Format::Zero::kMin ? grid.zero : 0;
  }
  Grid Get(int64_t row) const { return {scale_[row], zero_ == Format::Zero::kMin ? origin_[row] : shift_[row]}; }

  // code and the error of its value: w + error.   w, code, error: [rows], one input
  void Round(const float* w, float* code, float* error) const {
    const int64_t rows = static_cast<int64_t>(scale_.size());
    for (int64_t r = 0; r < rows; ++r) {
      const float nearest = std::nearbyint((w[r] - origin_[r]) * inverse_[r] + shift_[r]);
      code[r] = std::min(std::max(nearest, 0.0f), levels_);
      error[r] = scale_[r] * (code[r] - shift_[r]) + origin_[r] - w[r];
    }
  }

 private:
  Format::Zero zero_;
  float levels_;
  std::vector<float> scale_, inverse_, shift_, origin_;  // [rows]
};

}  // namespace ingot::quant
