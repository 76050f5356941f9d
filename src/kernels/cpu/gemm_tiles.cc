// Weights of 4, 8 or 16 bits × activations rounded to bf16, on tiles, and the same for few rows with vectors
// (kernels/gemm.h).
#include "kernels/gemm_tiles.h"

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/tile_weights.h"
#include "kernels/cpu/tiles.h"

namespace ingot::kernels {
namespace INGOT_ISA_NAMESPACE {
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

// The pairs [kPair, kEnd) of a step, each row in two chains.
template <int R>
struct Chains {
  F32x16 even[R], odd[R];
};
struct Activations {
  const float* x;  // [rows, stride], from the step's first input on
  int64_t stride;
};
template <int kPair, int kEnd, WeightKind kKind, int R>
INGOT_UNROLLED void MultiplyPairs(const Weights<kKind>& weights, const std::byte* step, const Activations& x,
                                  Chains<R>* chains) {
  const FloatPair w = weights.template Floats<kPair>(step);
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
    const float* row = x.x + r * x.stride;
    chains->even[r] = Fma(w.even, Broadcast(row[Weights<kKind>::EvenInput(kPair)]), chains->even[r]);
    chains->odd[r] = Fma(w.odd, Broadcast(row[Weights<kKind>::OddInput(kPair)]), chains->odd[r]);
  }
  if constexpr (kPair + 1 < kEnd) MultiplyPairs<kPair + 1, kEnd>(weights, step, x, chains);
}

// Few rows. Two panels at a time, from both halves of those to do: two streams of memory are read faster than one.
template <WeightKind kKind, int R>
class VectorProduct {
 public:
  explicit VectorProduct(const TileGemmParams& p)
      : p_(p), weights_(*p.layout), x_(reinterpret_cast<const float*>(p.activations.rounded)) {}

  void Multiply() {
    const FlushDenormals flush;
    const int64_t half = (p_.panel_end - p_.panel_begin + 1) / 2;
    Fetcher fetchers[kStreams] = {{p_, p_.panel_begin}, {p_, p_.panel_begin + half}};
    for (int64_t i = 0; i < half; ++i) {
      const int64_t first = p_.panel_begin + i;
      const int64_t second = first + half < p_.panel_end ? first + half : first;
      const std::byte* const from[kStreams] = {PanelAt(first), PanelAt(second)};
      alignas(64) float y[kStreams][R * 16];
      p_.layout->quantized() && p_.layout->group_size == 16 ? MultiplyPanels<true>(from, fetchers, y)
                                                            : MultiplyPanels<false>(from, fetchers, y);
      Finish(p_, first, 0, p_.rows, y[0]);
      if (second != first) Finish(p_, second, 0, p_.rows, y[1]);
    }
  }

 private:
  static constexpr int kStreams = 2;

  const std::byte* PanelAt(int64_t panel) const { return p_.packed + panel * p_.layout->panel_bytes; }

  template <bool kHalfSteps>
  INGOT_INLINE void MultiplyPanels(const std::byte* const* from, Fetcher* fetchers, float (*out)[R * 16]) {
    const PanelLayout& layout = *p_.layout;
    const int64_t step_share = layout.panel_bytes * kStepInputs / layout.padded_k;
    const float* sums = p_.activations.sums;
    F32x16 y[kStreams][R];
    for (int i = 0; i < kStreams * R; ++i) y[i / R][i % R] = Broadcast(0.0F);
    for (int64_t k = 0, end = 0; k < layout.padded_k; k = end, sums += R) {
      end = SpanEnd(layout, k);
      F32x16 products[kStreams][R];
      for (int i = 0; i < kStreams * R; ++i) products[i / R][i % R] = Broadcast(0.0F);
      for (int64_t at = k; at < end; at += kStepInputs) {
        const int64_t index = at / kStepInputs;
        for (int n = 0; n < kStreams; ++n) {
          fetchers[n].Advance(from[n] + index * step_share);
          MultiplyStep<kHalfSteps>(from[n] + index * Weights<kKind>::kStepBytes, at, products[n]);
        }
      }
      for (int n = 0; n < kStreams; ++n) {
        alignas(64) float rows[R * 16];
        for (int r = 0; r < R; ++r) Store(rows + r * 16, products[n][r]);
        Span(layout, from[n], k).template Close<R>(rows, sums, y[n]);
      }
    }
    for (int i = 0; i < kStreams * R; ++i) Store(out[i / R] + i % R * 16, y[i / R][i % R]);
  }
  // Input `at` is the first or, of half steps, the middle one of a step.
  template <bool kHalfSteps>
  INGOT_INLINE void MultiplyStep(const std::byte* step, int64_t at, F32x16* products) {
    Chains<R> chains;
    for (int r = 0; r < R; ++r) chains.even[r] = chains.odd[r] = Broadcast(0.0F);
    const Activations x{x_ + at / kStepInputs * kStepInputs, p_.layout->padded_k};
    asm volatile("" : : "r"(x.x) : "memory");  // or all activations would be kept for both panels, in memory
    if constexpr (!kHalfSteps) {
      MultiplyPairs<0, kPairs>(weights_, step, x, &chains);
    } else if (at % kStepInputs == 0) {
      MultiplyPairs<0, kPairs / 2>(weights_, step, x, &chains);
    } else {
      MultiplyPairs<kPairs / 2, kPairs>(weights_, step, x, &chains);
    }
    for (int r = 0; r < R; ++r) products[r] = products[r] + (chains.even[r] + chains.odd[r]);
  }

  const TileGemmParams& p_;
  const Weights<kKind> weights_;
  const float* const x_;
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
        half_steps_(p.layout->quantized() && p.layout->group_size == 16) {}

  void Multiply() {
    const FlushDenormals flush;
    p_.tile_end - p_.tile_begin == 1 ? MultiplyOneTile() : MultiplyManyTiles();
  }

 private:
  static constexpr bool kInPlace = kKind == WeightKind::kBF16;
  static constexpr int64_t kBlockBytes = kSteps * kTileBytes;

  const std::byte* PanelAt(int64_t panel) const { return p_.packed + panel * p_.layout->panel_bytes; }
  int64_t StepsAt(int64_t first) const { return steps_ - first < kSteps ? steps_ - first : kSteps; }
  INGOT_INLINE void ExpandStep(const std::byte* panel, int64_t step, std::byte* to) const {
    if constexpr (!kInPlace) Expand(weights_, panel + step * Weights<kKind>::kStepBytes, to);
  }

  // One row tile: the steps of the next block are expanded while this one is multiplied.
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

  void MultiplyManyTiles() {
    int64_t span = 0, spans = 0;
    for (int64_t first = 0; first < steps_; first += kSteps, span += spans) {
      for (int64_t begin = p_.panel_begin; begin < p_.panel_end; begin += kPanelsOfBlock) {
        const int64_t end = begin + kPanelsOfBlock < p_.panel_end ? begin + kPanelsOfBlock : p_.panel_end;
        for (int64_t n = begin; n < end && !kInPlace; ++n) {
          std::byte* const to = room_ + (n - begin) * kBlockBytes;
          for (int64_t s = 0; s < StepsAt(first); ++s) ExpandStep(PanelAt(n), first + s, to + s * kTileBytes);
        }
        for (int64_t t = p_.tile_begin; t < p_.tile_end; ++t) {
          FetchNext(begin, first, t - p_.tile_begin);
          for (int64_t n = begin; n < end; ++n) spans = MultiplyPanelTile(n, n - begin, t, first, span);
        }
      }
    }
  }
  int64_t MultiplyPanelTile(int64_t panel, int64_t n, int64_t t, int64_t first, int64_t span) {
    const int64_t tiles = p_.tile_end - p_.tile_begin;
    float* const y = p_.sums + ((panel - p_.panel_begin) * tiles + t - p_.tile_begin) * 256;
    if (first == 0) {
      for (int64_t i = 0; i < 256; i += 16) Store(y + i, Broadcast(0.0F));
    }
    const std::byte* const weights = kInPlace ? PanelAt(panel) + first * kTileBytes : room_ + n * kBlockBytes;
    const int64_t spans = MultiplyBlock({panel, t, first, span, weights, y}, [](int64_t) {});
    if (first + kSteps >= steps_) {
      const int64_t left = p_.rows - t * kTileRows;
      Finish(p_, panel, t * kTileRows, left < kTileRows ? left : kTileRows, y);
    }
    return spans;
  }
  // The part of the next panels' weights that is fetched meanwhile.
  INGOT_INLINE void FetchNext(int64_t panel, int64_t first, int64_t tile) const {
    const int64_t lines = StepsAt(first) * Weights<kKind>::kStepBytes / 64, tiles = p_.tile_end - p_.tile_begin;
    for (int64_t line = lines * tile / tiles; line < lines * (tile + 1) / tiles; ++line) {
      for (int64_t n = kPanelsOfBlock; n < 2 * kPanelsOfBlock; ++n) {
        const std::byte* next = PanelAt(panel + n) + first * Weights<kKind>::kStepBytes + line * 64;
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
        Span(layout, panel, before).template Close<16>(products_[(spans - 1) % 2], sums + (spans - 1) * width_, y);
      }
    }
    Span(layout, panel, before).template Close<16>(products_[(spans - 1) % 2], sums + (spans - 1) * width_, y);
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) Store(part.y + r * 16, y[r]);
    return spans;
  }

  Tiles& tiles_;
  const TileGemmParams& p_;
  const Weights<kKind> weights_;
  const int64_t steps_, width_;
  const bool half_steps_;
  alignas(64) float products_[2][256] = {};
  alignas(64) std::byte room_[kPanelsOfBlock * kBlockBytes];
};

template <WeightKind kKind>
void MultiplyKind(const TileGemmParams& p) {
  if (p.rows == 1) return VectorProduct<kKind, 1>(p).Multiply();
  if (p.rows <= kVectorRows) return VectorProduct<kKind, kVectorRows>(p).Multiply();
  const bool half_steps = p.layout->quantized() && p.layout->group_size == 16;
  Tiles tiles({.rows = TileWidthOf(p.rows), .pairs = half_steps ? kPairs / 2 : kPairs});
  TileProduct<kKind>(tiles, p).Multiply();
}

void MultiplyTiles(const TileGemmParams& p) {
  if (p.layout->kind == WeightKind::kInt4) MultiplyKind<WeightKind::kInt4>(p);
  if (p.layout->kind == WeightKind::kInt8) MultiplyKind<WeightKind::kInt8>(p);
  if (p.layout->kind == WeightKind::kF16) MultiplyKind<WeightKind::kF16>(p);
  if (p.layout->kind == WeightKind::kBF16) MultiplyKind<WeightKind::kBF16>(p);
}

float SumOf(F32x16 x) {
  alignas(64) float lanes[16];
  Store(lanes, x);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// One row of x, `count` of its inputs (none: a row that fills up).
class RowRounder {
 public:
  RowRounder(const RoundTilesParams& p, int64_t row)
      : layout_(*p.layout), x_(p.x + row * layout_.k), inputs_(row < p.rows ? layout_.k : 0) {}

  // → [padded_k / 32] steps, `stride` bytes apart; sums: one per span, `sums_stride` apart.
  void Round(std::byte* to, int64_t stride, bool vector, float* sums, int64_t sums_stride) const {
    for (int64_t k = 0, end = 0; k < layout_.padded_k; k = end, sums += sums_stride) {
      end = SpanEnd(layout_, k);
      F32x16 sum = Broadcast(0.0F);
      for (int64_t at = k; at < end; at += kStepInputs) {
        const FloatPair x = RoundStep(at / kStepInputs, to + at / kStepInputs * stride, vector);
        const bool first = layout_.group_size != 16 || at % kStepInputs == 0;
        const bool second = layout_.group_size != 16 || at % kStepInputs != 0;
        if (first) sum = sum + x.even;
        if (second) sum = sum + x.odd;
      }
      if (NeedsSums(layout_)) *sums = SumOf(sum);
    }
  }

 private:
  // Inputs [at, at + 16) of the row.
  INGOT_INLINE F32x16 Inputs(int64_t at) const {
    const int64_t left = inputs_ - at;
    return left >= 16 ? LoadF32x16(x_ + at) : left > 0 ? LoadF32x16(x_ + at, left) : Broadcast(0.0F);
  }
  // Returns the step's first and second 16 inputs.
  INGOT_INLINE FloatPair RoundStep(int64_t step, std::byte* to, bool vector) const {
    const Bf16Pairs rounded = RoundToBf16(Inputs(step * kStepInputs), Inputs(step * kStepInputs + 16));
    alignas(64) uint16_t words[32];
    Store(words, rounded);
    const FloatPair x = {FromBits(ShiftLeft<16>(LoadU16x16(words))), FromBits(ShiftLeft<16>(LoadU16x16(words + 16)))};
    if (vector) {
      Store(reinterpret_cast<float*>(to), x.even);
      Store(reinterpret_cast<float*>(to) + 16, x.odd);
    } else {
      Store(to, layout_.quantized() ? SwapMiddles(rounded) : rounded);
    }
    return x;
  }

  const PanelLayout& layout_;
  const float* const x_;
  const int64_t inputs_;
};

void RoundTiles(const RoundTilesParams& p) {
  const FlushDenormals flush;
  const bool vector = p.rows <= kVectorRows;
  const int64_t width = TileWidthOf(p.rows), steps = p.layout->padded_k / kStepInputs;
  const int64_t step_bytes = vector ? kStepInputs * 4 : width * 64, row_bytes = vector ? p.layout->padded_k * 4 : 64;
  for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
    for (int64_t r = 0; r < width; ++r) {
      RowRounder(p, t * kTileRows + r)
          .Round(p.activations.rounded + t * steps * width * 64 + r * row_bytes, step_bytes, vector,
                 p.activations.sums + t * p.spans * width + r, width);
    }
  }
}

}  // namespace
}  // namespace INGOT_ISA_NAMESPACE

// What is not done on tiles.
#ifndef INGOT_EMULATE_TILES
#define INGOT_OTHERS avx512
#else
#define INGOT_OTHERS avx2
#endif
namespace INGOT_OTHERS {
void Quantize(const QuantizeParams& params);
void MultiplyInt8(const GemmParams& params);
void MultiplyF32(const GemmParams& params);
}  // namespace INGOT_OTHERS

const GemmKernels INGOT_ISA_NAMESPACE::kGemm = {
    .quantize = INGOT_OTHERS::Quantize,
    .multiply_int8 = INGOT_OTHERS::MultiplyInt8,
    .multiply_f32 = INGOT_OTHERS::MultiplyF32,
    .round_bf16 = nullptr,
    .multiply_bf16 = nullptr,
    .round_tiles = INGOT_ISA_NAMESPACE::RoundTiles,
    .multiply_tiles = INGOT_ISA_NAMESPACE::MultiplyTiles,
};

}  // namespace ingot::kernels
