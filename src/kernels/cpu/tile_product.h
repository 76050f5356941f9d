// Products of many rows on tiles. For gemm_tiles.cc only.
#pragma once

#include "kernels/cpu/tile_weights.h"
#include "kernels/cpu/tiles.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

constexpr int64_t kSteps = kBlockInputs / kStepInputs, kTileBytes = 1024;

// y of a panel, `rows` of them from row `row` on.   y: [rows][16]
void Finish(const TileGemmParams& p, int64_t panel, int64_t row, int64_t rows, const float* y) {
  const int64_t at = panel * kPanelChannels, left = p.out_features - at;
  const int64_t lanes = left < kPanelChannels ? left : kPanelChannels;
  float* to = p.y + row * p.y_stride + at;
  for (int64_t r = 0; r < rows; ++r, to += p.y_stride) {
    const F32x16 sum = LoadF32x16(y + r * 16);
    Store(to, p.bias == nullptr ? sum : sum + LoadF32x16(p.bias + at, lanes), lanes);
  }
}

// A tile of sums, and the products of its last span in memory.
template <int kSums>
INGOT_INLINE void OpenSpan(Tiles& tiles, float (*products)[256]) {
  tiles.template Store<kSums>(products[kSums]);
  tiles.template Zero<kSums>();
}
INGOT_INLINE void StoreTiles(Tiles& tiles, float (*products)[256]) {
  tiles.template Store<0>(products[0]);
  tiles.template Store<1>(products[1]);
  tiles.template Store<2>(products[2]);
  tiles.template Store<3>(products[3]);
}

// Fetches panels as far ahead as memory needs, at the pace at which they are read.
class Fetcher {
 public:
  Fetcher(const TileGemmParams& p, int64_t panel)
      : next_(p.packed + panel * p.layout->panel_bytes), end_(p.packed + p.panel_end * p.layout->panel_bytes) {}
  // done: what has been read, as if the scales lay between the codes.
  INGOT_INLINE void Advance(const std::byte* done) {
    const std::byte* until = done + kAhead < end_ ? done + kAhead : end_;
    for (; next_ < until; next_ += 64) _mm_prefetch(reinterpret_cast<const char*>(next_), _MM_HINT_T0);
  }

 private:
  static constexpr int64_t kAhead = 2560;
  const std::byte* next_;
  const std::byte* const end_;
};

// Row tiles: 256 inputs of a few panels become tiles in L1, and all row tiles are multiplied with them. The sums of a
// span leave the tiles, which hold codes without scales, and are scaled while tiles multiply the next ones.
template <WeightKind kKind>
class TileProduct {
 public:
  TileProduct(Tiles& tiles, const TileGemmParams& p)
      : tiles_(tiles),
        p_(p),
        weights_(*p.layout),
        steps_(p.layout->padded_k / kStepInputs),
        width_(TileWidthOf(p.rows)),
        num_tiles_(p.tile_end - p.tile_begin),
        half_steps_(p.layout->quantized() && p.layout->group_size == 16) {}

  void Multiply() {
    const FlushDenormals flush;
    num_tiles_ == 1 ? MultiplyOneTile() : MultiplyManyTiles();
  }

 private:
  static constexpr bool kInPlace = kKind == WeightKind::kBF16;
  static constexpr int64_t kBlockBytes = kSteps * kTileBytes, kShortSteps = 6;

  const std::byte* PanelAt(int64_t panel) const { return p_.packed + panel * p_.layout->panel_bytes; }
  int64_t StepsAt(int64_t first) const { return steps_ - first < kSteps ? steps_ - first : kSteps; }
  INGOT_INLINE void ExpandStep(const std::byte* panel, int64_t step, std::byte* to) const {
    if constexpr (!kInPlace) Expand(weights_, panel + step * Weights<kKind>::kStepBytes, to);
  }

  // One row tile, and groups of 16 (others: OneTileProduct): the steps of the next block are expanded while this one is
  // multiplied.
  void MultiplyOneTile() {
    alignas(64) float y[256];
    Fetcher fetcher(p_, p_.panel_begin);
    const int64_t count = p_.rows - p_.tile_begin * kTileRows;
    for (int64_t s = 0; s < StepsAt(0); ++s) ExpandStep(PanelAt(p_.panel_begin), s, room_ + s * kTileBytes);
    int parity = 0;
    for (int64_t panel = p_.panel_begin; panel < p_.panel_end; ++panel) {
      for (float& sum : y) sum = 0;
      for (int64_t first = 0, span = 0; first < steps_; first += kSteps, parity ^= 1) {
        const bool last = first + kSteps >= steps_;
        const int64_t next_panel = last ? panel + 1 : panel, next_first = last ? 0 : first + kSteps;
        const std::byte* const next = PanelAt(next_panel);
        const int64_t next_steps = next_panel < p_.panel_end ? StepsAt(next_first) : 0;
        const std::byte* const weights = kInPlace ? PanelAt(panel) + first * kTileBytes : room_ + parity * kBlockBytes;
        std::byte* const to = room_ + (parity ^ 1) * kBlockBytes;
        const auto meanwhile = [&](int64_t s) {
          fetcher.Advance(PanelAt(panel) + (first + s) * p_.layout->panel_bytes / steps_);
          if (s < next_steps) ExpandStep(next, next_first + s, to + s * kTileBytes);
        };
        span += MultiplyBlock({panel, p_.tile_begin, first, span, weights, y}, meanwhile);
        // A next block that is longer than this one: the first of the next panel, after a short last one.
        for (int64_t s = StepsAt(first); s < next_steps; ++s) ExpandStep(next, next_first + s, to + s * kTileBytes);
      }
      Finish(p_, panel, p_.tile_begin * kTileRows, count < kTileRows ? count : kTileRows, y);
    }
  }

  // The steps of a block × a few panels: their tiles, and their scales for each span.
  struct Block {
    int64_t panel, panels, first, steps, span;  // the first ones of each; panels, steps: how many
  };
  void MultiplyManyTiles() {
    const PanelLayout& layout = *p_.layout;
    const Closing closing = ClosingOf(layout);
    for (int64_t first = 0, steps = 0, span = 0, spans = 0; first < steps_; first += steps, span += spans) {
      steps = BlockStepsAt(first);
      for (int64_t panel = p_.panel_begin; panel < p_.panel_end; panel += kPanelsOfBlock) {
        const int64_t left = p_.panel_end - panel;
        const Block block{panel, left < kPanelsOfBlock ? left : kPanelsOfBlock, first, steps, span};
        spans = Prepare(block);
        if (closing == Closing::kAdd) MultiplyBlockOf<Closing::kAdd>(block, spans);
        if (closing == Closing::kMidpoint) MultiplyBlockOf<Closing::kMidpoint>(block, spans);
        if (closing == Closing::kInteger) MultiplyBlockOf<Closing::kInteger>(block, spans);
        if (closing == Closing::kMin) MultiplyBlockOf<Closing::kMin>(block, spans);
      }
    }
    if (closing == Closing::kAdd) CloseAll<Closing::kAdd>();
    if (closing == Closing::kMidpoint) CloseAll<Closing::kMidpoint>();
    if (closing == Closing::kInteger) CloseAll<Closing::kInteger>();
    if (closing == Closing::kMin) CloseAll<Closing::kMin>();
    FinishTiles();
  }
  // Spans of one step need not end with a block of 256 inputs. So the first blocks are shorter where the others would
  // leave a rest of less than 6 steps, which takes several times as long: 18 steps are 3 × 6, 20 are 2 × 6 + 8.
  int64_t BlockStepsAt(int64_t first) const {
    const int64_t short_blocks = (kSteps - steps_ % kSteps) % kSteps / 2;
    const bool one_step = p_.layout->quantized() && p_.layout->group_size == kStepInputs;
    if (!one_step || steps_ % 2 != 0 || short_blocks * kShortSteps > steps_) return StepsAt(first);
    return first < short_blocks * kShortSteps ? kShortSteps : kSteps;
  }
  // Returns the number of spans.
  int64_t Prepare(const Block& block) {
    const int64_t begin = block.first * kStepInputs, end = begin + block.steps * kStepInputs;
    int64_t spans = 0;
    scales_ = scales_ == both_scales_[0] ? both_scales_[1] : both_scales_[0];
    for (int64_t n = 0; n < block.panels; ++n) {
      const std::byte* const panel = PanelAt(block.panel + n);
      for (int64_t s = 0; s < block.steps; ++s) {
        ExpandStep(panel, block.first + s, room_ + n * kBlockBytes + s * kTileBytes);
      }
      spans = 0;
      for (int64_t k = begin; k < end; k = SpanEnd(*p_.layout, k)) {
        scales_[n][spans++] = SpanScales(*p_.layout, panel, k);
      }
      for (int64_t i = 0; block.first == 0 && i < num_tiles_ * 256; i += 16) {
        Store(SumsAt(block.panel + n, 0) + i, Broadcast(0.0F));
      }
    }
    return spans;
  }
  // Row by row over all panels: y is written faster in long pieces.
  void FinishTiles() const {
    for (int64_t t = 0; t < num_tiles_; ++t) {
      const int64_t row = (p_.tile_begin + t) * kTileRows, left = p_.rows - row;
      for (int64_t r = 0; r < (left < kTileRows ? left : kTileRows); ++r) {
        for (int64_t n = p_.panel_begin; n < p_.panel_end; ++n) Finish(p_, n, row + r, 1, SumsAt(n, t) + r * 16);
      }
    }
  }
  // Of the panel and the row tile p_.tile_begin + tile.
  float* SumsAt(int64_t panel, int64_t tile) const {
    return p_.sums + ((panel - p_.panel_begin) * num_tiles_ + tile) * 256;
  }

  // A row tile × a panel × the inputs of a block.
  struct Corner {
    const std::byte *x, *w;    // its first steps
    const SpanScales* scales;  // [spans]
    const float* sums;         // [spans][16]: of its activations
    float* y;                  // [16][16]
  };
  Corner CornerAt(const Block& block, int64_t n, int64_t tile) const {
    const int64_t t = p_.tile_begin + tile;
    return {p_.activations.rounded + (t * steps_ + block.first) * kTileBytes,
            kInPlace ? PanelAt(block.panel + n) + block.first * kTileBytes : room_ + n * kBlockBytes, scales_[n],
            p_.activations.sums + (t * p_.spans + block.span) * kTileRows, SumsAt(block.panel + n, tile)};
  }

  // Whether the spans of a block are as long as each other.
  bool EqualSpans(const Block& block, int64_t spans) const {
    const int64_t group = p_.layout->group_size;
    return spans == 1 || (kBlockInputs % group == 0 && block.steps * kStepInputs % group == 0);
  }

  // Products go on from block to block: what tiles hold at the end of one is closed in the next.
  enum class Open { kNothing, kShortSpans, kLongSpans };

  template <Closing kClosing>
  void MultiplyBlockOf(const Block& block, int64_t spans) {
    if (spans == block.steps && spans == kSteps) return MultiplyShortSpans<kClosing, kSteps>(block);
    if (spans == block.steps && spans == kShortSteps && block.panels == 2) {
      return MultiplyShortSpans<kClosing, kShortSteps>(block);
    }
    int64_t done = 0;
    if (spans < block.steps && EqualSpans(block, spans) && block.panels == kPanelsOfBlock) {
      done = MultiplyLongSpans<kClosing>(block, spans);
    }
    if (done < num_tiles_) CloseAll<kClosing>();
    for (int64_t t = done; t < num_tiles_; ++t) {
      for (int64_t n = 0; n < block.panels; ++n) {
        const Corner corner = CornerAt(block, n, t);
        MultiplyBlock({block.panel + n, p_.tile_begin + t, block.first, block.span, corner.w, corner.y},
                      [](int64_t) {});
      }
    }
  }
  template <Closing kClosing>
  void CloseAll() {
    if (open_ == Open::kShortSpans) CloseShortSpans<kClosing>();
    if (open_ == Open::kLongSpans) {
      StoreTiles(tiles_, products_);
      CloseFour<kClosing>(before_);
    }
    open_ = Open::kNothing;
  }
  // What is closed first of all.
  void OpenNothing(Open kind) {
    if (open_ == kind) return;
    open_ = kind;
    for (int i = 0; i < 4; ++i) before_[i] = {nullptr, nullptr, both_scales_[0][0], no_sums_, nothing_[i]};
  }

  // Spans of one step: products follow each other without waiting. A tile of sums is stored only when it is needed
  // again, four products later, since a store waits for the products of its tile, and what follows waits for the store.
  // It is closed another two products later, when it has arrived in memory: kLag in all. before_[0]: the last kLag
  // steps of the corner before.
  static constexpr int kLag = 6;
  template <Closing kClosing, int kBlockSteps>
  void MultiplyShortSpans(const Block& block) {
    constexpr int kPhase = kBlockSteps % 4;  // of a second panel: which tile of sums its first step has
    OpenNothing(Open::kShortSpans);
    Corner before = before_[0];
    F32x16 y[16];
    LoadSums(before.y, y);
    for (int64_t t = 0; t < num_tiles_; ++t) {
      FetchNext(block, t);
      MultiplyCorner<kClosing, kBlockSteps, 0>(CornerAt(block, 0, t), &before, y);
      if (block.panels == 2) MultiplyCorner<kClosing, kBlockSteps, kPhase>(CornerAt(block, 1, t), &before, y);
    }
    StoreSums(y, before.y);
    before_[0] = before;
  }
  template <Closing kClosing, int kBlockSteps, int kPhase>
  INGOT_INLINE void MultiplyCorner(const Corner& corner, Corner* before, F32x16* y) {
    MultiplySteps<kClosing, kBlockSteps, kPhase, 0>(corner, *before, y);
    *before = corner;
    before->scales += kBlockSteps - kLag;
    before->sums += (kBlockSteps - kLag) * kTileRows;
  }
  // Closes the last steps of the corner before, whose sums are in y, then the first of this one.
  template <Closing kClosing, int kBlockSteps, int kPhase, int kStep>
  INGOT_INLINE void MultiplySteps(const Corner& corner, const Corner& before, F32x16* y) {
    MultiplyStep<kStep, (kPhase + kStep) % 4>(corner);
    constexpr int kProducts = (kPhase + kStep + 2) % 4;
    if constexpr (kStep < kLag) {
      CloseStep<kClosing, kStep, kProducts>(before, y);
    } else {
      CloseStep<kClosing, kStep - kLag, kProducts>(corner, y);
    }
    if constexpr (kStep + 1 == kLag) {
      StoreSums(y, before.y);
      LoadSums(corner.y, y);
    }
    if constexpr (kStep + 1 < kBlockSteps) MultiplySteps<kClosing, kBlockSteps, kPhase, kStep + 1>(corner, before, y);
  }
  template <Closing kClosing>
  void CloseShortSpans() {
    F32x16 y[16];
    LoadSums(before_[0].y, y);
    CloseStep<kClosing, 0, 2>(before_[0], y), CloseStep<kClosing, 1, 3>(before_[0], y);
    StoreTiles(tiles_, products_);
    CloseStep<kClosing, 2, 0>(before_[0], y), CloseStep<kClosing, 3, 1>(before_[0], y);
    CloseStep<kClosing, 4, 2>(before_[0], y), CloseStep<kClosing, 5, 3>(before_[0], y);
    StoreSums(y, before_[0].y);
  }
  template <int kStep, int kSums>
  INGOT_INLINE void MultiplyStep(const Corner& corner) {
    constexpr int kX = 4 + kStep % 2, kW = 6 + kStep % 2;
    tiles_.template Load<kX>(corner.x + kStep * kTileBytes);
    tiles_.template Load<kW>(corner.w + kStep * kTileBytes);
    OpenSpan<kSums>(tiles_, products_);
    tiles_.template MultiplyBf16<kSums, kX, kW>();
  }
  template <Closing kClosing, int kStep, int kProducts>
  INGOT_INLINE void CloseStep(const Corner& corner, F32x16* y) const {
    Close<kClosing, 16>(corner.scales[kStep], products_[kProducts], corner.sums + kStep * kTileRows, y);
  }
  INGOT_INLINE static void LoadSums(const float* from, F32x16* y) {
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) y[r] = LoadF32x16(from + r * 16);
  }
  INGOT_INLINE static void StoreSums(const F32x16* y, float* to) {
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) Store(to + r * 16, y[r]);
  }

  // Longer spans: two row tiles × two panels at a time, whose sums are closed while tiles multiply the next span.
  // Returns how many row tiles it has done: all, but for the last of an odd number.
  template <Closing kClosing>
  int64_t MultiplyLongSpans(const Block& block, int64_t spans) {
    OpenNothing(Open::kLongSpans);
    const int64_t pairs = num_tiles_ / 2, steps = block.steps / spans;
    for (int64_t t = 0; t < 2 * pairs; t += 2) {
      FetchNext(block, t), FetchNext(block, t + 1);
      Corner now[4];
      for (int i = 0; i < 4; ++i) now[i] = CornerAt(block, i / 2, t + i % 2);
      for (int64_t s = 0; s < block.steps; s += steps) {
        MultiplyFour<true>(now, s * kTileBytes);
        CloseFour<kClosing>(before_);
        for (int64_t i = s + 1; i < s + steps; ++i) MultiplyFour<false>(now, i * kTileBytes);
        for (int i = 0; i < 4; ++i) {
          before_[i] = now[i];
          now[i].scales += 1, now[i].sums += kTileRows;
        }
      }
    }
    return 2 * pairs;
  }
  template <bool kOpen>
  INGOT_INLINE void MultiplyFour(const Corner* corners, int64_t at) {
    tiles_.template Load<6>(corners[0].w + at);
    tiles_.template Load<4>(corners[0].x + at);
    if constexpr (kOpen) OpenSpan<0>(tiles_, products_);
    tiles_.template MultiplyBf16<0, 4, 6>();
    tiles_.template Load<5>(corners[1].x + at);
    if constexpr (kOpen) OpenSpan<1>(tiles_, products_);
    tiles_.template MultiplyBf16<1, 5, 6>();
    tiles_.template Load<7>(corners[2].w + at);
    if constexpr (kOpen) OpenSpan<2>(tiles_, products_);
    tiles_.template MultiplyBf16<2, 4, 7>();
    if constexpr (kOpen) OpenSpan<3>(tiles_, products_);
    tiles_.template MultiplyBf16<3, 5, 7>();
  }
  template <Closing kClosing>
  INGOT_INLINE void CloseFour(const Corner* corners) const {
    for (int i = 0; i < 4; ++i) {
      const SpanScales scales = *corners[i].scales;
#pragma GCC unroll 4
      for (int r = 0; r < 16; ++r) {
        float* const y = corners[i].y + r * 16;
        Store(y, CloseRow<kClosing>(scales, LoadF32x16(products_[i] + r * 16), corners[i].sums + r, LoadF32x16(y)));
      }
    }
  }

  // The part of the next panels' weights that is fetched meanwhile.
  INGOT_INLINE void FetchNext(const Block& block, int64_t tile) const {
    const int64_t lines = block.steps * Weights<kKind>::kStepBytes / 64;
    for (int64_t line = lines * tile / num_tiles_; line < lines * (tile + 1) / num_tiles_; ++line) {
      for (int64_t n = kPanelsOfBlock; n < 2 * kPanelsOfBlock; ++n) {
        const std::byte* next = PanelAt(block.panel + n) + block.first * Weights<kKind>::kStepBytes + line * 64;
        _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T0);
      }
    }
  }

  // A row tile × a panel × the inputs of a block.
  struct Part {
    int64_t panel, tile, first, span;  // the block's first step and span
    const std::byte* weights;          // [steps] tiles
    float* y;                          // [16][16]
  };
  // y += the product. Calls meanwhile(step) for each step. Returns the number of spans.
  template <typename F>
  INGOT_INLINE int64_t MultiplyBlock(const Part& part, F meanwhile) {
    return half_steps_ ? MultiplySpans<true>(part, meanwhile) : MultiplySpans<false>(part, meanwhile);
  }
  template <bool kHalfSteps, typename F>
  INGOT_INLINE int64_t MultiplySpans(const Part& part, F meanwhile) {
    const PanelLayout& layout = *p_.layout;
    const Closing closing = ClosingOf(layout);
    const std::byte* const panel = PanelAt(part.panel);
    const int64_t block = part.first * kStepInputs, block_end = block + StepsAt(part.first) * kStepInputs;
    const std::byte* x = p_.activations.rounded + (part.tile * steps_ + part.first) * width_ * 64;
    const std::byte* w = part.weights;
    const float* sums = p_.activations.sums + (part.tile * p_.spans + part.span) * width_;
    F32x16 y[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) y[r] = LoadF32x16(part.y + r * 16);
    int64_t spans = 0, before = 0;
    for (int64_t k = block, end = 0; k < block_end; before = k, k = end, ++spans) {
      end = SpanEnd(layout, k);
      tiles_.template Zero<0>();
      for (int64_t at = k; at < end; at += kStepInputs) {
        if (!kHalfSteps || at % kStepInputs == 0) meanwhile((at - block) / kStepInputs);
        const int64_t half = kHalfSteps && at % kStepInputs != 0 ? 1 : 0;
        tiles_.template Load<4>(x + half * 32);
        tiles_.template Load<6>(w + half * kTileBytes / 2);
        tiles_.template MultiplyBf16<0, 4, 6>();
        if (!kHalfSteps || half == 1) x += width_ * 64, w += kTileBytes;
      }
      tiles_.template Store<0>(products_[spans % 2]);
      if (spans > 0) {
        Close<16>(closing, SpanScales(layout, panel, before), products_[(spans - 1) % 2], sums + (spans - 1) * width_,
                  y);
      }
    }
    Close<16>(closing, SpanScales(layout, panel, before), products_[(spans - 1) % 2], sums + (spans - 1) * width_, y);
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) Store(part.y + r * 16, y[r]);
    return spans;
  }

  Tiles& tiles_;
  const TileGemmParams& p_;
  const Weights<kKind> weights_;
  const int64_t steps_, width_, num_tiles_;
  const bool half_steps_;
  // Of the block, and of the one before, which may be open.
  SpanScales both_scales_[2][kPanelsOfBlock][2 * kSteps] = {};
  SpanScales (*scales_)[2 * kSteps] = both_scales_[0];
  Open open_ = Open::kNothing;
  Corner before_[4];
  alignas(64) float nothing_[4][256] = {};
  float no_sums_[kLag * kTileRows] = {};
  alignas(64) float products_[4][256] = {};
  alignas(64) std::byte room_[kPanelsOfBlock * kBlockBytes];
};

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
