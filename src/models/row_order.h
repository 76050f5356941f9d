// Orders of rows in which checkpoints store Q, K and V. Each function gives, for row i of the order Ingot works with,
// the row of the stored matrix.
#pragma once

#include <cstdint>
#include <vector>

namespace ingot::models {

// GGUF's Llama writes each head so that neighbours (2j, 2j + 1) rotate together. Here pairs are (j, j + rotary_dim /
// 2).
std::vector<int32_t> SplitHalvesRows(int num_heads, int head_dim, int rotary_dim);
// InternLM2's wqkv holds, per KV head, its query heads, its K and its V. Here Q, K and V lie one below the other.
std::vector<int32_t> UngroupedQkvRows(int num_heads, int num_kv_heads, int head_dim);

}  // namespace ingot::models
