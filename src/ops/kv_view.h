// The blocked KV cache as kernels see it. Blocks are numbered; a sequence's table says which block holds its tokens
// [i · block_len, (i + 1) · block_len). A slot is block · block_len + offset.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention.h"

namespace ingot::ops {

using kernels::kKvTile;   // 32 tokens; what a kI4 cache holds, shares and is rewound to ends on multiples of it
using kernels::KvFormat;  // kF16, kBF16, kF32 (for tests), kI8, kI4

// One block holds all layers: [num_layers][num_kv_heads][tiles of keys, then of values]; kernels/attention.h says what
// a tile of 32 tokens looks like.
struct KvLayout {
  KvFormat format = KvFormat::kF16;
  int num_layers = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int block_len = 64;  // tokens; a multiple of 32

  // Of one KV head and layer.
  int64_t key_tile_bytes() const { return TileBytes(int64_t{4} * head_dim); }
  int64_t value_tile_bytes() const {
    return TileBytes((int64_t{head_dim} + kernels::kValueGroup - 1) / kernels::kValueGroup * kernels::kKvTile * 4);
  }
  int64_t layer_bytes() const {  // of one block
    return block_len / kernels::kKvTile * (key_tile_bytes() + value_tile_bytes()) * num_kv_heads;
  }
  int64_t block_bytes() const { return layer_bytes() * num_layers; }
  int64_t bytes_per_token() const { return block_bytes() / block_len; }

  // kI4: an open tile, fp16 keys and values of all KV heads, of one layer; and a running sequence's, of all layers.
  int64_t open_tile_bytes() const { return int64_t{kernels::kKvTile} * head_dim * 2 * 2 * num_kv_heads; }
  int64_t tail_bytes() const { return format == KvFormat::kI4 ? open_tile_bytes() * num_layers : 0; }

 private:
  // group_bytes: of kI4's scales and minimums.
  int64_t TileBytes(int64_t group_bytes) const {
    const int64_t count = int64_t{kernels::kKvTile} * head_dim;
    switch (format) {
      case KvFormat::kF32:
        return count * 4;
      case KvFormat::kF16:
      case KvFormat::kBF16:
        return count * 2;
      case KvFormat::kI8:
        return count + kernels::kKvTile * 4;
      case KvFormat::kI4:
        return count / 2 + group_bytes;
    }
    return 0;
  }
};

struct KvView {
  KvLayout layout;
  std::byte* data = nullptr;  // [num_blocks][layout.block_bytes()]
  int32_t num_blocks = 0;
  std::byte* tails = nullptr;  // kI4: [num_tails][layout.tail_bytes()], [num_layers][open tile] each
  int32_t num_tails = 0;
};

}  // namespace ingot::ops
