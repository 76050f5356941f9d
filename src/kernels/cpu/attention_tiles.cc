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
  std::byte* ValuesAt(int column) const { return values + column / kKvTile * dim_tiles * kTileBytes; }
};

// Where a tile of rows begins: the last one ends with the last row, and may repeat rows of the one before.
inline int RowTileAt(const Work& w, int index) { return Max(0, Min(index * kTileRows, w.rows - kTileRows)); }
inline int NumRowTiles(const Work& w) { return (w.rows + kTileRows - 1) / kTileRows; }
inline Range RowsAt(const Work& w, int index) {
  const int begin = RowTileAt(w, index);
  return {begin, Min(begin + kTileRows, w.rows)};
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
    std::byte* to = room.keys + pair / 16 * 2 * kTileBytes + pair % 16 * 64;
    KeyPair even{{Broadcast(0.0F), Broadcast(0.0F)}}, odd = even;
    if (d < dim) even = reader.Load(d);
    if (d + 1 < dim) odd = reader.Load(d + 1);
    Store(to, Interleave(RoundToBf16(even.halves[0], odd.halves[0])));
    Store(to + kTileBytes, Interleave(RoundToBf16(even.halves[1], odd.halves[1])));
  }
}

template <typename Row>
INGOT_INLINE F32x16 LoadValues(const Row& row, int d) {
  F32x16 x;
  row.template Load<16 / kLanes>(d, reinterpret_cast<F32*>(&x));
  return x;
}

// The positions of the tile that are seen; the others become zero: what lies there may be NaN. Returns whether those
// seen are finite.
template <typename Values>
bool PackValues(const Values& values, Range seen, NextTile next, int dim_tiles, std::byte* out) {
  Prefetcher prefetcher(next, kKvTile / 2);
  F32x16 probe = Broadcast(0.0F);  // NaN once there was an infinity or a NaN
  for (int pair = 0; pair < kKvTile / 2; ++pair) {
    prefetcher.FetchPart();
    const int j = 2 * pair;
    const auto even_row = values.At(j), odd_row = values.At(j + 1);
    const bool even_seen = seen.begin <= j && j < seen.end, odd_seen = seen.begin <= j + 1 && j + 1 < seen.end;
    for (int tile = 0; tile < dim_tiles; ++tile) {
      F32x16 even = Broadcast(0.0F), odd = even;
      if (even_seen) even = LoadValues(even_row, tile * 16);
      if (odd_seen) odd = LoadValues(odd_row, tile * 16);
      probe = Fma(even, Broadcast(0.0F), Fma(odd, Broadcast(0.0F), probe));
      Store(out + tile * kTileBytes + pair * 64, Interleave(RoundToBf16(even, odd)));
    }
  }
  alignas(64) float lanes[16];
  Store(lanes, probe);
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum == 0;
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
  alignas(64) float lanes[16];
  Store(lanes, sum);
  float total = 0;
  for (const float lane : lanes) total += lane;
  *w.M(w.part, row) = m;
  *w.L(w.part, row) = total;
}

// A split at work.
struct SplitWork {
  const Work& w;
  Tiles& tiles;
  const TileRoom& room;
  const Columns& columns;
};

// part = Σ p · values of kCount tiles of dims from `dim_tile` on, for the rows of one tile, whose sums go to `to`.
template <int kCount>
INGOT_INLINE void AddRowTile(const SplitWork& split, int row, int dim_tile, float* to) {
  const auto& [w, tiles, room, columns] = split;
  const auto* p = reinterpret_cast<const std::byte*>(w.scores + int64_t{row} * kScoreStride);
  tiles.Zero<0>();
  if constexpr (kCount > 1) tiles.Zero<1>();
  if constexpr (kCount > 2) tiles.Zero<2>();
  if constexpr (kCount > 3) tiles.Zero<3>();
  for (int column = columns.first; column <= columns.last; column += kKvTile) {
    const std::byte* values = room.ValuesAt(column) + dim_tile * kTileBytes;
    tiles.Load<4>(p + column * 2, kScoreBytes);
    tiles.Load<6>(values);
    tiles.MultiplyBf16<0, 4, 6>();
    if constexpr (kCount > 1) tiles.Load<7>(values + kTileBytes), tiles.MultiplyBf16<1, 4, 7>();
    if constexpr (kCount > 2) tiles.Load<6>(values + 2 * kTileBytes), tiles.MultiplyBf16<2, 4, 6>();
    if constexpr (kCount > 3) tiles.Load<7>(values + 3 * kTileBytes), tiles.MultiplyBf16<3, 4, 7>();
  }
  const int64_t stride = w.row_floats * 4;
  tiles.Store<0>(to, stride);
  if constexpr (kCount > 1) tiles.Store<1>(to + kTileColumns, stride);
  if constexpr (kCount > 2) tiles.Store<2>(to + 2 * kTileColumns, stride);
  if constexpr (kCount > 3) tiles.Store<3>(to + 3 * kTileColumns, stride);
}

// out: [rows of the tile, row_floats]
void AddRows(const SplitWork& split, int row, float* out) {
  for (int tile = 0; tile < split.room.dim_tiles; tile += kSums) {
    float* to = out + tile * kTileColumns;
    switch (split.room.dim_tiles - tile) {
      case 1:
        AddRowTile<1>(split, row, tile, to);
        break;
      case 2:
        AddRowTile<2>(split, row, tile, to);
        break;
      case 3:
        AddRowTile<3>(split, row, tile, to);
        break;
      default:
        AddRowTile<4>(split, row, tile, to);
    }
  }
}

// The values of a split as its rows `seen` see them. Returns whether they are finite.
bool PackSplit(const Work& w, const TileRoom& room, const Columns& columns, Range seen) {
  bool finite = true;
  for (int column = columns.first; column <= columns.last; column += kKvTile) {
    const NextTile next = TileAhead(w, columns, true, column);
    VisitValues(w, columns.split * kSplit + column, [&](const auto& values) {
      finite &=
          PackValues(values, {seen.begin - column, seen.end - column}, next, room.dim_tiles, room.ValuesAt(column));
    });
  }
  return finite;
}

void AddSplit(const SplitWork& split) {
  const auto& [w, tiles, room, columns] = split;
  if (PackSplit(w, room, columns, w.VisibleToAny(0, w.rows - 1))) {
    for (int i = 0; i < NumRowTiles(w); ++i) {
      const int row = RowTileAt(w, i);
      AddRows(split, row, w.part + row * w.row_floats);
    }
    return;
  }
  // An infinity times zero would be NaN: each row by itself, with the values that it sees.
  for (int row = 0; row < w.rows; ++row) {
    PackSplit(w, room, columns, w.visible[row]);
    const int begin = RowTileAt(w, row / kTileRows);
    AddRows(split, begin, w.values);  // as a tile of rows; its floats have been packed
    const float* sums = w.values + (row - begin) * w.row_floats;
    for (int d = 0; d < room.dim_tiles * 16; ++d) w.part[row * w.row_floats + d] = sums[d];
  }
}

void AttendSplitOnTiles(Work& w, Tiles& tiles, const TileRoom& room, int split) {
  for (int row = 0; row < w.rows; ++row) w.visible[row] = w.Visible(row, split);
  const Range all = w.VisibleToAny(0, w.rows - 1);
  const Columns columns{split, all.begin / kKvTile * kKvTile, (all.end - 1) / kKvTile * kKvTile};
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
  w.tiles_ahead *= 2;  // one is computed in half the time
  const TileRoom room(w);
  FetchFirstKeys(w);
  LoadQueries(w);
  RoundQueries(w, room);
  Tiles tiles({.rows = Min(w.rows, kTileRows), .pairs = 16});
  AttendSplits(w, [&](Work& work, int split) { AttendSplitOnTiles(work, tiles, room, split); });
}

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
