#include "kernels/attention.h"

#include "kernels/cpu/attention_item.h"
#include "kernels/cpu/flush_denormals.h"
#include "kernels/cpu/kv_write.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

// Register tiles: kRows rows × 2 vectors of positions for scores, kRows rows × kDimVectors of head_dim for values. With
// AVX-512 that is 12 and 24 accumulators out of 32 registers, with AVX2 12 and 12 out of 16.
constexpr int kRows = 6;
constexpr int kDimVectors = kLanes == 16 ? 4 : 2;
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

void AttendSplit(Work& w, int split) {
  const Columns columns = BeginSplit(w, split);
  // Few rows read a tile as it is. Many would convert it again and again: for them it becomes floats first.
  const bool once = w.rows <= kRows;
  for (int column = columns.first; column <= columns.last; column += kKvTile) {
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
  for (int column = columns.first; column <= columns.last; column += kKvTile) {
    const NextTile next = TileAhead(w, columns, true, column);
    VisitValues(w, split * kSplit + column, [&](const auto& values) {
      if (once) return AddTile(w, values, {0, w.rows, column, next});
      ConvertValues(values, w.dim, next, w.values);
      const FloatValues floats{w.values, PaddedDim(w.dim)};
      for (int row = 0; row < w.rows; row += kRows) AddTile(w, floats, {row, Min(kRows, w.rows - row), column, {}});
    });
  }
}

void Attend(const AttentionArgs& args, const AttentionItem& item, float* workspace) {
  const FlushDenormals flush;  // exponentials of what is far below the maximum
  Work w(args, item, workspace);
  FetchFirstKeys(w);
  LoadQueries(w);
  AttendSplits(w, AttendSplit);
}

}  // namespace

const AttentionKernels kAttention = {KvWrite, CloseTile, Attend, Merge, nullptr};

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
