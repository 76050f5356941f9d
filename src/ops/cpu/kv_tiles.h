// How blocks of the KV cache look inside on the CPU: [num_layers][num_kv_heads][tiles of keys, then of values];
// kernels/attention.h says what a tile of 32 tokens looks like.
#pragma once

#include "ops/kv_view.h"

namespace ingot::ops {

struct KvTiles {
  int64_t key_bytes, value_bytes;  // of a tile of one KV head and layer
  int64_t layer_bytes;             // of a block
  int64_t open_bytes;              // kI4: an open tile, fp16 keys and values of all KV heads, of one layer

  explicit KvTiles(const KvShape& shape)
      : key_bytes(TileBytes(shape, int64_t{4} * shape.head_dim)),
        value_bytes(TileBytes(shape, ValueGroups(shape.head_dim) * kKvTile * 4)),
        layer_bytes(shape.block_len / kKvTile * (key_bytes + value_bytes) * shape.num_kv_heads),
        open_bytes(shape.format == KvFormat::kI4 ? int64_t{kKvTile} * shape.head_dim * 2 * 2 * shape.num_kv_heads : 0) {
  }

 private:
  static int64_t ValueGroups(int head_dim) { return (head_dim + kernels::kValueGroup - 1) / kernels::kValueGroup; }
  // group_bytes: of kI4's scales and minimums.
  static int64_t TileBytes(const KvShape& shape, int64_t group_bytes) {
    const int64_t count = int64_t{kKvTile} * shape.head_dim;
    switch (shape.format) {
      case KvFormat::kF32:
        return count * 4;
      case KvFormat::kF16:
      case KvFormat::kBF16:
        return count * 2;
      case KvFormat::kI8:
        return count + kKvTile * 4;
      case KvFormat::kI4:
        return count / 2 + group_bytes;
    }
    return 0;
  }
};

}  // namespace ingot::ops
