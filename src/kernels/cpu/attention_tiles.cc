// Attention on tiles (kernels/attention.h): scores and sums of values are products of tiles, in bf16 with sums in fp32.
// A tile of the cache, 32 positions, becomes tiles of pairs for all rows of an item.
#include <utility>

#include "kernels/cpu/attention_item.h"
#include "kernels/cpu/bf16_rows.h"
#include "kernels/cpu/tiles.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

constexpr int kTileRows = 16, kTileColumns = 16;
constexpr int64_t kTileBytes = 1024;
constexpr int64_t kScoreBytes = kScoreStride * 4;
constexpr int kSums = 4;  // tiles that hold sums

// What the tiles are made of: in Work::tiles.
struct TileRoom {
  int steps;          // of 32 dims
  int dim_tiles;      // of 16 dims
  int64_t q_stride;   // bytes between rows
  std::byte* q;       // bf16 [rows][32 · steps]
  std::byte* keys;    // bf16 [steps][2 halves of the positions][16 pairs of dims][16 positions][2]
  std::byte* values;  // bf16 [16 tiles of the split][dim_tiles][16 pairs of positions][16 dims][2]

  explicit TileRoom(const Work& w)
      : steps((w.dim + 31) / 32),
        dim_tiles((w.dim + 15) / 16),
        q_stride(int64_t{64} * steps),
        q(w.tiles),
        keys(q + kMaxRows * q_stride),
        values(keys + 2 * kTileBytes * steps) {}
  std::byte* KeysAt(int pair) const { return keys + pair / 16 * 2 * kTileBytes + pair % 16 * 64; }
  std::byte* ValuesAt(int column) const { return values + column / kKvTile * dim_tiles * kTileBytes; }
};

// Where a tile of rows begins: the last one ends with the last row, and may repeat rows of the one before.
inline int RowTileAt(const Work& w, int index) { return Max(0, Min(index * kTileRows, w.rows - kTileRows)); }
inline int NumRowTiles(const Work& w) { return (w.rows + kTileRows - 1) / kTileRows; }
inline Range RowsAt(const Work& w, int index) {
  const int begin = RowTileAt(w, index);
  return {begin, Min(begin + kTileRows, w.rows)};
}

INGOT_INLINE float SumInOrder(F32x16 x) {
  alignas(64) float lanes[16];
  Store(lanes, x);
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

void RoundQueries(const Work& w, const TileRoom& room) {
  for (int row = 0; row < w.rows; ++row) {
    const float* q = w.q + row * w.row_floats;
    for (int d = 0; d < room.steps * 32; d += 32) {
      const auto load = [&](int at) { return LoadF32x16(q + at, Max(0, Min(16, w.dim - at))); };
      Store(room.q + row * room.q_stride + d * 2, RoundToBf16(load(d), load(d + 16)));
    }
  }
}

// Both halves of a tile of keys: 32 positions of a dim.
struct KeyPair {
  F32x16 halves[2];
};
template <typename Keys>
class KeyReader {
 public:
  explicit KeyReader(const Keys& keys) : first_(keys.At(0)), second_(keys.At(kLanes % kHalfTile)) {}
  INGOT_INLINE KeyPair Load(int d) const {
    KeyPair pair;
    auto* const low = reinterpret_cast<F32*>(&pair.halves[0]);  // one vector, or two of half its length
    auto* const high = reinterpret_cast<F32*>(&pair.halves[1]);
    first_.Load(d, low, high);
    if constexpr (kLanes < 16) second_.Load(d, low + 1, high + 1);
    return pair;
  }

 private:
  using Columns = decltype(std::declval<const Keys&>().At(0));
  const Columns first_, second_;
};

template <typename Keys>
void PackKeys(const Keys& keys, int dim, NextTile next, const TileRoom& room) {
  const KeyReader<Keys> reader(keys);
  Prefetcher prefetcher(next, room.steps * 16);
  for (int pair = 0; pair < room.steps * 16; ++pair) {
    prefetcher.FetchPart();
    const int d = 2 * pair;
    std::byte* const to = room.KeysAt(pair);
    KeyPair even{{Broadcast(0.0F), Broadcast(0.0F)}}, odd = even;
    if (d < dim) even = reader.Load(d);
    if (d + 1 < dim) odd = reader.Load(d + 1);
    Store(to, Interleave(RoundToBf16(even.halves[0], odd.halves[0])));
    Store(to + kTileBytes, Interleave(RoundToBf16(even.halves[1], odd.halves[1])));
  }
}

// Those of a bf16 cache as they are.
void PackKeys(const HalfKeys<Bf16>& keys, int dim, NextTile next, const TileRoom& room) {
  Prefetcher prefetcher(next, room.steps * 16);
  for (int pair = 0; pair < room.steps * 16; ++pair) {
    prefetcher.FetchPart();
    const uint16_t* even = keys.tile + 2 * pair * kKvTile;
    PairsOfRows pairs{};
    if (2 * pair < dim) pairs = LoadPairs(even, 2 * pair + 1 < dim ? even + kKvTile : nullptr, kKvTile);
    std::byte* const to = room.KeysAt(pair);
    Store(to, pairs.low);
    Store(to + kTileBytes, pairs.high);
  }
}

template <typename Row>
INGOT_INLINE F32x16 LoadValues(const Row& row, int d) {
  F32x16 x;
  row.template Load<16 / kLanes>(d, reinterpret_cast<F32*>(&x));
  return x;
}

// Tiles of dims [dims.begin, dims.end). The positions of the tile that are not seen become zero: what lies there may be
// NaN. Returns whether those seen are finite.
template <typename Values>
bool PackValues(const Values& values, Range seen, NextTile next, Range dims, std::byte* out) {
  Prefetcher prefetcher(next, kKvTile / 2);
  F32x16 probe = Broadcast(0.0F);  // NaN once there was an infinity or a NaN
  for (int pair = 0; pair < kKvTile / 2; ++pair) {
    prefetcher.FetchPart();
    const int j = 2 * pair;
    const auto even_row = values.At(j), odd_row = values.At(j + 1);
    const bool even_seen = seen.begin <= j && j < seen.end, odd_seen = seen.begin <= j + 1 && j + 1 < seen.end;
    for (int tile = dims.begin; tile < dims.end; ++tile) {
      F32x16 even = Broadcast(0.0F), odd = even;
      if (even_seen) even = LoadValues(even_row, tile * 16);
      if (odd_seen) odd = LoadValues(odd_row, tile * 16);
      probe = Fma(even, Broadcast(0.0F), Fma(odd, Broadcast(0.0F), probe));
      Store(out + (tile - dims.begin) * kTileBytes + pair * 64, Interleave(RoundToBf16(even, odd)));
    }
  }
  return SumInOrder(probe) == 0;
}

bool PackValues(const HalfValues<Bf16>& values, Range seen, NextTile next, Range dims, std::byte* out) {
  Prefetcher prefetcher(next, kKvTile / 2);
  alignas(64) static constexpr uint16_t kZeros[32] = {};
  bool finite = true;
  for (int pair = 0; pair < kKvTile / 2; ++pair) {
    prefetcher.FetchPart();
    const int j = 2 * pair;
    const bool even_seen = seen.begin <= j && j < seen.end, odd_seen = seen.begin <= j + 1 && j + 1 < seen.end;
    const uint16_t* const even = values.tile + int64_t{j} * values.dim;
    for (int tile = dims.begin; tile < dims.end; tile += 2) {
      const PairsOfRows pairs = LoadPairs(even_seen ? even + tile * 16 : kZeros,
                                          odd_seen ? even + values.dim + tile * 16 : nullptr, (dims.end - tile) * 16);
      finite &= AreFinite(pairs);
      std::byte* const to = out + (tile - dims.begin) * kTileBytes + pair * 64;
      Store(to, pairs.low);
      if (tile + 1 < dims.end) Store(to + kTileBytes, pairs.high);
    }
  }
  return finite;
}

// scores of the tile at `column` for the rows of one tile or, with kTwo, of two.
template <bool kTwo>
INGOT_INLINE void ScoreRowTiles(const Work& w, Tiles& tiles, const TileRoom& room, const int* rows, int column) {
  tiles.Zero<0>();
  tiles.Zero<1>();
  if constexpr (kTwo) tiles.Zero<2>(), tiles.Zero<3>();
  for (int step = 0; step < room.steps; ++step) {
    const std::byte* keys = room.keys + step * 2 * kTileBytes;
    tiles.Load<6>(keys);
    tiles.Load<7>(keys + kTileBytes);
    tiles.Load<4>(room.q + rows[0] * room.q_stride + step * 64, room.q_stride);
    tiles.MultiplyBf16<0, 4, 6>();
    tiles.MultiplyBf16<1, 4, 7>();
    if constexpr (kTwo) {
      tiles.Load<5>(room.q + rows[1] * room.q_stride + step * 64, room.q_stride);
      tiles.MultiplyBf16<2, 5, 6>();
      tiles.MultiplyBf16<3, 5, 7>();
    }
  }
  float* to = w.scores + int64_t{rows[0]} * kScoreStride + column;
  tiles.Store<0>(to, kScoreBytes);
  tiles.Store<1>(to + kTileColumns, kScoreBytes);
  if constexpr (kTwo) {
    to = w.scores + int64_t{rows[1]} * kScoreStride + column;
    tiles.Store<2>(to, kScoreBytes);
    tiles.Store<3>(to + kTileColumns, kScoreBytes);
  }
}

void ScoreTile(const Work& w, Tiles& tiles, const TileRoom& room, int column) {
  int rows[2], count = 0;
  for (int i = 0; i < NumRowTiles(w); ++i) {
    const Range of = RowsAt(w, i);
    if (Intersect(w.VisibleToAny(of.begin, of.end - 1), {column, column + kKvTile}).empty()) continue;
    rows[count++] = of.begin;
    if (count < 2) continue;
    ScoreRowTiles<true>(w, tiles, room, rows, column);
    count = 0;
  }
  if (count == 1) ScoreRowTiles<false>(w, tiles, room, rows, column);
}

INGOT_INLINE F32x16 Exponentials(F32x16 x) {
  auto* const vectors = reinterpret_cast<F32*>(&x);  // one vector, or two of half its length
  for (int i = 0; i < 16 / kLanes; ++i) vectors[i] = Exp(vectors[i]);
  return x;
}

// The scores of 16 positions, and -inf where the row does not see.
INGOT_INLINE F32x16 SeenScores(const float* scores, int begin, Range visible) {
  if (visible.begin <= begin && begin + 16 <= visible.end) return LoadF32x16(scores + begin);
  alignas(64) float seen[16];
  for (int j = 0; j < 16; ++j) {
    seen[j] = visible.begin <= begin + j && begin + j < visible.end ? scores[begin + j] : -kInfinity;
  }
  return LoadF32x16(seen);
}

// Scores become exp(score - maximum) in bf16, in their own place; maximum and sum go to the row's m and l. The sum is
// that of the rounded ones, so that weights add up to one.
void SoftmaxRow(const Work& w, int row, const Columns& columns) {
  float* const scores = w.scores + int64_t{row} * kScoreStride;
  auto* const rounded = reinterpret_cast<std::byte*>(scores);
  const Range visible = w.visible[row];
  const float m = visible.empty() ? 0 : CapAndMask(w, scores, visible);
  const F32x16 maximum = Broadcast(m);
  F32x16 sum = Broadcast(0.0F);
  for (int column = columns.first; column <= columns.last; column += kKvTile) {
    const F32x16 first = Exponentials(SeenScores(scores, column, visible) - maximum);
    const F32x16 second = Exponentials(SeenScores(scores, column + 16, visible) - maximum);
    Store(rounded + column * 2, RoundToBf16(first, second));
    const I32x16 words = LoadI32x16(rounded + column * 2);
    sum = sum + (FromBits(ShiftLeft<16>(words)) + UpperHalves(words));
  }
  *w.M(w.part, row) = m;
  *w.L(w.part, row) = SumInOrder(sum);
}

// A split at work.
struct SplitWork {
  const Work& w;
  Tiles& tiles;
  const TileRoom& room;
  const Columns& columns;
};

// Sums of kCount tiles of dims for the rows of one tile.
template <int kCount>
INGOT_INLINE void ZeroSums(Tiles& tiles) {
  tiles.Zero<0>();
  if constexpr (kCount > 1) tiles.Zero<1>();
  if constexpr (kCount > 2) tiles.Zero<2>();
  if constexpr (kCount > 3) tiles.Zero<3>();
}
template <int kCount>
INGOT_INLINE void AddToSums(Tiles& tiles, const std::byte* p, const std::byte* values) {
  tiles.Load<4>(p, kScoreBytes);
  tiles.Load<6>(values);
  tiles.MultiplyBf16<0, 4, 6>();
  if constexpr (kCount > 1) tiles.Load<7>(values + kTileBytes), tiles.MultiplyBf16<1, 4, 7>();
  if constexpr (kCount > 2) tiles.Load<6>(values + 2 * kTileBytes), tiles.MultiplyBf16<2, 4, 6>();
  if constexpr (kCount > 3) tiles.Load<7>(values + 3 * kTileBytes), tiles.MultiplyBf16<3, 4, 7>();
}
template <int kCount>
INGOT_INLINE void StoreSums(const Tiles& tiles, float* to, int64_t stride) {
  tiles.Store<0>(to, stride);
  if constexpr (kCount > 1) tiles.Store<1>(to + kTileColumns, stride);
  if constexpr (kCount > 2) tiles.Store<2>(to + 2 * kTileColumns, stride);
  if constexpr (kCount > 3) tiles.Store<3>(to + 3 * kTileColumns, stride);
}

// The exponentials of a tile of rows, of the split's column 0.
const std::byte* ExponentialsAt(const Work& w, int row) {
  return reinterpret_cast<const std::byte*>(w.scores + int64_t{row} * kScoreStride);
}

// out = Σ p · values for a tile of rows: [rows, row_floats]. All values have been packed.
template <int kCount>
void AddPacked(const SplitWork& split, int row, int dim_tile, float* out) {
  const auto& [w, tiles, room, columns] = split;
  const std::byte* const p = ExponentialsAt(w, row);
  ZeroSums<kCount>(tiles);
  for (int column = columns.first; column <= columns.last; column += kKvTile) {
    AddToSums<kCount>(tiles, p + column * 2, room.ValuesAt(column) + dim_tile * kTileBytes);
  }
  StoreSums<kCount>(tiles, out + dim_tile * kTileColumns, w.row_floats * 4);
}

// The same for the only tile of rows, whose values are packed one tile after another. Returns whether they are finite.
template <int kCount>
bool PackAndAdd(const SplitWork& split, int dim_tile) {
  const auto& [w, tiles, room, columns] = split;
  const std::byte* const p = ExponentialsAt(w, 0);
  const Range seen = w.VisibleToAny(0, w.rows - 1);
  bool finite = true;
  ZeroSums<kCount>(tiles);
  for (int column = columns.first; column <= columns.last; column += kKvTile) {
    const NextTile next = dim_tile == 0 ? TileAhead(w, columns, true, column) : NextTile{};
    VisitValues(w, columns.split * kSplit + column, [&](const auto& values) {
      finite &= PackValues(values, {seen.begin - column, seen.end - column}, next, {dim_tile, dim_tile + kCount},
                           room.values);
    });
    AddToSums<kCount>(tiles, p + column * 2, room.values);
  }
  StoreSums<kCount>(tiles, w.part + dim_tile * kTileColumns, w.row_floats * 4);
  return finite;
}

using AddPackedFunction = void (*)(const SplitWork&, int row, int dim_tile, float* out);
using PackAndAddFunction = bool (*)(const SplitWork&, int dim_tile);
constexpr AddPackedFunction kAddPacked[kSums + 1] = {nullptr, AddPacked<1>, AddPacked<2>, AddPacked<3>, AddPacked<4>};
constexpr PackAndAddFunction kPackAndAdd[kSums + 1] = {nullptr, PackAndAdd<1>, PackAndAdd<2>, PackAndAdd<3>,
                                                       PackAndAdd<4>};

// out: [rows of the tile, row_floats]
void AddRows(const SplitWork& split, int row, float* out) {
  for (int tile = 0; tile < split.room.dim_tiles; tile += kSums) {
    kAddPacked[Min(kSums, split.room.dim_tiles - tile)](split, row, tile, out);
  }
}

// The values of a split as its rows `seen` see them. Returns whether they are finite.
bool PackSplit(const SplitWork& split, Range seen) {
  const auto& [w, tiles, room, columns] = split;
  bool finite = true;
  for (int column = columns.first; column <= columns.last; column += kKvTile) {
    const NextTile next = TileAhead(w, columns, true, column);
    VisitValues(w, columns.split * kSplit + column, [&](const auto& values) {
      finite &= PackValues(values, {seen.begin - column, seen.end - column}, next, {0, room.dim_tiles},
                           room.ValuesAt(column));
    });
  }
  return finite;
}

// Returns false where values are not finite; then the sums are of no use.
bool AddFinite(const SplitWork& split) {
  const Work& w = split.w;
  bool finite = true;
  if (w.rows <= kTileRows) {
    for (int tile = 0; tile < split.room.dim_tiles; tile += kSums) {
      finite &= kPackAndAdd[Min(kSums, split.room.dim_tiles - tile)](split, tile);
    }
    return finite;
  }
  finite = PackSplit(split, w.VisibleToAny(0, w.rows - 1));
  for (int i = 0; finite && i < NumRowTiles(w); ++i) {
    const int row = RowTileAt(w, i);
    AddRows(split, row, w.part + row * w.row_floats);
  }
  return finite;
}

void AddSplit(const SplitWork& split) {
  if (AddFinite(split)) return;
  // An infinity times zero would be NaN: each row by itself, with the values that it sees.
  const Work& w = split.w;
  for (int row = 0; row < w.rows; ++row) {
    PackSplit(split, w.visible[row]);
    const int begin = RowTileAt(w, row / kTileRows);
    AddRows(split, begin, w.values);  // as a tile of rows; its floats have been packed
    const float* sums = w.values + (row - begin) * w.row_floats;
    for (int d = 0; d < split.room.dim_tiles * 16; ++d) w.part[row * w.row_floats + d] = sums[d];
  }
}

void AttendSplitOnTiles(Work& w, Tiles& tiles, const TileRoom& room, int split) {
  const Columns columns = BeginSplit(w, split);
  for (int column = columns.first; column <= columns.last; column += kKvTile) {
    const NextTile next = TileAhead(w, columns, false, column);
    VisitKeys(w, split * kSplit + column, [&](const auto& keys) { PackKeys(keys, w.dim, next, room); });
    ScoreTile(w, tiles, room, column);
  }
  for (int row = 0; row < w.rows; ++row) SoftmaxRow(w, row, columns);
  AddSplit({w, tiles, room, columns});
}

}  // namespace

void AttendOnTiles(const AttentionArgs& args, const AttentionItem& item, float* workspace) {
  const FlushDenormals flush;
  Work w(args, item, workspace);
  const TileRoom room(w);
  FetchFirstKeys(w);
  LoadQueries(w);
  RoundQueries(w, room);
  Tiles tiles({.rows = Min(w.rows, kTileRows), .pairs = 16});
  AttendSplits(w, [&](Work& work, int split) { AttendSplitOnTiles(work, tiles, room, split); });
}

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
