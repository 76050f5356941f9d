// Products with packed weights on tensor cores: y = x · Wᵀ + bias. Weights stay packed until registers, where they
// become numbers of the activations' type (W4A16, W8A16, W16A16); sums are fp32. Or x is int8 with a scale for each
// row, W int8 with a scale for each channel, and sums are int32 (W8A8).
//
// A block does a tile of y: some rows of x times some panels of 16 channels. Tiles of 64 inputs (128 of int8), of x and
// of W, come in stages of shared memory: while one is multiplied, the next kStages - 1 are copied.
//
// The bits of a row of y depend on its x and the weights alone. The inputs are cut into p.splits parts, by N and K. In
// a part the steps of mma follow one another from 0; the sums of the parts are added in ascending order. A block does
// all parts, or (p.spread, for few rows) one: then the last block of a tile adds what all of them wrote. Which, and the
// shape of the tile, makes no difference.
#pragma once

#include "kernels/cuda/gemm_weights.h"

namespace ingot::kernels::cuda {

// Of x and y. One for activations of each type T; SignedBytes are those of W8A8.
template <typename T>
struct GemmType {
  using Sum = float;
};
template <>
struct GemmType<SignedBytes> {
  using Sum = int32_t;
};
INGOT_DEVICE void MultiplyTile(SignedBytes, int32_t (&d)[4], const uint32_t (&a)[4],
                               const uint32_t (&b)[2] INGOT_HERE) {
  MmaS8(d, a, b INGOT_PASS_HERE);
}

// What a block multiplies.
struct GemmBlock {
  const std::byte* panels;  // its first
  const float* bias;        // [out_features] or null
  int64_t first_panel, first_row;
  int num_panels, rows;  // fewer at the edges of y than the shape has
  int begin, end;        // tiles of the inputs
};
template <typename Shape>
INGOT_DEVICE GemmBlock BlockOf(const GemmParams& p) {
  const uint32_t z = BlockIndex().z, expert = p.spread ? 0 : z;
  int64_t begin = p.first_row, end = p.rows;
  if (p.expert_begin != nullptr) {
    begin = Maximum<int64_t>(begin, p.expert_begin[expert]);
    end = Minimum<int64_t>(end, p.expert_begin[expert + 1]);
  }
  const int64_t first_row = begin + int64_t{BlockIndex().x} * Shape::kRows;
  const int64_t first_panel = int64_t{BlockIndex().y} * Shape::kBlockPanels;
  const int64_t all_panels = (p.out_features + kPanelChannels - 1) / kPanelChannels;
  GemmBlock block{.panels = p.packed[expert] + first_panel * p.tiles.panel_bytes,
                  .bias = p.bias[expert],
                  .first_panel = first_panel,
                  .first_row = first_row,
                  .num_panels = static_cast<int>(Minimum<int64_t>(Shape::kBlockPanels, all_panels - first_panel)),
                  .rows = static_cast<int>(Minimum<int64_t>(Shape::kRows, end - first_row)),
                  .begin = 0,
                  .end = p.tiles.tiles};
  if (p.spread) {
    block.begin = static_cast<int>(z) * p.split_tiles;
    block.end = Minimum(block.begin + p.split_tiles, block.end);
  }
  return block;
}

// A stage in shared memory. Piece i (16 bytes) of row r of x is at i ^ r % 8, so that ldmatrix has no bank conflicts.
template <TileKind kKind, typename Shape>
struct GemmStage {
  static constexpr int kTileBytes = VectorsOf(kKind) * kVectorBytes;  // of a panel
  std::byte *x, *weights, *groups;

  INGOT_DEVICE explicit GemmStage(std::byte* stage)
      : x(stage), weights(x + Shape::kRows * kTileRowBytes), groups(weights + Shape::kBlockPanels * kTileBytes) {}
  INGOT_DEVICE std::byte* PieceOfX(int row, int piece) const {
    return x + row * kTileRowBytes + (piece ^ row % 8) * 16;
  }
};

// Inputs k … k + 7 of a row of 16-bit numbers, where they do not lie in aligned pieces.
INGOT_DEVICE Vector EightInputs(const GemmParams& p, const GemmBlock& block, int64_t row, int64_t k) {
  const auto* const x = static_cast<const uint16_t*>(p.x) + row * p.tiles.k;
  const std::byte* const all_panels = block.panels - block.first_panel * p.tiles.panel_bytes;
  const auto* const order = reinterpret_cast<const int32_t*>(all_panels + p.order_offset);
  Vector eight{};
  INGOT_UNROLL
  for (int i = 0; i < 8; ++i) {
    if (k + i >= p.tiles.k) break;
    const uint32_t bits = x[p.order_offset != 0 ? order[k + i] : k + i];
    eight.words[i / 2] |= bits << (16 * (i % 2));
  }
  return eight;
}

// Zeros where there are no rows or inputs.
template <TileKind kKind, typename Shape>
INGOT_DEVICE void CopyRows(const GemmParams& p, const GemmBlock& block, const GemmStage<kKind, Shape>& stage,
                           int tile) {
  constexpr int kPieces = kTileRowBytes / 16;
  const int64_t first_row = block.first_row - p.first_row;
  const auto* const x = static_cast<const std::byte*>(p.x) + first_row * p.x_row_bytes;
  INGOT_UNROLL
  for (auto i = static_cast<int>(ThreadIndex().x); i < Shape::kRows * kPieces; i += Shape::kThreads) {
    const int row = i / kPieces, piece = i % kPieces;
    const int64_t at = int64_t{tile} * kTileRowBytes + piece * 16;
    std::byte* const to = stage.PieceOfX(row, piece);
    if (p.x_in_pieces) {
      const bool wanted = row < block.rows && at < p.x_row_bytes;
      CopyAsync<16>(to, wanted ? x + row * p.x_row_bytes + at : x, wanted);
    } else {
      *reinterpret_cast<Vector*>(to) = row < block.rows ? EightInputs(p, block, first_row + row, at / 2) : Vector{};
    }
  }
}

// Zeros where there are no panels. Groups: those that the tile's inputs are in.
template <TileKind kKind, typename Shape>
INGOT_DEVICE void CopyWeights(const GemmParams& p, const GemmBlock& block, const GemmStage<kKind, Shape>& stage,
                              int tile) {
  constexpr int kTileBytes = GemmStage<kKind, Shape>::kTileBytes, kPieces = kTileBytes / 16;
  const auto thread = static_cast<int>(ThreadIndex().x);
  const int64_t tile_at = int64_t{tile} * kTileBytes;
  INGOT_UNROLL
  for (int i = thread; i < Shape::kBlockPanels * kPieces; i += Shape::kThreads) {
    const int panel = i / kPieces;
    const bool wanted = panel < block.num_panels;
    const std::byte* const from = block.panels + panel * p.tiles.panel_bytes + tile_at + i % kPieces * 16;
    CopyAsync<16>(stage.weights + i * 16, wanted ? from : block.panels, wanted);
  }
  if constexpr (!HasGroups(kKind)) return;
  const int group_bytes = p.tiles.group_words * 32, groups = p.tiles.group_shift < 6 ? 64 >> p.tiles.group_shift : 1;
  const int64_t groups_at = p.tiles.group_offset + (int64_t{tile} * 64 >> p.tiles.group_shift) * group_bytes;
  constexpr int kGroupPieces = Shape::kGroupBytes / 16;
  INGOT_UNROLL
  for (int i = thread; i < Shape::kBlockPanels * kGroupPieces; i += Shape::kThreads) {
    const int panel = i / kGroupPieces, at = i % kGroupPieces * 16;
    if (at >= groups * group_bytes) continue;
    const bool wanted = panel < block.num_panels;
    const std::byte* const from = block.panels + panel * p.tiles.panel_bytes + groups_at + at;
    CopyAsync<16>(stage.groups + i * 16, wanted ? from : block.panels, wanted);
  }
}

// A warp's sums: of its rows, 16 at a time, and its panels, 8 channels at a time, as mma has them.
template <typename T, typename Shape>
struct GemmSums {
  typename GemmType<T>::Sum of[Shape::kRowTiles][Shape::kPanels][2][4] = {};

  INGOT_DEVICE void Add(const GemmSums& other) {
    INGOT_UNROLL
    for (int i = 0; i < Shape::kRowTiles * Shape::kPanels * 8; ++i) {
      of[i / 8 / Shape::kPanels][i / 8 % Shape::kPanels][i / 4 % 2][i % 4] +=
          other.of[i / 8 / Shape::kPanels][i / 8 % Shape::kPanels][i / 4 % 2][i % 4];
    }
  }
};

template <typename T, TileKind kKind, typename Shape>
INGOT_DEVICE void MultiplyStage(const GemmParams& p, const GemmBlock& block, const GemmStage<kKind, Shape>& stage,
                                GemmSums<T, Shape>* sums) {
  constexpr int kSteps = 4, kStepsOfVector = kSteps / VectorsOf(kKind);
  const int first_row = Warp() / Shape::kWarpsOfPanels * Shape::kRowTiles * 16;
  const int first_panel = Warp() % Shape::kWarpsOfPanels * Shape::kPanels;
  if (first_panel >= block.num_panels) return;
  const int group_steps = p.tiles.group_shift < 6 ? 1 << (p.tiles.group_shift - 4) : kSteps;
  Vector codes[Shape::kPanels];
  GroupNumbers groups[Shape::kPanels];
  INGOT_UNROLL
  for (int step = 0; step < kSteps; ++step) {
    uint32_t a[Shape::kRowTiles][4];
    INGOT_UNROLL
    for (int i = 0; i < Shape::kRowTiles; ++i) {
      LoadMatrix4(a[i], stage.PieceOfX(first_row + i * 16 + Lane() % 16, step * 2 + Lane() / 16));
    }
    INGOT_UNROLL
    for (int panel = 0; panel < Shape::kPanels; ++panel) {
      const std::byte* const tile = stage.weights + (first_panel + panel) * stage.kTileBytes;
      if (step % kStepsOfVector == 0) {
        codes[panel] = *reinterpret_cast<const Vector*>(tile + step / kStepsOfVector * kVectorBytes + Lane() * 16);
      }
      uint32_t b[2][2];
      if constexpr (HasGroups(kKind)) {
        if ((step & (group_steps - 1)) == 0) {
          const std::byte* const all = stage.groups + (first_panel + panel) * Shape::kGroupBytes;
          groups[panel] = LoadGroup(
              p.tiles, reinterpret_cast<const uint32_t*>(all + step / group_steps * p.tiles.group_words * 32));
        }
        UnpackCodes<T, kKind>(p.tiles, codes[panel], step, b);
        INGOT_UNROLL
        for (int i = 0; i < 4; ++i) b[i / 2][i % 2] = Dequantize<T>(groups[panel], i / 2, b[i / 2][i % 2]);
      } else {
        INGOT_UNROLL
        for (int i = 0; i < 4; ++i) b[i / 2][i % 2] = codes[panel].words[i];
      }
      INGOT_UNROLL
      for (int i = 0; i < Shape::kRowTiles * 2; ++i)
        MultiplyTile(T{}, sums->of[i / 2][panel][i % 2], a[i / 2], b[i % 2]);
    }
  }
}

// Of one row and channels n and n + 1; n is even.
template <typename Sum>
struct GemmPair {
  int64_t row, n;
  Sum first, second;
};

// To y, with the bias.
INGOT_DEVICE void StorePair(const GemmParams& p, const float* bias, const GemmPair<float>& pair) {
  const int64_t n = pair.n;
  float first = pair.first, second = pair.second;
  const bool both = n + 1 < p.out_features;
  if (bias != nullptr) {
    first += bias[n];
    if (both) second += bias[n + 1];
  }
  const int64_t at = pair.row * p.y_stride + n;
  if (p.y_type == OutputType::kFloat) {
    auto* const y = static_cast<float*>(p.y) + at;
    y[0] = first;
    if (both) y[1] = second;
    return;
  }
  const uint32_t bits = p.y_type == OutputType::kHalf ? Pack<Half>(first, second) : Pack<BFloat16>(first, second);
  auto* const y = static_cast<uint16_t*>(p.y) + at;
  if (both && p.y_in_pairs) {
    *reinterpret_cast<uint32_t*>(y) = bits;
    return;
  }
  y[0] = static_cast<uint16_t>(bits);
  if (both) y[1] = static_cast<uint16_t>(bits >> 16);
}

INGOT_DEVICE GemmPair<float> Scaled(const GemmParams&, const GemmBlock&, const GemmPair<float>& sums) { return sums; }
INGOT_DEVICE GemmPair<float> Scaled(const GemmParams& p, const GemmBlock& block, const GemmPair<int32_t>& sums) {
  const std::byte* const panel = block.panels + (sums.n / kPanelChannels - block.first_panel) * p.tiles.panel_bytes;
  const auto* const scales = reinterpret_cast<const float*>(panel + p.tiles.group_offset) + sums.n % kPanelChannels;
  const float of_row = p.row_scales[sums.row - p.first_row];
  return {sums.row, sums.n, static_cast<float>(sums.first) * (of_row * scales[0]),
          static_cast<float>(sums.second) * (of_row * scales[1])};
}

// Calls store(pair) for what the warp has of the block's tile.
template <typename T, typename Shape, typename Store>
INGOT_DEVICE void ForEachPair(const GemmParams& p, const GemmBlock& block, const GemmSums<T, Shape>& sums,
                              Store store) {
  const int first_row = Warp() / Shape::kWarpsOfPanels * Shape::kRowTiles * 16 + Lane() / 4;
  const int64_t first_panel = block.first_panel + Warp() % Shape::kWarpsOfPanels * Shape::kPanels;
  INGOT_UNROLL
  for (int i = 0; i < Shape::kRowTiles * Shape::kPanels * 4; ++i) {
    const int row_tile = i / 4 / Shape::kPanels, panel = i / 4 % Shape::kPanels, half = i / 2 % 2, lower = i % 2;
    const int row = first_row + row_tile * 16 + lower * 8;
    const int64_t n = (first_panel + panel) * kPanelChannels + half * 8 + Lane() % 4 * 2;
    if (row >= block.rows || n >= p.out_features) continue;
    const auto& own = sums.of[row_tile][panel][half];
    store(GemmPair<typename GemmType<T>::Sum>{block.first_row + row, n, own[lower * 2], own[lower * 2 + 1]});
  }
}

// Two sums of a split. REQUIRES: p.spread
template <typename Sum>
INGOT_DEVICE Sum* PartialAt(const GemmParams& p, int split, int64_t row, int64_t n) {
  return static_cast<Sum*>(p.partial) + ((split * p.rows + row) * p.partial_stride + n);
}

// Whether the block is the last to come here of those of its tile.
INGOT_DEVICE bool IsLastSplit(const GemmParams& p, uint32_t* is_last) {
  ThreadFence();
  SyncThreads();
  if (ThreadIndex().x == 0) {
    const uint32_t tile = BlockIndex().y * GridSize().x + BlockIndex().x, last = GridSize().z - 1;
    *is_last = AtomicIncrement(p.counters + tile, last) == last ? 1 : 0;  // the last sets it to 0 again
  }
  SyncThreads();
  ThreadFence();
  return *is_last != 0;
}

// Adds the sums of all splits, in order, of the tile.
template <typename T, typename Shape>
INGOT_DEVICE void StoreSumOfSplits(const GemmParams& p, const GemmBlock& block) {
  using Sum = typename GemmType<T>::Sum;
  constexpr int kPairs = Shape::kBlockPanels * kPanelChannels / 2;
  for (auto i = static_cast<int>(ThreadIndex().x); i < block.rows * kPairs; i += Shape::kThreads) {
    const int64_t row = block.first_row + i / kPairs, n = block.first_panel * kPanelChannels + i % kPairs * 2;
    if (n >= p.out_features) continue;
    GemmPair<Sum> sums{row, n, 0, 0};
    for (int split = 0; split < static_cast<int>(GridSize().z); ++split) {
      const Sum* const from = PartialAt<Sum>(p, split, row, n);
      sums.first += LoadFromL2(from);
      sums.second += LoadFromL2(from + 1);
    }
    StorePair(p, block.bias, Scaled(p, block, sums));
  }
}

// grid: (tiles of rows, of panels, experts or splits), threads: Shape::kThreads, shared memory: kSharedBytes<kKind>
template <typename T, TileKind kKind, typename Shape>
INGOT_DEVICE void Gemm(const GemmParams& p) {
  SharedMemory shared;
  std::byte* const memory = shared.Take<std::byte>(Shape::kStages * Shape::template kStageBytes<kKind>, 128);
  auto* const is_last = shared.Take<uint32_t>(1);
  const GemmBlock block = BlockOf<Shape>(p);
  if (block.rows <= 0) return;
  const auto stage_of = [&](int tile) {
    return GemmStage<kKind, Shape>(memory + (tile - block.begin) % Shape::kStages * Shape::template kStageBytes<kKind>);
  };
  const auto copy = [&](int tile) {
    if (tile < block.end) {
      CopyRows<kKind, Shape>(p, block, stage_of(tile), tile);
      CopyWeights<kKind, Shape>(p, block, stage_of(tile), tile);
    }
    CopyAsyncCommit();
  };
  INGOT_UNROLL
  for (int i = 0; i < Shape::kStages - 1; ++i) copy(block.begin + i);
  GemmSums<T, Shape> sums, total;
  int left = p.split_tiles;
  for (int tile = block.begin; tile < block.end; ++tile) {
    CopyAsyncWait<Shape::kStages - 2>();
    SyncThreads();
    copy(tile + Shape::kStages - 1);
    MultiplyStage<T, kKind, Shape>(p, block, stage_of(tile), &sums);
    if (--left > 0 && tile + 1 < block.end) continue;
    total.Add(sums);
    sums = {};
    left = p.split_tiles;
  }
  using Sum = typename GemmType<T>::Sum;
  ForEachPair<T, Shape>(p, block, total, [&](const GemmPair<Sum>& pair) {
    if (!p.spread) return StorePair(p, block.bias, Scaled(p, block, pair));
    Sum* const to = PartialAt<Sum>(p, static_cast<int>(BlockIndex().z), pair.row, pair.n);
    to[0] = pair.first, to[1] = pair.second;
  });
  if (p.spread && IsLastSplit(p, is_last)) StoreSumOfSplits<T, Shape>(p, block);
}

struct FloatShape {
  static constexpr int kRows = kFloatRows, kBlockPanels = 1;
};

// Without tensor cores, for weights of fp32. A block: one panel of 16 channels times kFloatRows rows. Its warps take
// blocks of 32 inputs in turn, so a row's sums run in the same order whatever rows are beside it.
// grid: (ceil(rows / kFloatRows), panels, experts), threads: kFloatWarps warps, shared memory: kFloatSharedBytes
INGOT_DEVICE void GemmFloat(const GemmParams& p) {
  SharedMemory shared;
  float* const sums = shared.Take<float>(kFloatWarps * kFloatRows * kPanelChannels);
  const GemmBlock block = BlockOf<FloatShape>(p);
  if (block.rows <= 0) return;
  const int64_t k = p.tiles.k;
  const auto* const x = static_cast<const uint16_t*>(p.x) + (block.first_row - p.first_row) * k;
  const auto* const order = reinterpret_cast<const int32_t*>(p.packed[p.spread ? 0 : BlockIndex().z] + p.order_offset);
  const int c = Lane() % kPanelChannels, half = Lane() / kPanelChannels;

  float sum[kFloatRows] = {};
  for (int64_t first = Warp() * 32; first < k; first += kFloatWarps * 32) {
    const int64_t begin = first + half * 16, end = Minimum(begin + 16, k);
    for (int64_t input = begin; input < end; ++input) {
      const float w = LoadAt<float>(block.panels, input * kPanelChannels + c);
      const int64_t from = p.order_offset != 0 ? order[input] : input;
      INGOT_UNROLL
      for (int row = 0; row < kFloatRows; ++row) {
        if (row < block.rows) sum[row] = Fma(HeldNumber(p.tiles, x[row * k + from]), w, sum[row]);
      }
    }
  }
  INGOT_UNROLL
  for (int row = 0; row < kFloatRows; ++row) {
    sum[row] += ShuffleXor(sum[row], kPanelChannels);
    if (half == 0) sums[(Warp() * kFloatRows + row) * kPanelChannels + c] = sum[row];
  }
  SyncThreads();
  constexpr int kPairs = kPanelChannels / 2;
  const auto pair = static_cast<int>(ThreadIndex().x);
  const int64_t n = block.first_panel * kPanelChannels + pair % kPairs * 2;
  if (pair >= block.rows * kPairs || n >= p.out_features) return;
  float total[2] = {};
  INGOT_UNROLL
  for (int i = 0; i < kFloatWarps * 2; ++i) {
    total[i % 2] += sums[(i / 2 * kFloatRows + pair / kPairs) * kPanelChannels + pair % kPairs * 2 + i % 2];
  }
  StorePair(p, block.bias, {block.first_row + pair / kPairs, n, total[0], total[1]});
}

// grid: (tokens), threads: kRowThreads
INGOT_DEVICE void Embed(const EmbedParams& p) {
  const int64_t token = BlockIndex().x;
  int32_t id = p.ids[token];
  if (id < 0) id = p.drawn[~id];
  const std::byte* const panel = p.packed + id / kPanelChannels * p.tiles.panel_bytes;
  for (int64_t k = ThreadIndex().x; k < p.tiles.k; k += kRowThreads) {
    p.y[token * p.tiles.k + k] = WeightAt(p.tiles, panel, k, id % kPanelChannels) * p.scale;
  }
}

}  // namespace ingot::kernels::cuda
