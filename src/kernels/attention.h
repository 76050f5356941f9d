// Attention over the blocked KV cache, and the write into it.
//
// A query (token, head) at position p sees the positions [max(0, p - window + 1), p]. They are cut at multiples of
// kSplit; within a split the order of operations is fixed by position alone: scores are sums over head_dim in order,
// then maximum, exponentials, and a sum over positions in order. Splits are merged in ascending order. So the bits of a
// query depend on its q, its position and the cache, and on nothing else. Positions it does not see are selected away,
// never multiplied by zero: what lies there may be NaN.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot::kernels {

inline constexpr int kKvTile = 32;   // positions whose keys lie transposed together; block_len is a multiple
inline constexpr int kSplit = 512;   // positions of a split
inline constexpr int kMaxRows = 48;  // (token, head) rows of an item: scores of 48 · 512 floats stay in L2

// One layer of the cache. A block holds, per KV head, a plane of keys [block_len / 32][head_dim][32] (transposed in
// tiles, so that a lane is a position) and a plane of values [block_len][head_dim].
struct KvLayer {
  std::byte* data;       // block 0: [num_kv_heads][K, then V][plane_bytes]
  int64_t block_stride;  // bytes between blocks
  int64_t plane_bytes;
  int block_len;
  int head_dim;
  bool is_f16;  // else f32
};

struct KvWriteParams {
  float* q;        // [T, num_heads, head_dim], row stride `stride`; normalized and rotated in place
  float* k;        // [T, num_kv_heads, head_dim], alike
  const float* v;  // [T, num_kv_heads, head_dim]
  int64_t stride;  // floats between tokens
  int num_heads;
  int num_kv_heads;
  const float* cos;     // [T, rotary_dim / 2]; pairs are (i, i + rotary_dim / 2)
  const float* sin;     // [T, rotary_dim / 2]
  int rotary_dim;       // <= head_dim
  const float* q_norm;  // [head_dim] or null
  const float* k_norm;  // [head_dim] or null
  float norm_eps;
  const int32_t* slots;  // [T]: block · block_len + offset
  KvLayer kv;
};

struct AttentionArgs {
  const float* q;  // [T, num_heads, head_dim], row stride q_stride
  int64_t q_stride;
  float* out;  // [T, num_heads, head_dim]
  int num_heads;
  int group;                    // query heads per KV head
  const int32_t* positions;     // [T], consecutive within a sequence
  const int32_t* block_tables;  // [num_seqs, block_table_stride]
  int64_t block_table_stride;
  KvLayer kv;
  float scale;
  float softcap;  // 0: none
  int window;     // 0: none
};

// Some tokens of one sequence with some query heads of one KV head: num_tokens · num_heads <= kMaxRows rows, by token,
// then head.
struct AttentionItem {
  int32_t seq;
  int32_t kv_head;
  int32_t head_begin, num_heads;
  int32_t token_begin, num_tokens;
  int32_t split_begin, split_end;
  // null: the item covers all splits of its tokens and writes args.out. Else partial results, one PartialFloats() per
  // (split, row) from split_begin on.
  float* partial;
};

// m, l and the unnormalized sum of values, padded so that rows stay aligned.
inline int64_t PaddedDim(int head_dim) { return (static_cast<int64_t>(head_dim) + 15) / 16 * 16; }
inline int64_t PartialFloats(int head_dim) { return PaddedDim(head_dim) + 16; }
// Per thread: scores [kMaxRows, kSplit + 16]; q, sum of the split and sum of all splits [3, kMaxRows, PartialFloats]; a
// tile of keys and one of values [2, kKvTile, padded head_dim].
inline int64_t AttentionWorkspaceFloats(int head_dim) {
  return int64_t{kMaxRows} * (kSplit + 16 + 3 * PartialFloats(head_dim)) + 2 * kKvTile * PaddedDim(head_dim);
}

struct AttentionKernels {
  // Head norms, rotary embedding and the write of K and V for tokens [begin, end).
  void (*kv_write)(const KvWriteParams&, int64_t begin, int64_t end);
  // workspace: AttentionWorkspaceFloats, 64-byte aligned.
  void (*attend)(const AttentionArgs&, const AttentionItem&, float* workspace);
  // Merges the partial results of `item` (whose splits are all done) and writes args.out.
  void (*merge)(const AttentionArgs&, const AttentionItem&, float* workspace);
};

namespace reference {
extern const AttentionKernels kAttention;
}
namespace avx2 {
extern const AttentionKernels kAttention;
}
namespace avx2vnni {
extern const AttentionKernels kAttention;
}
namespace avx512 {
extern const AttentionKernels kAttention;
}

}  // namespace ingot::kernels
