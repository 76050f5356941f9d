// Softmax attention over the paged cache. Positions are cut at multiples of kSplit; within a split the tiles of 32
// positions follow one another, and splits are merged in ascending order: so the bits of a row depend on its q, its
// position and the cache, and not on whether its splits were computed by one block or by several.
#pragma once

#include "kernels/cuda/kv_tiles.h"
#include "kernels/cuda/rows.h"

namespace ingot::kernels::cuda {

inline constexpr int kLaneDims = kMaxHeadDim / kWarpSize;  // dims lane, lane + 32, … are a lane's

// A row's running softmax, the same m and l in all lanes: Σ e^(s - m) · v, and l = Σ e^(s - m).
struct Softmax {
  float o[kLaneDims] = {};
  float m = -kInfinity, l = 0;
};

// A (token, head), done by a warp.
struct AttendRow {
  int64_t token;
  int head, position;
  const float* q;        // [head_dim], times scale · log2(e) without a softcap, times scale with one; shared memory
  float* probabilities;  // [32] shared memory
};

INGOT_DEVICE float ScoreOf(const AttendParams& p, float product) {
  return p.softcap > 0 ? p.softcap * kLog2E * Tanh(Divide(product, p.softcap)) : product;
}

// Adds the positions [begin, end) of a tile, which begins at position `first`.
template <KvFormat kFormat>
INGOT_DEVICE void AttendTile(const AttendParams& p, const AttendRow& row, KvTile tile, int first, Softmax* sum) {
  const int dim = p.kv.head_dim;
  const int begin = Maximum(0, p.window > 0 ? row.position - p.window + 1 - first : 0);
  const int end = Minimum(kKvTile, row.position + 1 - first);
  float score = -kInfinity;
  if (Lane() >= begin && Lane() < end) {
    float product = 0;
    for (int d = 0; d < dim; ++d) product = Fma(row.q[d], KeyAt<kFormat>(tile.keys, Lane(), d, dim), product);
    score = ScoreOf(p, product);
  }
  const float m = Maximum(sum->m, WarpMaximum(score));
  // A row of NaN has no maximum: its scores stay NaN.
  const float probability = Lane() >= begin && Lane() < end ? Exp2(score - m) : 0;
  const float factor = sum->m == -kInfinity ? 0 : Exp2(sum->m - m);
  row.probabilities[Lane()] = probability;
  SyncWarp();
  sum->m = m;
  sum->l = Fma(sum->l, factor, WarpSum(probability));
  INGOT_UNROLL
  for (int i = 0; i < kLaneDims; ++i) {
    const int d = i * kWarpSize + Lane();
    if (d >= dim) break;
    float o = sum->o[i] * factor;
    for (int j = begin; j < end; ++j) o = Fma(row.probabilities[j], ValueAt<kFormat>(tile.values, j, d, dim), o);
    sum->o[i] = o;
  }
  SyncWarp();
}

INGOT_DEVICE int FirstPosition(const AttendParams& p, int position) {
  return p.window > 0 ? Maximum(0, position - p.window + 1) : 0;
}

// The positions of one split that the row sees.
template <KvFormat kFormat>
INGOT_DEVICE Softmax AttendSplit(const AttendParams& p, const AttendRow& row, int split) {
  Softmax sum;
  const int kv_head = row.head / p.group;
  const int begin = Maximum(split * kSplit, FirstPosition(p, row.position) / kKvTile * kKvTile);
  const int end = Minimum((split + 1) * kSplit, row.position + 1);
  const int32_t* const table = p.block_tables + p.seq_of[row.token] * p.block_table_stride;
  for (int first = begin; first < end; first += kKvTile) {
    if (kFormat == KvFormat::kI4 && first == row.position / kKvTile * kKvTile) {
      const KvTile own = OpenTile(p.open, {row.token, p.num_heads / p.group, kv_head, p.kv.head_dim});
      AttendTile<KvFormat::kF16>(p, row, own, first, &sum);
    } else {
      const int64_t slot = int64_t{table[first / p.kv.block_len]} * p.kv.block_len + first % p.kv.block_len;
      AttendTile<kFormat>(p, row, CacheTile(p.kv, slot, kv_head), first, &sum);
    }
  }
  return sum;
}

INGOT_DEVICE void MergeInto(Softmax* total, const Softmax& part) {
  const float m = Maximum(total->m, part.m);
  const float a = total->m == -kInfinity ? 0 : Exp2(total->m - m), b = Exp2(part.m - m);
  total->m = m;
  total->l = Fma(total->l, a, part.l * b);
  INGOT_UNROLL
  for (int i = 0; i < kLaneDims; ++i) total->o[i] = Fma(total->o[i], a, part.o[i] * b);
}

template <typename T>
INGOT_DEVICE void WriteOut(const AttendParams& p, const AttendRow& row, const Softmax& sum) {
  T* const out = static_cast<T*>(p.out) + (row.token * p.num_heads + row.head) * p.kv.head_dim;
  const float inverse = Divide(1, sum.l);
  INGOT_UNROLL
  for (int i = 0; i < kLaneDims; ++i) {
    const int d = i * kWarpSize + Lane();
    if (d < p.kv.head_dim) out[d] = FromFloat<T>(sum.o[i] * inverse);
  }
}

INGOT_DEVICE float* PartialOf(const AttendParams& p, const AttendRow& row, int split) {
  return p.partial + ((row.token * p.num_heads + row.head) * p.num_splits + split) * (p.kv.head_dim + 2);
}

INGOT_DEVICE void StorePartial(const AttendParams& p, const Softmax& sum, float* partial) {
  const int dim = p.kv.head_dim;
  INGOT_UNROLL
  for (int i = 0; i < kLaneDims; ++i) {
    const int d = i * kWarpSize + Lane();
    if (d < dim) partial[d] = sum.o[i];
  }
  if (Lane() == 0) {
    partial[dim] = sum.m;
    partial[dim + 1] = sum.l;
  }
}
INGOT_DEVICE Softmax LoadPartial(const AttendParams& p, const float* partial) {
  Softmax sum;
  const int dim = p.kv.head_dim;
  INGOT_UNROLL
  for (int i = 0; i < kLaneDims; ++i) {
    const int d = i * kWarpSize + Lane();
    if (d < dim) sum.o[i] = partial[d];
  }
  sum.m = partial[dim];
  sum.l = partial[dim + 1];
  return sum;
}

// grid: (1, or num_splits with partial results; num_heads; tokens), threads: one warp, shared memory:
// kAttendSharedBytes
template <typename T, KvFormat kFormat>
INGOT_DEVICE void Attend(const AttendParams& p) {
  SharedMemory shared;
  float* const q = shared.Take<float>(kMaxHeadDim);
  float* const probabilities = shared.Take<float>(kWarpSize);
  const int64_t token = BlockIndex().z;
  const int head = static_cast<int>(BlockIndex().y), position = p.positions[token], dim = p.kv.head_dim;
  const int first_split = FirstPosition(p, position) / kSplit, last_split = position / kSplit;
  const auto split = static_cast<int>(BlockIndex().x);
  if (p.partial != nullptr && (split < first_split || split > last_split)) return;
  const float factor = p.softcap > 0 ? p.scale : p.scale * kLog2E;
  const T* const from = static_cast<const T*>(p.qkv) + token * p.q_stride + head * dim;
  for (int d = Lane(); d < dim; d += kWarpSize) q[d] = ToFloat(from[d]) * factor;
  SyncWarp();
  const AttendRow row{token, head, position, q, probabilities};
  if (p.partial != nullptr) {
    StorePartial(p, AttendSplit<kFormat>(p, row, split), PartialOf(p, row, split));
    return;
  }
  Softmax total = AttendSplit<kFormat>(p, row, first_split);
  for (int s = first_split + 1; s <= last_split; ++s) MergeInto(&total, AttendSplit<kFormat>(p, row, s));
  WriteOut<T>(p, row, total);
}

// After Attend with partial results.   grid: (num_heads, tokens), threads: one warp
template <typename T>
INGOT_DEVICE void MergeSplits(const AttendParams& p) {
  const int64_t token = BlockIndex().y;
  const int position = p.positions[token];
  const AttendRow row{token, static_cast<int>(BlockIndex().x), position, nullptr, nullptr};
  const int first_split = FirstPosition(p, position) / kSplit;
  Softmax total = LoadPartial(p, PartialOf(p, row, first_split));
  for (int s = first_split + 1; s <= position / kSplit; ++s) MergeInto(&total, LoadPartial(p, PartialOf(p, row, s)));
  WriteOut<T>(p, row, total);
}

}  // namespace ingot::kernels::cuda
