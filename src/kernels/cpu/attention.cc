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
    own = OwnTiles(args.open, item.token_begin, args.num_heads / args.group, item.kv_head, dim);
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

// The tile of keys that begins at `position`, as floats: [dim, kKvTile]. Meanwhile what lies at `next` is fetched.
const float* LoadKeys(const Work& w, int position, int next) {
  const std::byte* tile = TilesAt(w, position).keys;
  const NextTile fetch{TilesAt(w, next).keys, w.args.kv.key_tile_bytes};
  switch (FormatAt(w, position)) {
    case KvFormat::kF32:
      return reinterpret_cast<const float*>(tile);
    case KvFormat::kF16:
      ConvertHalves(tile, w.dim, fetch, w.keys);
      break;
    case KvFormat::kI8:
      ConvertKeys8(tile, w.dim, fetch, w.keys);
      break;
    case KvFormat::kI4:
      ConvertKeys4(tile, w.dim, fetch, w.keys);
      break;
  }
  return w.keys;
}

// Values whose rows are not whole vectors: filled up with zeros.
void LoadRaggedValues(const Work& w, const std::byte* tile, bool is_f16) {
  for (int j = 0; j < kKvTile; ++j) {
    float* out = w.values + j * PaddedDim(w.dim);
    for (int d = 0; d < w.dim; d += kLanes) {
      const int64_t i = int64_t{j} * w.dim + d;
      const int n = Min(kLanes, w.dim - d);
      Store(out + d,
            is_f16 ? LoadHalfFirst(Halves(tile) + i, n) : LoadFirst(reinterpret_cast<const float*>(tile) + i, n));
    }
  }
}

// The values of 32 positions from `position` on, as floats: [kKvTile, PaddedDim(dim)].
void LoadValues(const Work& w, int position, int next) {
  const std::byte* tile = TilesAt(w, position).values;
  const NextTile fetch{TilesAt(w, next).values, w.args.kv.value_tile_bytes};
  switch (FormatAt(w, position)) {
    case KvFormat::kF32:
      return LoadRaggedValues(w, tile, false);
    case KvFormat::kF16:
      return w.dim % 16 == 0 ? ConvertHalves(tile, w.dim, fetch, w.values) : LoadRaggedValues(w, tile, true);
    case KvFormat::kI8:
      return ConvertValues8(tile, w.dim, PaddedDim(w.dim), fetch, w.values);
    case KvFormat::kI4:
      return ConvertValues4(tile, w.dim, PaddedDim(w.dim), fetch, w.values);
  }
}

// scores[r][j] = Σ_d q[r][d] · keys[d][j], d ascending, for R rows and the 32 positions of a tile.
template <int R>
void ScoreRows(const Work& w, int row, const float* keys, int column) {
  const float* q = w.q + row * w.row_floats;
  float* scores = w.scores + int64_t{row} * kScoreStride + column;
  for (int j = 0; j < kKvTile; j += 2 * kLanes) {
    F32 sum[R][2];
    for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = Set(0);
    for (int d = 0; d < w.dim; ++d) {
      const F32 k0 = Load(keys + d * kKvTile + j), k1 = Load(keys + d * kKvTile + j + kLanes);
      for (int r = 0; r < R; ++r) {
        const F32 x = Set(q[r * w.row_floats + d]);
        sum[r][0] = Fma(x, k0, sum[r][0]);
        sum[r][1] = Fma(x, k1, sum[r][1]);
      }
    }
    for (int r = 0; r < R; ++r) {
      Store(scores + int64_t{r} * kScoreStride + j, sum[r][0]);
      Store(scores + int64_t{r} * kScoreStride + j + kLanes, sum[r][1]);
    }
  }
}

// part[r][d] += Σ_j p[r][j] · values[j][d] for R rows, V vectors from d on and the positions [begin, end) of a tile, in
// order.
template <int R, int V>
void AddValues(const Work& w, int row, int d, int column, Range positions) {
  const float* p = w.scores + int64_t{row} * kScoreStride + column;
  const int64_t stride = PaddedDim(w.dim);
  float* out = w.part + row * w.row_floats + d;
  F32 sum[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) sum[r][v] = Load(out + r * w.row_floats + v * kLanes);
  }
  for (int j = positions.begin; j < positions.end; ++j) {
    F32 value[V];
    for (int v = 0; v < V; ++v) value[v] = Load(w.values + j * stride + d + v * kLanes);
    for (int r = 0; r < R; ++r) {
      const F32 x = Set(p[int64_t{r} * kScoreStride + j]);
      for (int v = 0; v < V; ++v) sum[r][v] = Fma(x, value[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) Store(out + r * w.row_floats + v * kLanes, sum[r][v]);
  }
}

template <int R>
void AddValueRows(const Work& w, int row, int column, Range positions) {
  if (positions.empty()) return;
  int d = 0;
  for (; d + kDimVectors * kLanes <= w.dim; d += kDimVectors * kLanes) {
    AddValues<R, kDimVectors>(w, row, d, column, positions);
  }
  switch ((w.dim - d + kLanes - 1) / kLanes) {
    case 1:
      return AddValues<R, 1>(w, row, d, column, positions);
    case 2:
      return AddValues<R, 2>(w, row, d, column, positions);
    case 3:
      return AddValues<R, Min(3, kDimVectors)>(w, row, d, column, positions);
    case 4:
      return AddValues<R, kDimVectors>(w, row, d, column, positions);
    default:
      return;
  }
}

using ScoreFunction = void (*)(const Work&, int row, const float* keys, int column);
using ValueFunction = void (*)(const Work&, int row, int column, Range positions);
constexpr ScoreFunction kScoreRows[kRows + 1] = {nullptr,      ScoreRows<1>, ScoreRows<2>, ScoreRows<3>,
                                                 ScoreRows<4>, ScoreRows<5>, ScoreRows<6>};
constexpr ValueFunction kAddValueRows[kRows + 1] = {nullptr,         AddValueRows<1>, AddValueRows<2>, AddValueRows<3>,
                                                    AddValueRows<4>, AddValueRows<5>, AddValueRows<6>};

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

// Rows of a tile of positions: those that every row sees go together, the ragged ends row by row; for each row in
// order.
void AddTile(const Work& w, int row, int count, int column) {
  Range common = {0, kKvTile};
  Range seen[kRows];
  for (int r = 0; r < count; ++r) {
    const Range visible = w.visible[row + r];
    seen[r] = Intersect({visible.begin - column, visible.end - column}, {0, kKvTile});
    common = Intersect(common, seen[r]);
  }
  if (common.empty()) {
    for (int r = 0; r < count; ++r) AddValueRows<1>(w, row + r, column, seen[r]);
    return;
  }
  for (int r = 0; r < count; ++r) AddValueRows<1>(w, row + r, column, {seen[r].begin, common.begin});
  kAddValueRows[count](w, row, column, common);
  for (int r = 0; r < count; ++r) AddValueRows<1>(w, row + r, column, {common.end, seen[r].end});
}

// m, l and the sum of values of one split for every row, into w.part.
void AttendSplit(Work& w, int split) {
  for (int row = 0; row < w.rows; ++row) w.visible[row] = w.Visible(row, split);
  const Range all = w.VisibleToAny(0, w.rows - 1);
  const int first = all.begin / kKvTile * kKvTile, last = (all.end - 1) / kKvTile * kKvTile, base = split * kSplit;
  for (int column = first; column < all.end; column += kKvTile) {
    const float* keys = LoadKeys(w, base + column, base + Min(column + kKvTile, last));
    for (int row = 0; row < w.rows; row += kRows) {
      const int count = Min(kRows, w.rows - row);
      const Range seen = w.VisibleToAny(row, row + count - 1);
      if (!Intersect(seen, {column, column + kKvTile}).empty()) kScoreRows[count](w, row, keys, column);
    }
  }
  for (int row = 0; row < w.rows; ++row) {
    if (!w.visible[row].empty()) SoftmaxRow(w, row);
    for (int d = 0; d < w.dim; d += kLanes) Store(w.part + row * w.row_floats + d, Set(0));
  }
  for (int column = first; column < all.end; column += kKvTile) {
    LoadValues(w, base + column, base + Min(column + kKvTile, last));
    for (int row = 0; row < w.rows; row += kRows) AddTile(w, row, Min(kRows, w.rows - row), column);
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
