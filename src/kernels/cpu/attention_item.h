// An item of attention at work: what it sees, its softmax, and how splits are merged. For attention.cc and
// attention_tiles.cc, which compute scores and sums of values.
#pragma once

#include "kernels/cpu/kv_tile.h"
#include "kernels/cpu/vector_math.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

constexpr int kScoreStride = kSplit + 16;  // a power of two would put the rows of a column into the same cache sets
constexpr float kInfinity = __builtin_inff();

constexpr int Min(int a, int b) { return a < b ? a : b; }
constexpr int Max(int a, int b) { return a > b ? a : b; }

struct Range {
  int begin, end;
  bool empty() const { return begin >= end; }
};
inline Range Intersect(Range a, Range b) { return {Max(a.begin, b.begin), Min(a.end, b.end)}; }

// An item at work. Rows are (token, head), by token.
struct Work {
  const AttentionArgs& args;
  const AttentionItem& item;
  const int32_t* block_table;
  int rows;
  int dim;
  int64_t row_floats;       // PartialFloats(dim)
  float* scores;            // [rows, kScoreStride]
  float* q;                 // [rows, row_floats], times scale
  float* part;              // [rows, row_floats]: sum of values of the split, then m, l
  float* total;             // [rows, row_floats]: the same, of all splits so far
  float* keys;              // [dim, kKvTile]
  float* values;            // [kKvTile, PaddedDim(dim)]
  std::byte* tiles;         // for those that compute on tiles
  int own_begin = -1;       // kI4: where the positions of the item's own tile begin
  TilePair own{};           // kI4
  int positions[kMaxRows];  // of the rows' tokens
  Range visible[kMaxRows];  // what the rows see of the present split, from its begin

  Work(const AttentionArgs& attention_args, const AttentionItem& attention_item, float* workspace)
      : args(attention_args),
        item(attention_item),
        block_table(args.block_tables + item.seq * args.block_table_stride),
        rows(item.num_tokens * item.num_heads),
        dim(args.kv.head_dim),
        row_floats(PartialFloats(dim)),
        scores(workspace),
        q(scores + int64_t{kMaxRows} * kScoreStride),
        part(q + kMaxRows * row_floats),
        total(part + kMaxRows * row_floats),
        keys(total + kMaxRows * row_floats),
        values(keys + kKvTile * PaddedDim(dim)),
        tiles(reinterpret_cast<std::byte*>(values + kKvTile * PaddedDim(dim))) {
    for (int token = 0, row = 0; token < item.num_tokens; ++token) {
      for (int head = 0; head < item.num_heads; ++head) positions[row++] = args.positions[item.token_begin + token];
    }
    if (args.kv.format != KvFormat::kI4) return;
    own_begin = args.positions[item.token_begin] / kKvTile * kKvTile;
    own = OwnTiles(args.open, item.token_begin, args.num_heads / args.heads_per_kv_head, item.kv_head, dim);
  }

  float* M(float* base, int row) const { return base + row * row_floats + PaddedDim(dim); }
  float* L(float* base, int row) const { return M(base, row) + 1; }
  // What the row sees of the split, relative to the split's begin.
  Range Visible(int row, int split) const {
    const int position = positions[row] - split * kSplit;
    return Intersect({args.window > 0 ? position - args.window + 1 : 0, position + 1}, {0, kSplit});
  }
  // The union over rows [first, last]; their tokens are consecutive.
  Range VisibleToAny(int first, int last) const { return {visible[first].begin, visible[last].end}; }
};

inline void LoadQueries(const Work& w) {
  const F32 scale = Set(w.args.scale);
  float* out = w.q;
  for (int64_t token = w.item.token_begin; token < w.item.token_begin + w.item.num_tokens; ++token) {
    const float* q = w.args.q + token * w.args.q_stride + int64_t{w.item.head_begin} * w.dim;
    for (int head = 0; head < w.item.num_heads; ++head, q += w.dim, out += w.row_floats) {
      for (int d = 0; d < w.dim; d += kLanes) StoreSome(out + d, LoadSome(q + d, w.dim - d) * scale, w.dim - d);
    }
  }
}

// The tiles of the position, a multiple of 32: the item's own, if they are open, or the cache's.
inline TilePair TilesAt(const Work& w, int position) {
  if (position == w.own_begin) return w.own;
  const KvLayer& kv = w.args.kv;
  return CacheTiles(kv, w.block_table[position / kv.block_len], position % kv.block_len, w.item.kv_head);
}
inline KvFormat FormatAt(const Work& w, int position) {
  return position == w.own_begin ? KvFormat::kF16 : w.args.kv.format;
}

// Calls body with a reader of the keys that begin at `position`.
template <typename Body>
inline void VisitKeys(const Work& w, int position, const Body& body) {
  const std::byte* tile = TilesAt(w, position).keys;
  switch (FormatAt(w, position)) {
    case KvFormat::kF32:
      return body(FloatKeys{reinterpret_cast<const float*>(tile)});
    case KvFormat::kF16:
      return body(HalfKeys<Fp16>{Halves(tile)});
    case KvFormat::kBF16:
      return body(HalfKeys<Bf16>{Halves(tile)});
    case KvFormat::kI8:
      return body(ByteKeys{tile, w.dim});
    case KvFormat::kI4:
      return body(CodeKeys(tile, w.dim, w.values));  // values are read later
  }
}

// Values whose rows are not whole vectors: filled up with zeros.
inline void LoadRaggedValues(const Work& w, const std::byte* tile, KvFormat format) {
  for (int j = 0; j < kKvTile; ++j) {
    float* out = w.values + j * PaddedDim(w.dim);
    for (int d = 0; d < w.dim; d += kLanes) {
      const int64_t i = int64_t{j} * w.dim + d;
      const int n = Min(kLanes, w.dim - d);
      Store(out + d, format == KvFormat::kF16    ? Fp16::LoadFirst(Halves(tile) + i, n)
                     : format == KvFormat::kBF16 ? Bf16::LoadFirst(Halves(tile) + i, n)
                                                 : LoadFirst(reinterpret_cast<const float*>(tile) + i, n));
    }
  }
}

// The same for values.
template <typename Body>
inline void VisitValues(const Work& w, int position, const Body& body) {
  const std::byte* tile = TilesAt(w, position).values;
  const KvFormat format = FormatAt(w, position);
  switch (format) {
    case KvFormat::kF32:
      break;
    case KvFormat::kF16:
      if (w.dim % 16 != 0) break;
      return body(HalfValues<Fp16>{Halves(tile), w.dim});
    case KvFormat::kBF16:
      if (w.dim % 16 != 0) break;
      return body(HalfValues<Bf16>{Halves(tile), w.dim});
    case KvFormat::kI8:
      return body(ByteValues{tile, w.dim});
    case KvFormat::kI4:
      return body(CodeValues(tile, w.dim, w.keys));  // keys have been read
  }
  LoadRaggedValues(w, tile, format);
  return body(FloatValues{w.values, PaddedDim(w.dim)});
}

// Caps the scores that the row sees, selects away the others, and returns the maximum.
inline float CapAndMask(const Work& w, float* scores, Range visible) {
  const float cap = w.args.softcap;
  F32 max = Set(-kInfinity);
  for (int j = visible.begin / kLanes * kLanes; j < visible.end; j += kLanes) {
    F32 s = Load(scores + j);
    if (cap > 0) s = Set(cap) * Tanh(s / Set(cap));
    const bool whole = j >= visible.begin && j + kLanes <= visible.end;
    if (!whole) s = Select(LanesBetween(visible.begin - j, visible.end - j), s, Set(-kInfinity));
    if (!whole || cap > 0) Store(scores + j, s);
    max = Max(max, s);
  }
  return ReduceMax(max);
}

// The columns of a split that are read: first all of its keys, then all of its values.
struct Columns {
  int split, first, last;  // tiles begin at first … last
};

// What the rows see of a split, and with it its columns.
inline Columns BeginSplit(Work& w, int split) {
  for (int row = 0; row < w.rows; ++row) w.visible[row] = w.Visible(row, split);
  const Range all = w.VisibleToAny(0, w.rows - 1);
  return {split, all.begin / kKvTile * kKvTile, (all.end - 1) / kKvTile * kKvTile};
}

// How many tiles ahead memory is asked for: as many as take as long to compute as the first of them to come.
inline int TilesAhead(KvFormat format) { return format == KvFormat::kI4 ? 4 : format == KvFormat::kI8 ? 3 : 2; }

// What is fetched while the tile of keys or values at `column` is worked on.
inline NextTile TileAhead(const Work& w, const Columns& columns, bool values, int column) {
  const int ahead = TilesAhead(w.args.kv.format) * kKvTile;
  int position = columns.split * kSplit + column + ahead;
  const int past = column + ahead - columns.last - kKvTile;  // columns past the last one
  if (past >= 0 && values) {
    if (columns.split + 1 == w.item.split_end) return {};
    position = (columns.split + 1) * kSplit + past;
    values = false;
  } else if (past >= 0) {
    position = columns.split * kSplit + Min(columns.first + past, columns.last);
    values = true;
  }
  if (position > w.args.positions[w.item.token_begin + w.item.num_tokens - 1]) return {};
  const TilePair tiles = TilesAt(w, position);
  return values ? NextTile{tiles.values, w.args.kv.value_tile_bytes} : NextTile{tiles.keys, w.args.kv.key_tile_bytes};
}

// The first keys of an item, which have not been prefetched.
inline void FetchFirstKeys(const Work& w) {
  const Range seen = w.Visible(0, w.item.split_begin);
  const int first = w.item.split_begin * kSplit + seen.begin / kKvTile * kKvTile;
  const int last = w.item.split_begin * kSplit + seen.end - 1;
  for (int i = 0; i < TilesAhead(w.args.kv.format) && first + i * kKvTile <= last; ++i) {
    Prefetcher({TilesAt(w, first + i * kKvTile).keys, w.args.kv.key_tile_bytes}, 1).FetchPart();
  }
}

// total[row] takes in the split's part: a copy for the first, else both are brought to the common maximum.
inline void MergeRow(const Work& w, int row, bool first, float* part) {
  float* total = w.total + row * w.row_floats;
  const float* from = part + row * w.row_floats;
  if (first) {
    for (int64_t i = 0; i < w.row_floats; i += kLanes) Store(total + i, Load(from + i));
    return;
  }
  const F32 m_total = Set(*w.M(w.total, row)), m_part = Set(*w.M(part, row)), m = Max(m_total, m_part);
  const F32 a = Exp(m_total - m), b = Exp(m_part - m);
  const F32 l = Fma(Set(*w.L(w.total, row)), a, Set(*w.L(part, row)) * b);
  for (int d = 0; d < w.dim; d += kLanes) Store(total + d, Fma(Load(total + d), a, Load(from + d) * b));
  StoreFirst(w.M(w.total, row), m, 1);
  StoreFirst(w.L(w.total, row), l, 1);
}

inline void MergeSplit(const Work& w, int split, float* part) {
  for (int row = 0; row < w.rows; ++row) {
    if (w.Visible(row, split).empty()) continue;
    const bool first = split == w.item.split_begin || w.Visible(row, split - 1).empty();
    MergeRow(w, row, first, part);
  }
}

inline void WriteOut(const Work& w) {
  int row = 0;
  for (int64_t token = w.item.token_begin; token < w.item.token_begin + w.item.num_tokens; ++token) {
    float* out = w.args.out + (token * w.args.num_heads + w.item.head_begin) * w.dim;
    for (int head = 0; head < w.item.num_heads; ++head, ++row, out += w.dim) {
      const float* sums = w.total + row * w.row_floats;
      const F32 inverse = Set(1.0f) / Set(*w.L(w.total, row));
      for (int d = 0; d < w.dim; d += kLanes) StoreSome(out + d, Load(sums + d) * inverse, w.dim - d);
    }
  }
}

// attend_split(w, split): m, l and the sum of values of one split for every row, into w.part.
template <typename AttendSplit>
void AttendSplits(Work& w, const AttendSplit& attend_split) {
  const AttentionItem& item = w.item;
  for (int split = item.split_begin; split < item.split_end; ++split) {
    if (item.partial != nullptr) w.part = item.partial + (split - item.split_begin) * w.rows * w.row_floats;
    attend_split(w, split);
    if (item.partial == nullptr) MergeSplit(w, split, w.part);
  }
  if (item.partial == nullptr) WriteOut(w);
}

inline void Merge(const AttentionArgs& args, const AttentionItem& item, float* workspace) {
  const Work w(args, item, workspace);
  for (int split = item.split_begin; split < item.split_end; ++split) {
    MergeSplit(w, split, item.partial + (split - item.split_begin) * w.rows * w.row_floats);
  }
  WriteOut(w);
}

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
