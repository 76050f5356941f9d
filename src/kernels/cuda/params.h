// What each kernel is given. T: the activations' type, Half or BFloat16 (`void*` here); shapes are beside the pointers.
// Equal ones make equal launches (ops/cuda/graphs.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/sampling.h"

namespace ingot::kernels::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr int kMaxHeadDim = 256;

inline constexpr int kConformanceThreads = 64;
inline constexpr int kConformanceSharedBytes = 2048;
struct ConformanceParams {
  const uint32_t* in;
  uint32_t* out;
  bool operator==(const ConformanceParams&) const = default;
};

// y[m][n] = Σ_k x[m][k] · W[n][k] + bias[n]
struct LinearParams {
  PanelLayout layout;
  const std::byte* packed;  // panels of 16 channels (kernels/gemm.h)
  const void* x;            // T [M, k]
  const int32_t* order;     // [k] input j of the weights is x[order[j]]; null: x[j]
  const float* bias;        // [out_features] or null
  void* y;                  // T or f32 [M, out_features], rows y_stride numbers apart
  int64_t y_stride;
  int64_t rows;  // M
  int64_t out_features;
  const int32_t* row_range;  // null: all rows; else rows [row_range[0], row_range[1]) alone
  bool y_is_float;
  bool operator==(const LinearParams&) const = default;
};
inline constexpr int kLinearWarps = 4;  // that share the inputs of a panel among them
inline constexpr int kLinearRows = 8;   // of x in a block
inline constexpr int kMmaRows = 16;     // of x in a block, with tensor cores
inline constexpr int kMmaSharedBytes = kLinearWarps * kMmaRows * kPanelChannels * 4;
inline constexpr int kLinearSharedBytes = kLinearWarps * kLinearRows * kPanelChannels * 4;

struct EmbedParams {
  PanelLayout layout;
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
