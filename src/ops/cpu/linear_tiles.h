// Shares products on tiles out to the threads.
#pragma once

#include "base/thread_pool.h"
#include "kernels/gemm_tiles.h"
#include "ops/context.h"

namespace ingot::ops {

// Scratch of MultiplyOnTiles; 0 for weights that are multiplied otherwise.
int64_t TilesBytes(int64_t max_rows, const kernels::PanelLayout& layout, int threads);
// x: f32 [M, K]. `whole`: all of the product, without activations and sums.
void MultiplyOnTiles(ThreadPool& pool, Scratch& scratch, const kernels::GemmKernels& kernels, const float* x,
                     const kernels::TileGemmParams& whole);

}  // namespace ingot::ops
