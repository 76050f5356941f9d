// Softmax attention over the paged cache on tensor cores. A block does the rows of a QueryTile: tokens of a sequence
// times query heads of one KV head, so that each tile of 32 positions of K and of V is read once for all of them. Tiles
// are copied as they lie in the cache, become numbers of the activations' type in shared memory, and are multiplied
// there; the next one is copied meanwhile. A row's softmax runs along (FlashAttention-2, Dao 2023).
//
// The bits of a row depend on its q, its position and the cache alone: within a split of kSplit positions tiles follow
// one another, splits are merged in ascending order, whether one block or several computed them; tiles that a row does
// not see add zeros to it.
#pragma once

#include "kernels/cuda/kv_tiles.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/rows.h"

namespace ingot::kernels::cuda {

INGOT_DEVICE int FirstPosition(const AttendParams& p, int position) {
  return p.window > 0 ? Maximum(0, position - p.window + 1) : 0;
}

// The block's rows: row r is token r / heads of the tile, and head `head + r % heads`.
struct QueryRows {
  QueryTile tile;
  int kv_head, head, heads;
  int last_position;

  INGOT_DEVICE int count() const { return tile.num_tokens * heads; }
  INGOT_DEVICE int64_t TokenOf(int row) const { return tile.first_token + row / heads; }
  INGOT_DEVICE int HeadOf(int row) const { return head + row % heads; }
};

INGOT_DEVICE QueryRows QueryRowsOf(const AttendParams& p) {
  const int pieces =
      (p.heads_per_kv_head + p.tile_heads - 1) / p.tile_heads;  // that the heads of a KV head are cut into
  const auto y = static_cast<int>(BlockIndex().y);
  const int begin = y % pieces * p.tile_heads;
  const QueryTile tile = p.tiles[BlockIndex().x];
  return {tile, y / pieces, y / pieces * p.heads_per_kv_head + begin,
          Minimum(p.tile_heads, p.heads_per_kv_head - begin), p.positions[tile.first_token + tile.num_tokens - 1]};
}

// A block's shared memory.
template <typename T, int kDim, int kWarps>
struct AttendShared {
  static constexpr int kKeyStride = kKvTile + 8, kRowStride = kDim + 8;  // such that ldmatrix has no bank conflicts
  std::byte* raw;                                                        // keys or values as they lie in the cache
  T* numbers;     // keys [kDim][kKeyStride], or values [kKvTile][kRowStride]
  T* q;           // [kWarps · 16][kRowStride]
  uint32_t* bad;  // [kKvTile] numbers of values that are not finite

  INGOT_DEVICE explicit AttendShared(SharedMemory* shared INGOT_HERE)
      : raw(shared->Take<std::byte>(kKvTile * kDim * 2, 16 INGOT_PASS_HERE)),
        numbers(shared->Take<T>(kDim * kKeyStride, 16 INGOT_PASS_HERE)),
        q(shared->Take<T>(kWarps * 16 * kRowStride, 16 INGOT_PASS_HERE)),
        bad(shared->Take<uint32_t>(kKvTile, 16 INGOT_PASS_HERE)) {}
};

// Where the tile of positions from `first` on lies, and how.
struct TilePlace {
  KvTile tile;
  KvFormat format;
  int64_t key_bytes, value_bytes;
};
INGOT_DEVICE TilePlace PlaceOf(const AttendParams& p, const QueryRows& rows, int first) {
  if (p.kv.format == KvFormat::kI4 && first == rows.last_position / kKvTile * kKvTile) {  // all rows' own
    const int64_t bytes = int64_t{kKvTile} * p.kv.head_dim * 2;
    return {OpenTile(p.open, {rows.tile.first_token, p.num_heads / p.heads_per_kv_head, rows.kv_head, p.kv.head_dim}),
            KvFormat::kF16, bytes, bytes};
  }
  const int32_t block = p.block_tables[rows.tile.seq * p.block_table_stride + first / p.kv.block_len];
  const int64_t slot = int64_t{block} * p.kv.block_len + first % p.kv.block_len;
  return {CacheTile(p.kv, slot, rows.kv_head), p.kv.format, p.kv.key_tile_bytes, p.kv.value_tile_bytes};
}

// By the whole block.
template <int kBytes>
INGOT_DEVICE void CopyPieces(std::byte* to, const std::byte* from, int64_t bytes INGOT_HERE) {
  const int64_t step = int64_t{kBytes} * BlockSize().x;
  for (int64_t at = int64_t{kBytes} * ThreadIndex().x; at < bytes; at += step) {
    CopyAsync<kBytes>(to + at, from + at, true INGOT_PASS_HERE);
  }
}
INGOT_DEVICE void CopyTile(std::byte* to, const std::byte* from, int64_t bytes INGOT_HERE) {
  if ((reinterpret_cast<uintptr_t>(from) | static_cast<uintptr_t>(bytes)) % 16 == 0) {
    CopyPieces<16>(to, from, bytes INGOT_PASS_HERE);
  } else {  // kI4 with an unusual head_dim
    CopyPieces<8>(to, from, bytes INGOT_PASS_HERE);
  }
  CopyAsyncCommit();
}

// raw → numbers, by the whole block, with zeros beyond head_dim.
template <typename T, int kDim, int kWarps, KvFormat kFormat>
INGOT_DEVICE void UnpackKeys(const AttendShared<T, kDim, kWarps>& shared, int head_dim) {
  constexpr int kPieces = kKvTile / 8;
  for (auto i = static_cast<int>(ThreadIndex().x); i < kDim * kPieces; i += kWarps * kWarpSize) {
    const int d = i / kPieces, j = i % kPieces * 8;
    const Eight x = d < head_dim ? EightKeys<T, kFormat>(shared.raw, j, d, head_dim) : Eight{};
    *reinterpret_cast<Eight*>(shared.numbers + d * shared.kKeyStride + j) = x;
  }
}
// `end`: positions of the tile that were written. What a value has that is not finite is left out, lest it reach rows
// that do not see it.
template <typename T, int kDim, int kWarps, KvFormat kFormat>
INGOT_DEVICE void UnpackValues(const AttendShared<T, kDim, kWarps>& shared, int head_dim, int end) {
  constexpr int kPieces = kDim / 8;
  for (auto i = static_cast<int>(ThreadIndex().x); i < kKvTile * kPieces; i += kWarps * kWarpSize) {
    const int j = i / kPieces, d = i % kPieces * 8;
    Eight x = j < end && d < head_dim ? EightValues<T, kFormat>(shared.raw, j, d, head_dim) : Eight{};
    if (!AllFinite<T>(x)) {
      AtomicAdd(&shared.bad[j], 1U);
      x = {};
    }
    *reinterpret_cast<Eight*>(shared.numbers + j * shared.kRowStride + d) = x;
  }
}
template <typename T, int kDim, int kWarps, KvFormat kFormat>
INGOT_DEVICE void Unpack(const AttendShared<T, kDim, kWarps>& shared, int head_dim, int end, bool keys) {
  if (keys) return UnpackKeys<T, kDim, kWarps, kFormat>(shared, head_dim);
  UnpackValues<T, kDim, kWarps, kFormat>(shared, head_dim, end);
}
template <typename T, int kDim, int kWarps>
INGOT_DEVICE void UnpackAny(const AttendShared<T, kDim, kWarps>& shared, KvFormat format, int head_dim, int end,
                            bool keys) {
  switch (format) {
    case KvFormat::kF16:
      return Unpack<T, kDim, kWarps, KvFormat::kF16>(shared, head_dim, end, keys);
    case KvFormat::kBF16:
      return Unpack<T, kDim, kWarps, KvFormat::kBF16>(shared, head_dim, end, keys);
    case KvFormat::kI8:
      return Unpack<T, kDim, kWarps, KvFormat::kI8>(shared, head_dim, end, keys);
    case KvFormat::kI4:
      return Unpack<T, kDim, kWarps, KvFormat::kI4>(shared, head_dim, end, keys);
    case KvFormat::kF32:
      break;  // not on CUDA
  }
}

// A lane's two rows of its warp's 16, and their running softmax: o = Σ e^(s - m) · v, l = Σ e^(s - m). The four lanes
// of a row have the same m and l.
template <int kDim>
struct Softmax {
  float o[kDim / 8][4] = {};
  float m[2] = {-kInfinity, -kInfinity}, l[2] = {};
};
struct LaneRows {
  int row[2];       // of the block
  int position[2];  // -1: there is no such row
};

// Which of the tile's positions a row sees.
INGOT_DEVICE uint32_t VisibleOf(const AttendParams& p, int position, int first) {
  const int begin = Maximum(0, FirstPosition(p, position) - first), end = Minimum(kKvTile, position + 1 - first);
  if (begin >= end) return 0;
  return kWholeWarp >> (kKvTile - (end - begin)) << begin;
}

// With four lanes to a row, the same bits in all of them.
INGOT_DEVICE float RowSum(float x INGOT_HERE) {
  x += ShuffleXor(x, 1, kWholeWarp INGOT_PASS_HERE);
  return x + ShuffleXor(x, 2, kWholeWarp INGOT_PASS_HERE);
}
INGOT_DEVICE float RowMaximum(float x INGOT_HERE) {
  x = Maximum(x, ShuffleXor(x, 1, kWholeWarp INGOT_PASS_HERE));
  return Maximum(x, ShuffleXor(x, 2, kWholeWarp INGOT_PASS_HERE));
}

// q · k times log2(e), softcapped.
INGOT_DEVICE float ScoreOf(const AttendParams& p, float product) {
  const float s = product * p.scale;
  return (p.softcap > 0 ? p.softcap * Tanh(Divide(s, p.softcap)) : s) * kLog2E;
}

// s = q · keys.   q: the warp's 16 rows
template <typename T, int kDim, int kWarps>
INGOT_DEVICE void MultiplyKeys(const AttendShared<T, kDim, kWarps>& shared, const T* q, float (&s)[kKvTile / 8][4]) {
  INGOT_UNROLL
  for (int d = 0; d < kDim; d += 16) {
    uint32_t a[4];
    LoadRows(a, q + d, shared.kRowStride);
    INGOT_UNROLL
    for (int j = 0; j < kKvTile; j += 16) {
      uint32_t left[2], right[2];
      LoadColumns(left, right, shared.numbers + d * shared.kKeyStride + j, shared.kKeyStride);
      MultiplyTile(T{}, s[j / 8], a, left);
      MultiplyTile(T{}, s[j / 8 + 1], a, right);
    }
  }
}

// Scores become probabilities of the activations' type, by which o is scaled anew.   a: for MultiplyValues
template <typename T, int kDim>
INGOT_DEVICE void UpdateSoftmax(const AttendParams& p, const uint32_t (&visible)[2], float (&s)[kKvTile / 8][4],
                                Softmax<kDim>* sum, uint32_t (&a)[kKvTile / 16][4]) {
  float factor[2];
  INGOT_UNROLL
  for (int r = 0; r < 2; ++r) {
    const uint32_t seen = visible[r] >> Lane() % 4 * 2;  // bit 8n + i is column i of this lane's in tile n
    float highest = -kInfinity;
    INGOT_UNROLL
    for (int n = 0; n < kKvTile / 8; ++n) {
      INGOT_UNROLL
      for (int i = 0; i < 2; ++i) {
        float& score = s[n][r * 2 + i];
        score = (seen >> (n * 8 + i) & 1) != 0 ? ScoreOf(p, score) : -kInfinity;
        highest = Maximum(highest, score);
      }
    }
    // A row of NaN has no maximum: its scores stay NaN.
    const float m = Maximum(sum->m[r], RowMaximum(highest));
    factor[r] = sum->m[r] == -kInfinity ? 0 : Exp2(sum->m[r] - m);
    float total = 0;
    INGOT_UNROLL
    for (int n = 0; n < kKvTile / 8; ++n) {
      float probability[2];
      INGOT_UNROLL
      for (int i = 0; i < 2; ++i) {
        probability[i] = (seen >> (n * 8 + i) & 1) != 0 ? Exp2(s[n][r * 2 + i] - m) : 0;
      }
      const uint32_t pair = Pack<T>(probability[0], probability[1]);
      a[n / 2][n % 2 * 2 + r] = pair;
      total += UnpackFirst<T>(pair) + UnpackSecond<T>(pair);  // as they are multiplied
    }
    sum->m[r] = m;
    sum->l[r] = Fma(sum->l[r], factor[r], RowSum(total));
  }
  INGOT_UNROLL
  for (int n = 0; n < kDim / 8; ++n) {
    INGOT_UNROLL
    for (int i = 0; i < 4; ++i) sum->o[n][i] *= factor[i / 2];
  }
}

template <typename T, int kDim, int kWarps>
INGOT_DEVICE void MultiplyValues(const AttendShared<T, kDim, kWarps>& shared, const uint32_t (&a)[kKvTile / 16][4],
                                 Softmax<kDim>* sum) {
  INGOT_UNROLL
  for (int j = 0; j < kKvTile; j += 16) {
    INGOT_UNROLL
    for (int d = 0; d < kDim; d += 16) {
      uint32_t left[2], right[2];
      LoadColumns(left, right, shared.numbers + j * shared.kRowStride + d, shared.kRowStride);
      MultiplyTile(T{}, sum->o[d / 8], a[j / 16], left);
      MultiplyTile(T{}, sum->o[d / 8 + 1], a[j / 16], right);
    }
  }
}

// What the sums of two spans of positions are multiplied by before they are added, and their m and l together. A span
// of which the row sees nothing has l = 0.
struct Merged {
  float m, l, first_factor, second_factor;
};
INGOT_DEVICE Merged Merge(float first_m, float first_l, float second_m, float second_l) {
  if (second_l == 0) return {first_m, first_l, 1, 0};
  if (first_l == 0) return {second_m, second_l, 0, 1};
  const float m = Maximum(first_m, second_m), first = Exp2(first_m - m), second = Exp2(second_m - m);
  return {m, Fma(first_l, first, second_l * second), first, second};
}
INGOT_DEVICE float MergeNumbers(const Merged& merged, float first, float second) {
  return Fma(first, merged.first_factor, second * merged.second_factor);
}
// The zero makes -0 of tiles that were not seen the 0 that it is without them.
INGOT_DEVICE float Normalize(float o, float inverse) { return Fma(o, inverse, 0); }

// The sums of the splits before, while the next one's are worked out: a lane's own, in shared memory.
template <int kDim, int kThreads>
struct Parked {
  float* numbers;  // [kDim / 2 + 4][kThreads]

  INGOT_DEVICE float& At(int i) const { return numbers[i * kThreads + static_cast<int>(ThreadIndex().x)]; }
  INGOT_DEVICE void Store(const Softmax<kDim>& sum) const {
    INGOT_UNROLL
    for (int i = 0; i < kDim / 2; ++i) At(i) = sum.o[i / 4][i % 4];
    INGOT_UNROLL
    for (int r = 0; r < 2; ++r) At(kDim / 2 + r) = sum.m[r], At(kDim / 2 + 2 + r) = sum.l[r];
  }
  INGOT_DEVICE void MergeInto(Softmax<kDim>* sum) const {
    Merged merged[2];
    INGOT_UNROLL
    for (int r = 0; r < 2; ++r) {
      merged[r] = Merge(At(kDim / 2 + r), At(kDim / 2 + 2 + r), sum->m[r], sum->l[r]);
      sum->m[r] = merged[r].m, sum->l[r] = merged[r].l;
    }
    INGOT_UNROLL
    for (int i = 0; i < kDim / 2; ++i) {
      float& o = sum->o[i / 4][i % 4];
      o = MergeNumbers(merged[i % 4 / 2], At(i), o);
    }
  }
};

// q of the block's rows, zeros where there are none.
template <typename T, int kDim, int kWarps>
INGOT_DEVICE void LoadQueries(const AttendParams& p, const QueryRows& rows,
                              const AttendShared<T, kDim, kWarps>& shared) {
  constexpr int kPairs = kDim / 2;
  for (auto i = static_cast<int>(ThreadIndex().x); i < kWarps * 16 * kPairs; i += kWarps * kWarpSize) {
    const int row = i / kPairs, d = i % kPairs * 2;
    uint32_t pair = 0;
    if (row < rows.count() && d < p.kv.head_dim) {
      const T* const q =
          static_cast<const T*>(p.qkv) + rows.TokenOf(row) * p.q_stride + rows.HeadOf(row) * p.kv.head_dim + d;
      pair = *reinterpret_cast<const uint32_t*>(q);
    }
    *reinterpret_cast<uint32_t*>(shared.q + row * shared.kRowStride + d) = pair;
  }
}

INGOT_DEVICE LaneRows LaneRowsOf(const AttendParams& p, const QueryRows& rows) {
  LaneRows lane;
  INGOT_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int row = Warp() * 16 + r * 8 + Lane() / 4;
    lane.row[r] = row;
    lane.position[r] = row < rows.count() ? p.positions[rows.TokenOf(row)] : -1;
  }
  return lane;
}

// What a block has.
template <typename T, int kDim, int kWarps>
struct AttendBlock {
  const AttendParams& p;
  QueryRows rows;
  LaneRows lane;
  AttendShared<T, kDim, kWarps> shared;

  INGOT_DEVICE AttendBlock(const AttendParams& params, SharedMemory* memory)
      : p(params), rows(QueryRowsOf(params)), lane(LaneRowsOf(params, rows)), shared(memory) {
    LoadQueries(p, rows, shared);
  }
  // The first tile of positions that a row sees.
  INGOT_DEVICE int FirstTile() const {
    return FirstPosition(p, p.positions[rows.tile.first_token]) / kKvTile * kKvTile;
  }
  INGOT_DEVICE int End() const { return rows.last_position + 1; }

  // A tile's part in the sums. Its keys are being copied; then the next one's will be, before `end`.
  INGOT_DEVICE void AddTile(int first, int end, TilePlace* place, Softmax<kDim>* sum) const {
    const uint32_t visible[2] = {VisibleOf(p, lane.position[0], first), VisibleOf(p, lane.position[1], first)};
    const int dim = p.kv.head_dim;
    CopyAsyncWait<0>();
    SyncThreads();
    if (ThreadIndex().x < kKvTile) shared.bad[ThreadIndex().x] = 0;
    UnpackAny(shared, place->format, dim, kKvTile, true);
    SyncThreads();
    CopyTile(shared.raw, place->tile.values, place->value_bytes);
    float s[kKvTile / 8][4] = {};
    MultiplyKeys(shared, shared.q + Warp() * 16 * shared.kRowStride, s);
    uint32_t a[kKvTile / 16][4];
    UpdateSoftmax<T>(p, visible, s, sum, a);

    CopyAsyncWait<0>();
    SyncThreads();
    UnpackAny(shared, place->format, dim, End() - first, false);
    SyncThreads();
    if (first + kKvTile < end) {
      *place = PlaceOf(p, rows, first + kKvTile);
      CopyTile(shared.raw, place->tile.keys, place->key_bytes);
    }
    const uint32_t bad = Ballot(shared.bad[Lane()] != 0);
    MultiplyValues(shared, a, sum);
    INGOT_UNROLL
    for (int r = 0; r < 2; ++r) {
      if ((visible[r] & bad) != 0) sum->l[r] = Bits<float>(0x7fc00000U);
    }
  }

  INGOT_DEVICE void WriteRows(const Softmax<kDim>& sum) const {
    INGOT_UNROLL
    for (int r = 0; r < 2; ++r) {
      if (lane.position[r] < 0) continue;
      const int row = lane.row[r];
      T* const out = static_cast<T*>(p.out) + (rows.TokenOf(row) * p.num_heads + rows.HeadOf(row)) * p.kv.head_dim;
      const float inverse = Divide(1, sum.l[r]);
      INGOT_UNROLL
      for (int n = 0; n < kDim / 8; ++n) {
        const int d = n * 8 + Lane() % 4 * 2;
        if (d >= p.kv.head_dim) continue;
        *reinterpret_cast<uint32_t*>(out + d) =
            Pack<T>(Normalize(sum.o[n][r * 2], inverse), Normalize(sum.o[n][r * 2 + 1], inverse));
      }
    }
  }
};

// All positions of each row.   grid: (tiles; num_kv_heads times pieces of their heads), threads: kAttendWarps warps,
// shared memory: kAttendSharedBytes
template <typename T, int kDim>
INGOT_DEVICE void Attend(const AttendParams& p) {
  constexpr int kWarps = kAttendWarps<kDim>;
  SharedMemory memory;
  const AttendBlock<T, kDim, kWarps> block(p, &memory);
  const Parked<kDim, kWarps * kWarpSize> parked{memory.Take<float>((kDim / 2 + 4) * kWarps * kWarpSize)};
  const int begin = block.FirstTile();
  bool is_parked = false;
  Softmax<kDim> sum;
  TilePlace place = PlaceOf(p, block.rows, begin);
  CopyTile(block.shared.raw, place.tile.keys, place.key_bytes);
  for (int first = begin; first < block.End(); first += kKvTile) {
    if (first % kSplit == 0 && first != begin) {
      if (is_parked) parked.MergeInto(&sum);
      parked.Store(sum);
      is_parked = true;
      sum = {};
    }
    block.AddTile(first, block.End(), &place, &sum);
  }
  if (is_parked) parked.MergeInto(&sum);
  block.WriteRows(sum);
}

INGOT_DEVICE float* PartialOf(const AttendParams& p, int token_of_tile, int head, int split) {
  const int64_t token = int64_t{BlockIndex().x} * p.tile_tokens + token_of_tile;
  return p.partial + ((token * p.num_heads + head) * p.num_splits + split) * (p.kv.head_dim + 2);
}

// One split, of up to 16 rows: into `partial`, or where there is but one, into `out`.
// grid: (tiles; num_kv_heads times pieces of their heads; num_splits), threads: one warp, shared memory:
// kAttendSplitSharedBytes
template <typename T, int kDim>
INGOT_DEVICE void AttendSplit(const AttendParams& p) {
  if (p.tiles[BlockIndex().x].num_tokens == 0) return;
  SharedMemory memory;
  const AttendBlock<T, kDim, 1> block(p, &memory);
  const auto split = static_cast<int>(BlockIndex().z);
  const int begin = Maximum(split * kSplit, block.FirstTile()), end = Minimum((split + 1) * kSplit, block.End());
  if (begin >= end) return;
  Softmax<kDim> sum;
  TilePlace place = PlaceOf(p, block.rows, begin);
  CopyTile(block.shared.raw, place.tile.keys, place.key_bytes);
  for (int first = begin; first < end; first += kKvTile) block.AddTile(first, end, &place, &sum);
  if (p.partial == nullptr) return block.WriteRows(sum);
  INGOT_UNROLL
  for (int r = 0; r < 2; ++r) {
    if (block.lane.position[r] < 0) continue;
    const int row = block.lane.row[r];
    float* const partial = PartialOf(p, row / block.rows.heads, block.rows.HeadOf(row), split);
    INGOT_UNROLL
    for (int i = 0; i < kDim / 4; ++i) {
      const int d = i / 2 * 8 + Lane() % 4 * 2 + i % 2;
      if (d < p.kv.head_dim) partial[d] = sum.o[i / 2][r * 2 + i % 2];
    }
    if (Lane() % 4 == 0) partial[p.kv.head_dim] = sum.m[r], partial[p.kv.head_dim + 1] = sum.l[r];
  }
}

// After AttendSplit with partial results.   grid: (tiles; num_heads), threads: one warp
template <typename T>
INGOT_DEVICE void MergeSplits(const AttendParams& p) {
  constexpr int kLaneDims = kMaxHeadDim / kWarpSize;  // dims lane, lane + 32, … are a lane's
  const QueryTile tile = p.tiles[BlockIndex().x];
  const auto head = static_cast<int>(BlockIndex().y);
  const int dim = p.kv.head_dim;
  for (int token = 0; token < tile.num_tokens; ++token) {
    const int position = p.positions[tile.first_token + token];
    float o[kLaneDims] = {}, m = -kInfinity, l = 0;
    for (int split = FirstPosition(p, position) / kSplit; split <= position / kSplit; ++split) {
      const float* const partial = PartialOf(p, token, head, split);
      const Merged merged = Merge(m, l, partial[dim], partial[dim + 1]);
      m = merged.m, l = merged.l;
      INGOT_UNROLL
      for (int i = 0; i < kLaneDims; ++i) {
        const int d = i * kWarpSize + Lane();
        if (d < dim) o[i] = MergeNumbers(merged, o[i], partial[d]);
      }
    }
    T* const out = static_cast<T*>(p.out) + ((tile.first_token + token) * int64_t{p.num_heads} + head) * dim;
    const float inverse = Divide(1, l);
    INGOT_UNROLL
    for (int i = 0; i < kLaneDims; ++i) {
      const int d = i * kWarpSize + Lane();
      if (d < dim) out[d] = FromFloat<T>(Normalize(o[i], inverse));
    }
  }
}

}  // namespace ingot::kernels::cuda
