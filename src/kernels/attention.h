// Attention over the blocked KV cache, and the write into it.
//
// How the cache holds K and V. Tiles are 32 positions of one KV head; scales and minimums are fp16.
//   kF16, kBF16, kF32
//               keys [head_dim][32] (transposed, so that a vector lane is a position), values [32][head_dim].
//   kI8         the same in bytes, x ≈ min + code · scale with a scale and a minimum per position: then scales [32],
//               minimums [32].
//   kI4         codes of 4 bits, positions j and j + 16 in one byte (the first in the low half). Keys [head_dim][16],
//               then scales [head_dim], minimums [head_dim]: a channel of the tile is a group. Values [16][head_dim],
//               then scales [groups][32], minimums [groups][32]: 32 dims of a position (what is left, in the last
//               group) are a group.
// A key's channels differ much and its positions little, so 4 bits suffice only by channel, and only a whole tile can
// be quantized so (KIVI, Liu et al. 2024). Until then, and for all queries of the tile itself, it stays open: in fp16,
// outside of the cache. A query at p therefore reads the tiles before ⌊p / 32⌋ as codes and its own as fp16, however
// the positions came to be computed.
// Quantized formats hold what exceeds ±65504, fp16's largest, as that; a NaN makes its whole group NaN.
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

enum class KvFormat : uint8_t { kF16, kBF16, kF32, kI8, kI4 };  // kF32 serves tests

// Dims of a value that share a scale in kI4; the last group may be smaller.
inline constexpr int kValueGroup = 32;

// One layer of the cache.
struct KvLayer {
  std::byte* data;         // block 0: [num_kv_heads][block_len / 32 tiles of keys, then as many of values]
  int64_t block_stride;    // bytes between blocks
  int64_t key_tile_bytes;  // between tiles
  int64_t value_tile_bytes;
  int block_len;
  int head_dim;
  KvFormat format;
  bool operator==(const KvLayer&) const = default;
};

// kI4: the open tiles of a step in one layer. Each is [num_kv_heads][keys, then values] in kF16. A running sequence
// keeps its last one from step to step in a tail of its own; those that it fills and leaves behind within a step are
// needed for that step only.
struct OpenTiles {
  std::byte* tails;    // [running slots], tail_stride bytes apart
  std::byte* passing;  // [tiles of the step], contiguous
  int64_t tail_stride;
  const int32_t* index;  // [T] where the tile of each token is: >= 0 in passing, else the tail of slot ~index
  bool operator==(const OpenTiles&) const = default;
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
  const int32_t* kv_slots;  // [T]: block · block_len + offset
  KvLayer kv;
  OpenTiles open;  // kI4: K and V go there
};

struct AttentionArgs {
  const float* q;  // [T, num_heads, head_dim], row stride q_stride
  int64_t q_stride;
  float* out;  // [T, num_heads, head_dim]
  int num_heads;
  int heads_per_kv_head;
  const int32_t* positions;     // [T], consecutive within a sequence
  const int32_t* block_tables;  // [num_seqs, block_table_stride]
  int64_t block_table_stride;
  KvLayer kv;
  OpenTiles open;  // kI4
  float scale;
  float softcap;  // 0: none
  int window;     // 0: none
};

// Some tokens of one sequence with some query heads of one KV head: num_tokens · num_heads <= kMaxRows rows, by token,
// then head. With kI4 the tokens lie in one tile of positions.
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
// tile of keys and one of values [2, kKvTile, padded head_dim]; and, where attention is computed on tiles, in bf16: q
// [kMaxRows, dim], a tile of keys [32, dim] and the values of a split [kSplit, dim], where dim is head_dim up to a
// multiple of 32.
inline int64_t AttentionWorkspaceFloats(int head_dim) {
  const int64_t tile_halves = (kMaxRows + 32 + kSplit) * ((static_cast<int64_t>(head_dim) + 31) / 32 * 32);
  return int64_t{kMaxRows} * (kSplit + 16 + 3 * PartialFloats(head_dim)) + 2 * kKvTile * PaddedDim(head_dim) +
         tile_halves / 2;
}

struct AttentionKernels {
  // Head norms, rotary embedding and the write of K and V (kI4: to the open tiles) for tokens [begin, end).
  void (*kv_write)(const KvWriteParams&, int64_t begin, int64_t end);
  // kI4: a tile that is full goes into the cache.   open: keys, then values in kF16
  void (*close_tile)(const std::byte* open, int head_dim, std::byte* keys, std::byte* values);
  // workspace: AttentionWorkspaceFloats, 64-byte aligned.
  void (*attend)(const AttentionArgs&, const AttentionItem&, float* workspace);
  // Merges the partial results of `item` (whose splits are all done) and writes args.out.
  void (*merge)(const AttentionArgs&, const AttentionItem&, float* workspace);
  // attend, with q, keys, values and exponentials rounded to bf16 and multiplied on tiles, 32 dims of a score or
  // positions of a sum at a time; null where there are no tiles. Sums, maximum and exponentials are fp32.
  void (*attend_on_tiles)(const AttentionArgs&, const AttentionItem&, float* workspace);
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
namespace amx {
void AttendOnTiles(const AttentionArgs&, const AttentionItem&, float* workspace);
}
namespace amx_emulated {
void AttendOnTiles(const AttentionArgs&, const AttentionItem&, float* workspace);
}

}  // namespace ingot::kernels
