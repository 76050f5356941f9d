// What each kernel is given. T: the activations' type, Half or BFloat16 (`void*` here); shapes are beside the pointers.
// Equal ones make equal launches (ops/cuda/graphs.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/cuda/weight_tiles.h"
#include "kernels/elementwise.h"
#include "kernels/sampling.h"

namespace ingot::kernels::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr int kMaxHeadDim = 256;

inline constexpr int kConformanceThreads = 64;
inline constexpr int kConformanceSharedBytes = 2048;
enum class Primitives : uint8_t { kWarp, kCopies, kMatrices, kMma, kNumbers };
struct ConformanceParams {
  const uint32_t* in;
  uint32_t* out;
  Primitives primitives;
  bool operator==(const ConformanceParams&) const = default;
};

// y[m][n] = Σ_k x[m][k] · W[n][k] + bias[n], of one matrix, or of an expert's for each z of the grid (gemm.h).
enum class OutputType : uint8_t { kFloat, kHalf, kBFloat16 };
inline constexpr int kExpertsOfLaunch = 64;
struct GemmParams {
  WeightTiles tiles;
  const std::byte* packed[kExpertsOfLaunch];  // panels of 16 channels
  const float* bias[kExpertsOfLaunch];        // [out_features] or null
  int64_t order_offset;     // bytes from `packed` to i32 [k]: input j of the weights is x[order[j]]; 0: x[j]
  const void* x;            // T [rows - first_row, k], or int8: rows of x_row_bytes
  const float* row_scales;  // [rows - first_row] of int8 rows
  int64_t x_row_bytes;
  void* y;  // [M, out_features], rows y_stride numbers apart
  int64_t y_stride;
  int64_t first_row, rows;  // those of [first_row, rows) are multiplied, of M
  int64_t out_features;
  const int32_t* expert_begin;  // rows of expert z are [expert_begin[z], expert_begin[z + 1]); null: all rows
  void* partial;                // f32 or i32 [splits, M, partial_stride] (spread)
  int64_t partial_stride;
  uint32_t* counters;   // [tiles of y] zeros (spread)
  int32_t split_tiles;  // tiles of the inputs in a split
  OutputType y_type;
  bool spread;       // z of the grid is a split, not an expert
  bool x_in_pieces;  // rows of x are aligned pieces of 16 bytes, and in order
  bool y_in_pairs;   // y and its rows are aligned to two numbers of 16 bits
  bool operator==(const GemmParams&) const = default;
};

// The tile of y that a block does: kWarpsOfRows x kWarpsOfPanels warps, each kRowTiles times 16 rows and kPanels
// panels.
template <int kStages_, int kWarpsOfRows_, int kWarpsOfPanels_, int kRowTiles_, int kPanels_>
struct GemmShape {
  static constexpr int kStages = kStages_, kWarpsOfRows = kWarpsOfRows_, kWarpsOfPanels = kWarpsOfPanels_;
  static constexpr int kRowTiles = kRowTiles_, kPanels = kPanels_;
  static constexpr int kRows = kWarpsOfRows * kRowTiles * 16, kBlockPanels = kWarpsOfPanels * kPanels;
  static constexpr int kThreads = kWarpsOfRows * kWarpsOfPanels * kWarpSize;
  static constexpr int kGroupBytes = 4 * 8 * 2 * 4;  // of a panel and a tile at most: groups of 16 inputs, two words
  template <TileKind kKind>
  static constexpr int kStageBytes =
      kRows * kTileRowBytes + kBlockPanels * (VectorsOf(kKind) * kVectorBytes + (HasGroups(kKind) ? kGroupBytes : 0));
  template <TileKind kKind>
  static constexpr int kSharedBytes = kStages * kStageBytes<kKind> + 16;
};
// For up to 16 rows, and for more: weights of fewer bits leave room for more channels, which share the rows of x. As
// many stages as fit twice (few rows), or at all, into the 99 KiB of sm_86 and sm_89.
template <TileKind kKind>
using FewRowsShape = GemmShape<VectorsOf(kKind) == 1   ? 8
                               : VectorsOf(kKind) == 2 ? 6
                                                       : 4,
                               1, 4, 1, 1>;
template <TileKind kKind>
struct ManyRows {
  using Shape = GemmShape<3, 2, 4, 4, 2>;
};
template <>
struct ManyRows<TileKind::kInt4> {
  using Shape = GemmShape<4, 1, 8, 4, 2>;
};
template <>
struct ManyRows<TileKind::kInt8> {
  using Shape = GemmShape<3, 1, 8, 4, 2>;
};
template <TileKind kKind>
using ManyRowsShape = typename ManyRows<kKind>::Shape;

inline constexpr int kFloatWarps = 4;  // that share the inputs of a panel among them
inline constexpr int kFloatRows = 8;   // of x in a block
inline constexpr int kFloatSharedBytes = kFloatWarps * kFloatRows * kPanelChannels * 4;

struct EmbedParams {
  WeightTiles tiles;
  const std::byte* packed;
  const int32_t* ids;    // [T] an id, or ~slot
  const int32_t* drawn;  // [slots]
  float scale;
  float* y;  // [T, k]
  bool operator==(const EmbedParams&) const = default;
};

struct NormParams {
  const void* x;        // T or f32 [rows, n]
  float* residual;      // [rows, n]: x is added to it and the sum is normalized; null: x itself is
  const float* weight;  // [n]
  void* y;              // T [rows, n]
  int64_t n;
  float eps;
  bool operator==(const NormParams&) const = default;
};
inline constexpr int kNormThreads = 256;
inline constexpr int kNormSharedBytes = kNormThreads / kWarpSize * 4;

// x[m][k] ≈ scales[m] · y[m][k]
struct QuantizeRowsParams {
  const void* x;  // T [rows, k]
  int8_t* y;      // [rows, y_stride], zeros from k on
  float* scales;  // [rows]
  int64_t k, y_stride;
  bool x_is_bfloat16;
  bool operator==(const QuantizeRowsParams&) const = default;
};

// Elementwise over `count` numbers.
struct AddParams {
  const void* x;  // T
  float* y;       // y += x
  int64_t count;
  bool operator==(const AddParams&) const = default;
};
struct ActivateParams {
  const void* gate_up;  // T [rows, 2 · n]
  void* y;              // T [rows, n]
  int64_t n, count;     // count = rows · n
  Activation activation;
  bool operator==(const ActivateParams&) const = default;
};
struct SoftcapParams {
  float* x;
  int64_t count;
  float cap;
  bool operator==(const SoftcapParams&) const = default;
};
// y[i] = x[rows[i]], in units of 16 bits
struct GatherParams {
  const uint16_t* x;
  const int32_t* rows;
  uint16_t* y;
  int64_t n;  // units of a row
  bool operator==(const GatherParams&) const = default;
};
inline constexpr int kRowThreads = 256;

struct RopeAnglesParams {
  const int32_t* positions;  // [T]
  const double* inv_freq;    // [half]
  double factor;
  float *cos, *sin;     // [T, half]
  int64_t half, count;  // count = T · half
  bool operator==(const RopeAnglesParams&) const = default;
};

// One layer of the cache on the device; kernels/attention.h has the tiles.
struct WriteKvParams {
  void* qkv;                     // T [tokens, (num_heads + 2 · num_kv_heads) · head_dim]
  const float *cos, *sin;        // [tokens, rotary_dim / 2]
  const float *q_norm, *k_norm;  // [head_dim] or null
  const int32_t* kv_slots;       // [tokens] negative: a token that only fills up the batch
  KvLayer kv;
  OpenTiles open;
  int num_heads, num_kv_heads, rotary_dim;
  float norm_eps;
  bool operator==(const WriteKvParams&) const = default;
};
inline constexpr int kWriteKvSharedBytes = kMaxHeadDim * 4;
struct CarryTilesParams {
  OpenTiles open;
  const int32_t* carried;  // [n, 2] slot, passing tile
  int64_t open_bytes;      // of a tile, all KV heads
  bool operator==(const CarryTilesParams&) const = default;
};
struct CloseTilesParams {
  OpenTiles open;
  KvLayer kv;
  const int32_t* closing;   // [n] tokens at the last position of a tile, or -1
  const int32_t* kv_slots;  // [tokens]
  int num_kv_heads;
  bool operator==(const CloseTilesParams&) const = default;
};

// Some tokens of one sequence, or none. With kI4 they lie in one tile of positions.
struct QueryTile {
  int32_t seq, first_token, num_tokens;
};
struct AttendParams {
  const void* qkv;  // T, rows q_stride numbers apart
  int64_t q_stride;
  void* out;  // T [tokens, num_heads, head_dim]
  const QueryTile* tiles;
  int tile_tokens, tile_heads;  // the most tokens of a tile, and the most heads of a KV head that a block does
  const int32_t* positions;     // [tokens]
  const int32_t* block_tables;  // [num_seqs, block_table_stride]
  int64_t block_table_stride;
  KvLayer kv;
  OpenTiles open;
  float* partial;  // [tiles, tile_tokens, num_heads, num_splits, head_dim + 2]: sums of values, then m and l; or null
  int num_heads, heads_per_kv_head, num_splits;
  float scale, softcap;
  int window;
  bool operator==(const AttendParams&) const = default;
};
// A block does 16 rows for each of its warps, so many of them that its shared memory fits (99 KiB on sm_86 and sm_89).
template <int kDim>
inline constexpr int kAttendWarps = kDim <= 128 ? 4 : 2;
template <int kDim, int kWarps = 1>
inline constexpr int kAttendSplitSharedBytes =
    kKvTile * kDim * 2 + (kDim * (kKvTile + 8) + kWarps * 16 * (kDim + 8)) * 2 + kKvTile * 4;
template <int kDim>
inline constexpr int kAttendSharedBytes =
    kAttendSplitSharedBytes<kDim, kAttendWarps<kDim>> + (kDim / 2 + 4) * kAttendWarps<kDim> * kWarpSize * 4;

struct RouteParams {
  const float* logits;  // [T, experts]
  int32_t* ids;         // [T, k]
  float* weights;       // [T, k]
  int64_t tokens;
  int experts, k;
  bool normalize;
  bool operator==(const RouteParams&) const = default;
};
struct SortExpertsParams {
  const int32_t* ids;     // [T, k]
  int32_t* row_of;        // [T, k]
  int32_t* token_of;      // [T · k]
  int32_t* expert_begin;  // [experts + 1]
  int32_t rows;           // T · k
  int experts, k;
  bool operator==(const SortExpertsParams&) const = default;
};
inline constexpr int kMaxExperts = 1023;  // and one place more for the end of the last one's rows
inline constexpr int kSortSharedBytes = (kMaxExperts + 1) * 4;
struct CombineExpertsParams {
  const void* x;          // T [R, n]
  const int32_t* row_of;  // [T, k]
  const float* weights;   // [T, k]
  void* y;                // T [T, n]
  int64_t n, count;       // count = T · n
  int k;
  bool operator==(const CombineExpertsParams&) const = default;
};

struct DrawParams {
  float* logits;        // [rows of logits, vocab_size]
  const DrawRow* rows;  // [R]
  LogitEdit* edits;
  int32_t* drawn_tokens;  // [slots]
  DrawResult* results;    // [R]
  int64_t vocab_size;     // <= kMaxSumBlocks · kSumBlock
  bool operator==(const DrawParams&) const = default;
};
inline constexpr int kDrawThreads = 512;
inline constexpr int kDrawWindow = 512;  // candidates that are sorted at a time
inline constexpr int kMaxSumBlocks = 1024;
inline constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
inline constexpr int kDrawSharedBytes =
    (kDrawWindow + kSumBlock + kMaxSumBlocks + kDrawThreads / kWarpSize) * 8 + kDigits * 4 + 64;

}  // namespace ingot::kernels::cuda
