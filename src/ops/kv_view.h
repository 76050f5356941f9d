// The blocked KV cache as kernels see it. Blocks are numbered; a sequence's table says which block holds its tokens
// [i · block_len, (i + 1) · block_len). A slot is block · block_len + offset.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot::ops {

enum class KvFormat : uint8_t { kF16, kF32 };  // kF32 serves tests; int8 and int4 join here

// One block holds all layers: [num_layers][num_kv_heads][K then V][plane]. A plane of values is [block_len][head_dim];
// one of keys [block_len / 32][head_dim][32], transposed in tiles, so that for kernels a vector lane is a position.
struct KvLayout {
  KvFormat format = KvFormat::kF16;
  int num_layers = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int block_len = 64;  // tokens; a multiple of 32

  int64_t element_bytes() const { return format == KvFormat::kF16 ? 2 : 4; }
  int64_t plane_bytes() const {
    return int64_t{block_len} * head_dim * element_bytes();
  }  // K or V of one head, one layer
  int64_t block_bytes() const { return 2 * plane_bytes() * num_kv_heads * num_layers; }
  int64_t bytes_per_token() const { return block_bytes() / block_len; }
};

struct KvView {
  KvLayout layout;
  std::byte* data = nullptr;  // [num_blocks][layout.block_bytes()]
  int32_t num_blocks = 0;
};

}  // namespace ingot::ops
