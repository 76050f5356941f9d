// The blocked KV cache. Blocks are numbered; a sequence's table says which block holds its tokens
// [i · block_len, (i + 1) · block_len). A slot is block · block_len + offset. What a block looks like inside is the
// backend's business.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention.h"

namespace ingot::ops {

using kernels::kKvTile;   // 32 tokens; what a kI4 cache holds, shares and is rewound to ends on multiples of it
using kernels::KvFormat;  // kF16, kBF16, kF32 (for tests), kI8, kI4

// What the layers of a group have in common: their attention, and the blocks that hold their K and V.
struct KvShape {
  KvFormat format = KvFormat::kF16;
  int num_layers = 0;
  int num_heads = 0;  // of queries
  int num_kv_heads = 0;
  int head_dim = 0;
  int window = 0;      // a query at p sees (p - window, p]; 0: all of [0, p]
  int block_len = 64;  // tokens; a multiple of 32
  bool operator==(const KvShape&) const = default;
};

// As Backend::LayoutOf gives it. In a group of states a block is [num_layers] states, 64-byte aligned.
struct KvLayout : KvShape {
  int64_t block_bytes = 0;  // of all layers
  // kI4: a running sequence keeps the tokens of its last, open tile of 32 in 16 bits beside the blocks.
  int64_t tail_bytes = 0;  // of all layers
};

// The CPU's layout; what a token takes on other devices is nearly the same.
KvLayout CpuKvLayout(const KvShape& shape);

struct KvView {
  KvLayout layout;
  std::byte* data = nullptr;  // [num_blocks][block_bytes]
  int32_t num_blocks = 0;
  std::byte* tails = nullptr;  // kI4: [num_tails][tail_bytes]
  int32_t num_tails = 0;
};

}  // namespace ingot::ops
