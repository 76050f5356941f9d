// Weights as CUDA devices hold them (kernels/cuda/weight_tiles.h).
#pragma once

#include "base/thread_pool.h"
#include "kernels/cuda/weight_tiles.h"
#include "ops/linear.h"

namespace ingot::ops {

struct TilePackedLayout : PackedWeight::Layout {
  kernels::cuda::WeightTiles tiles{};
  int64_t order_offset = 0;  // i32 [in_features] behind the panels: input j of the tiles is x[order[j]]; 0: x[j]
};
inline const TilePackedLayout& TileLayoutOf(const PackedWeight& weight) {
  return static_cast<const TilePackedLayout&>(*weight.layout());
}

struct TileOptions {
  DType activation_dtype = DType::kF16;
  bool int8_products = false;  // kInt8Products for weights of int8 with one scale for each channel
};

// As the weights of a file are held: 2 to 4 bits in 4, 5 to 8 in 8, numbers of 16 bits as activations are.
Format TileFormat(const Format& source, const TileOptions& options);
// Of panels alone.
int64_t TileBytes(const Format& source, const TileOptions& options, int64_t out_features, int64_t in_features);
// A packed weight but for its data.
PackedWeight::Parts TileParts(const WeightSource& source, const TileOptions& options);
// out: zeros, as many bytes as TileParts says.
void PackTiles(ThreadPool& pool, const WeightSource& source, const TilePackedLayout& layout, std::byte* out);

}  // namespace ingot::ops
