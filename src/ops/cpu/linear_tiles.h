// Shares products on tiles out to the threads.
#pragma once

#include <span>

#include "base/thread_pool.h"
#include "kernels/gemm_tiles.h"
#include "ops/context.h"

namespace ingot::ops {

// Scratch of MultiplyOnTiles.
int64_t TilesBytes(int64_t max_rows, const kernels::PanelLayout& layout, int threads);

// Products of the same activations, rounded once for all whose layouts want them alike.   x: f32 [M, K]
// `whole`: all of each product, without activations and sums.
void MultiplyOnTiles(ThreadPool& pool, Scratch& scratch, const kernels::GemmKernels& kernels, const float* x,
                     std::span<kernels::TileGemmParams> whole);

}  // namespace ingot::ops
