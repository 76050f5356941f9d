#include "kernels/attention.h"

#include "kernels/cpu/kv_write.h"
#include "kernels/cpu/vector_math.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

// Register tiles: kRows rows × 2 vectors of positions for scores, kRows rows × kDimVectors of head_dim for values. With
// AVX-512 that is 12 and 24 accumulators out of 32 registers, with AVX2 12 and 12 out of 16.
constexpr int kRows = 6;
constexpr int kDimVectors = kLanes == 16 ? 4 : 2;
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
  int own_begin = -1;       // kI4: where the positions of the item's own tile begin
  TilePair own{};           // kI4
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
        values(keys + kKvTile * PaddedDim(dim)) {
    if (args.kv.format != KvFormat::kI4) return;
    own_begin = args.positions[item.token_begin] / kKvTile * kKvTile;
    own = OwnTiles(args.open, item.token_begin, args.num_heads / args.heads_per_kv_head, item.kv_head, dim);
  }

  float* M(float* base, int row) const { return base + row * row_floats + PaddedDim(dim); }
  float* L(float* base, int row) const { return M(base, row) + 1; }
  // What the row sees of the split, relative to the split's begin.
  Range Visible(int row, int split) const {
    const int position = args.positions[item.token_begin + row / item.num_heads] - split * kSplit;
    return Intersect({args.window > 0 ? position - args.window + 1 : 0, position + 1}, {0, kSplit});
  }
  // The union over rows [first, last]; their tokens are consecutive.
  Range VisibleToAny(int first, int last) const { return {visible[first].begin, visible[last].end}; }
};

void LoadQueries(const Work& w) {
  const F32 scale = Set(w.args.scale);
  for (int row = 0; row < w.rows; ++row) {
    const int64_t token = w.item.token_begin + row / w.item.num_heads;
    const float* q = w.args.q + token * w.args.q_stride + int64_t{w.item.head_begin + row % w.item.num_heads} * w.dim;
    for (int d = 0; d < w.dim; d += kLanes) {
      StoreSome(w.q + row * w.row_floats + d, LoadSome(q + d, w.dim - d) * scale, w.dim - d);
    }
  }
}

// The tiles of the position, a multiple of 32: the item's own, if they are open, or the cache's.
TilePair TilesAt(const Work& w, int position) {
  if (position == w.own_begin) return w.own;
  const KvLayer& kv = w.args.kv;
  return CacheTiles(kv, w.block_table[position / kv.block_len], position % kv.block_len, w.item.kv_head);
}
KvFormat FormatAt(const Work& w, int position) { return position == w.own_begin ? KvFormat::kF16 : w.args.kv.format; }

// Calls body with a reader of the keys that begin at `position`.
template <typename Body>
void VisitKeys(const Work& w, int position, const Body& body) {
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
void LoadRaggedValues(const Work& w, const std::byte* tile, KvFormat format) {
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
void VisitValues(const Work& w, int position, const Body& body) {
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

// Rows of an item, at most kRows of them, that work on the tile at a column of the split.
struct Rows {
  int begin, count;
  int column;
  NextTile next;  // fetched meanwhile
};

// scores[r][j] = Σ_d q[r][d] · keys[d][j], d ascending, for R rows and the 32 positions of a tile.
template <typename Keys, int R>
void ScoreRows(const Work& w, const Keys& keys, const Rows& rows) {
  const float* q = w.q + rows.begin * w.row_floats;
  float* scores = w.scores + int64_t{rows.begin} * kScoreStride + rows.column;
  constexpr int kFetchDims = Keys::kFetchDims > 0 ? Keys::kFetchDims : 1 << 20;
  const int parts = (kHalfTile / kLanes) * ((w.dim + kFetchDims - 1) / kFetchDims);
  Prefetcher prefetcher(Keys::kFetchDims > 0 ? rows.next : NextTile{}, parts);
  for (int j = 0; j < kHalfTile; j += kLanes) {
    const auto columns = keys.At(j);
    F32 sum[R][2];
    for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = Set(0);
    for (int begin = 0; begin < w.dim; begin += kFetchDims) {
      prefetcher.FetchPart();
      const int end = Min(begin + kFetchDims, w.dim);
      for (int d = begin; d < end; ++d) {
        F32 k0, k1;
        columns.Load(d, &k0, &k1);
        for (int r = 0; r < R; ++r) {
          const F32 x = Set(q[r * w.row_floats + d]);
          sum[r][0] = Fma(x, k0, sum[r][0]);
          sum[r][1] = Fma(x, k1, sum[r][1]);
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      Store(scores + int64_t{r} * kScoreStride + j, sum[r][0]);
      Store(scores + int64_t{r} * kScoreStride + j + kHalfTile, sum[r][1]);
    }
  }
}

// part[r][d] += Σ_j p[r][j] · values[j][d] for R rows, V vectors from d on and the positions [begin, end) of a tile, in
// order.
template <typename Values, int R, int V>
void AddValues(const Work& w, const Values& values, const Rows& rows, int d, Range positions) {
  constexpr int kFetchPositions = Values::kFetchPositions > 0 ? Values::kFetchPositions : kKvTile;
  const NextTile share{rows.next.begin + rows.next.bytes * d / w.dim, rows.next.bytes * Min(V * kLanes, w.dim) / w.dim};
  Prefetcher prefetcher(Values::kFetchPositions > 0 ? share : NextTile{}, kKvTile / kFetchPositions);
  const float* p = w.scores + int64_t{rows.begin} * kScoreStride + rows.column;
  float* out = w.part + rows.begin * w.row_floats + d;
  F32 sum[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) sum[r][v] = Load(out + r * w.row_floats + v * kLanes);
  }
  for (int begin = positions.begin; begin < positions.end; begin += kFetchPositions) {
    prefetcher.FetchPart();
    const int end = Min(begin + kFetchPositions, positions.end);
    for (int j = begin; j < end; ++j) {
      const auto row = values.At(j);
      F32 value[V];
      row.template Load<V>(d, value);
      for (int r = 0; r < R; ++r) {
        const F32 x = Set(p[int64_t{r} * kScoreStride + j]);
        for (int v = 0; v < V; ++v) sum[r][v] = Fma(x, value[v], sum[r][v]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) Store(out + r * w.row_floats + v * kLanes, sum[r][v]);
  }
}

template <typename Values, int R>
void AddValueRows(const Work& w, const Values& values, const Rows& rows, Range positions) {
  if (positions.empty()) return;
  int d = 0;
  for (; d + kDimVectors * kLanes <= w.dim; d += kDimVectors * kLanes) {
    AddValues<Values, R, kDimVectors>(w, values, rows, d, positions);
  }
  switch ((w.dim - d + kLanes - 1) / kLanes) {
    case 1:
      return AddValues<Values, R, 1>(w, values, rows, d, positions);
    case 2:
      return AddValues<Values, R, 2>(w, values, rows, d, positions);
    case 3:
      return AddValues<Values, R, Min(3, kDimVectors)>(w, values, rows, d, positions);
    case 4:
      return AddValues<Values, R, kDimVectors>(w, values, rows, d, positions);
    default:
      return;
  }
}

template <typename Keys>
using ScoreFunction = void (*)(const Work&, const Keys&, const Rows&);
template <typename Values>
using ValueFunction = void (*)(const Work&, const Values&, const Rows&, Range positions);
template <typename Keys>
constexpr ScoreFunction<Keys> kScoreRows[kRows + 1] = {nullptr,
                                                       ScoreRows<Keys, 1>,
                                                       ScoreRows<Keys, 2>,
                                                       ScoreRows<Keys, 3>,
                                                       ScoreRows<Keys, 4>,
                                                       ScoreRows<Keys, 5>,
                                                       ScoreRows<Keys, 6>};
template <typename Values>
constexpr ValueFunction<Values> kAddValueRows[kRows + 1] = {nullptr,
                                                            AddValueRows<Values, 1>,
                                                            AddValueRows<Values, 2>,
                                                            AddValueRows<Values, 3>,
                                                            AddValueRows<Values, 4>,
                                                            AddValueRows<Values, 5>,
                                                            AddValueRows<Values, 6>};

// Caps the scores that the row sees, selects away the others, and returns the maximum.
float CapAndMask(const Work& w, float* scores, Range visible) {
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

// Scores become exp(score - maximum); maximum and sum go to the row's m and l.
void SoftmaxRow(const Work& w, int row) {
  float* scores = w.scores + int64_t{row} * kScoreStride;
  const Range visible = w.visible[row];
  const float m = CapAndMask(w, scores, visible);
  F32 sum = Set(0);
  for (int j = visible.begin / kLanes * kLanes; j < visible.end; j += kLanes) {
    const F32 p = Exp(Load(scores + j) - Set(m));
    Store(scores + j, p);
    sum = sum + p;
  }
  *w.M(w.part, row) = m;
  *w.L(w.part, row) = ReduceAdd(sum);
}

// The positions of a tile that every row sees go together, the ragged ends row by row; for each row in order.
template <typename Values>
void AddTile(const Work& w, const Values& values, const Rows& rows) {
  Range common = {0, kKvTile};
  Range seen[kRows];
  for (int r = 0; r < rows.count; ++r) {
    const Range visible = w.visible[rows.begin + r];
    seen[r] = Intersect({visible.begin - rows.column, visible.end - rows.column}, {0, kKvTile});
    common = Intersect(common, seen[r]);
  }
  const auto add_one = [&](int r, Range positions) {
    AddValueRows<Values, 1>(w, values, {rows.begin + r, 1, rows.column, {}}, positions);
  };
  if (common.empty()) {
    for (int r = 0; r < rows.count; ++r) add_one(r, seen[r]);
    return;
  }
  for (int r = 0; r < rows.count; ++r) add_one(r, {seen[r].begin, common.begin});
  kAddValueRows<Values>[rows.count](w, values, rows, common);
  for (int r = 0; r < rows.count; ++r) add_one(r, {common.end, seen[r].end});
}

template <typename Keys>
void ScoreTile(const Work& w, const Keys& keys, int column, NextTile next) {
  for (int row = 0; row < w.rows; row += kRows) {
    const int count = Min(kRows, w.rows - row);
    const Range seen = w.VisibleToAny(row, row + count - 1);
    if (Intersect(seen, {column, column + kKvTile}).empty()) continue;
    kScoreRows<Keys>[count](w, keys, {row, count, column, next});
    next = {};
  }
}

// The columns of a split that are read: first all of its keys, then all of its values.
struct Columns {
  int split, first, last;  // tiles begin at first … last
};

// How many tiles ahead memory is asked for: as many as take as long to compute as the first of them to come.
int TilesAhead(KvFormat format) { return format == KvFormat::kI4 ? 4 : format == KvFormat::kI8 ? 3 : 2; }

// What is fetched while the tile of keys or values at `column` is worked on.
NextTile TileAhead(const Work& w, const Columns& columns, bool values, int column) {
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
void FetchFirstKeys(const Work& w) {
  const Range seen = w.Visible(0, w.item.split_begin);
  const int first = w.item.split_begin * kSplit + seen.begin / kKvTile * kKvTile;
  const int last = w.item.split_begin * kSplit + seen.end - 1;
  for (int i = 0; i < TilesAhead(w.args.kv.format) && first + i * kKvTile <= last; ++i) {
    Prefetcher({TilesAt(w, first + i * kKvTile).keys, w.args.kv.key_tile_bytes}, 1).FetchPart();
  }
}

// m, l and the sum of values of one split for every row, into w.part.
void AttendSplit(Work& w, int split) {
  for (int row = 0; row < w.rows; ++row) w.visible[row] = w.Visible(row, split);
  const Range all = w.VisibleToAny(0, w.rows - 1);
  const Columns columns{split, all.begin / kKvTile * kKvTile, (all.end - 1) / kKvTile * kKvTile};
  // Few rows read a tile as it is. Many would convert it again and again: for them it becomes floats first.
  const bool once = w.rows <= kRows;
  for (int column = columns.first; column < all.end; column += kKvTile) {
    const NextTile next = TileAhead(w, columns, false, column);
    VisitKeys(w, split * kSplit + column, [&](const auto& keys) {
      if (once) return ScoreTile(w, keys, column, next);
      ConvertKeys(keys, w.dim, next, w.keys);
      ScoreTile(w, FloatKeys{w.keys}, column, {});
    });
  }
  for (int row = 0; row < w.rows; ++row) {
    if (!w.visible[row].empty()) SoftmaxRow(w, row);
    for (int d = 0; d < w.dim; d += kLanes) Store(w.part + row * w.row_floats + d, Set(0));
  }
  for (int column = columns.first; column < all.end; column += kKvTile) {
    const NextTile next = TileAhead(w, columns, true, column);
    VisitValues(w, split * kSplit + column, [&](const auto& values) {
      if (once) return AddTile(w, values, {0, w.rows, column, next});
      ConvertValues(values, w.dim, next, w.values);
      const FloatValues floats{w.values, PaddedDim(w.dim)};
      for (int row = 0; row < w.rows; row += kRows) AddTile(w, floats, {row, Min(kRows, w.rows - row), column, {}});
    });
  }
}

// total[row] takes in the split's part: a copy for the first, else both are brought to the common maximum.
void MergeRow(const Work& w, int row, bool first, float* part) {
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

void MergeSplit(const Work& w, int split, float* part) {
  for (int row = 0; row < w.rows; ++row) {
    if (w.Visible(row, split).empty()) continue;
    const bool first = split == w.item.split_begin || w.Visible(row, split - 1).empty();
    MergeRow(w, row, first, part);
  }
}

void WriteOut(const Work& w) {
  for (int row = 0; row < w.rows; ++row) {
    const int64_t token = w.item.token_begin + row / w.item.num_heads;
    const int64_t head = w.item.head_begin + row % w.item.num_heads;
    float* out = w.args.out + (token * w.args.num_heads + head) * w.dim;
    const F32 inverse = Set(1.0f) / Set(*w.L(w.total, row));
    for (int d = 0; d < w.dim; d += kLanes) {
      StoreSome(out + d, Load(w.total + row * w.row_floats + d) * inverse, w.dim - d);
    }
  }
}

void Attend(const AttentionArgs& args, const AttentionItem& item, float* workspace) {
  Work w(args, item, workspace);
  FetchFirstKeys(w);
  LoadQueries(w);
  for (int split = item.split_begin; split < item.split_end; ++split) {
    if (item.partial != nullptr) w.part = item.partial + (split - item.split_begin) * w.rows * w.row_floats;
    AttendSplit(w, split);
    if (item.partial == nullptr) MergeSplit(w, split, w.part);
  }
  if (item.partial == nullptr) WriteOut(w);
}

void Merge(const AttentionArgs& args, const AttentionItem& item, float* workspace) {
  const Work w(args, item, workspace);
  for (int split = item.split_begin; split < item.split_end; ++split) {
    MergeSplit(w, split, item.partial + (split - item.split_begin) * w.rows * w.row_floats);
  }
  WriteOut(w);
}

}  // namespace

const AttentionKernels kAttention = {KvWrite, CloseTile, Attend, Merge};

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
