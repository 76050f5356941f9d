// The grids of GGML's I-quants: which sizes 4 or 8 neighbouring weights have together. ggml_tables.cc is generated.
#pragma once

#include <cstdint>

namespace ingot {

// An entry holds 8 indices of 2 bits into the sizes of a codebook, the first lowest.
extern const uint16_t kIq1Grid[2048];
extern const uint16_t kIq2XxsGrid[256], kIq2XsGrid[512], kIq2SGrid[1024];
// Four indices of 3 bits.
extern const uint16_t kIq3XxsGrid[256], kIq3SGrid[512];

}  // namespace ingot
