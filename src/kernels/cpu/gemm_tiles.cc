// Weights of 4, 8 or 16 bits × activations rounded to bf16, on tiles, and the same for few rows with vectors
// (kernels/gemm.h).
#include "kernels/gemm_tiles.h"

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/one_tile_product.h"

namespace ingot::kernels {
namespace INGOT_ISA_NAMESPACE {
namespace {

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
        Close<R>(ClosingOf(layout), SpanScales(layout, from[n], k), rows, sums, y[n]);
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

template <WeightKind kKind, int R>
void MultiplyOneTile(Tiles& tiles, const TileGemmParams& p) {
  if constexpr (kKind == WeightKind::kF16 || kKind == WeightKind::kBF16) {
    OneTileProduct<kKind, Closing::kAdd, R>(tiles, p).Multiply();
  } else {
    const Closing closing = ClosingOf(*p.layout);
    if (closing == Closing::kMidpoint) OneTileProduct<kKind, Closing::kMidpoint, R>(tiles, p).Multiply();
    if (closing == Closing::kInteger) OneTileProduct<kKind, Closing::kInteger, R>(tiles, p).Multiply();
    if (closing == Closing::kMin) OneTileProduct<kKind, Closing::kMin, R>(tiles, p).Multiply();
  }
}

template <WeightKind kKind>
void MultiplyKind(const TileGemmParams& p) {
  if (p.rows == 1) return VectorProduct<kKind, 1>(p).Multiply();
  if (p.rows <= kVectorRows) return VectorProduct<kKind, kVectorRows>(p).Multiply();
  const bool half_steps = p.layout->quantized() && p.layout->group_size == 16;
  Tiles tiles({.rows = TileWidthOf(p.rows), .pairs = half_steps ? kPairs / 2 : kPairs});
  if (p.tile_end - p.tile_begin > 1 || half_steps) return TileProduct<kKind>(tiles, p).Multiply();
  p.rows <= 8 ? MultiplyOneTile<kKind, 8>(tiles, p) : MultiplyOneTile<kKind, 16>(tiles, p);
}

void MultiplyTiles(const TileGemmParams& p) {
  if (p.layout->kind == WeightKind::kInt4) MultiplyKind<WeightKind::kInt4>(p);
  if (p.layout->kind == WeightKind::kInt8) MultiplyKind<WeightKind::kInt8>(p);
  if (p.layout->kind == WeightKind::kF16) MultiplyKind<WeightKind::kF16>(p);
  if (p.layout->kind == WeightKind::kBF16) MultiplyKind<WeightKind::kBF16>(p);
}

// The rows of a tile. Step by step, so that what is written is in sequence.
class TileRounder {
 public:
  TileRounder(const RoundTilesParams& p, int64_t tile)
      : p_(p), layout_(*p.layout), first_row_(tile * kTileRows), vector_(p.rows <= kVectorRows) {
    const int64_t width = TileWidthOf(p.rows), steps = layout_.padded_k / kStepInputs;
    step_bytes_ = vector_ ? kStepInputs * 4 : width * 64;
    row_bytes_ = vector_ ? layout_.padded_k * 4 : 64;
    to_ = p.activations.rounded + tile * steps * width * 64;
    sums_ = p.activations.sums + tile * p.spans * width;
  }

  void Round() {
    const int64_t width = TileWidthOf(p_.rows);
    for (int64_t k = 0, end = 0; k < layout_.padded_k; k = end, sums_ += width) {
      end = SpanEnd(layout_, k);
      F32x16 sums[kTileRows];
      for (int64_t r = 0; r < width; ++r) sums[r] = Broadcast(0.0F);
      for (int64_t at = k; at < end; at += kStepInputs) {
        for (int64_t r = 0; r < width; ++r) AddStep(r, at, sums + r);
      }
      for (int64_t r = 0; NeedsSums(layout_) && r < width; ++r) sums_[r] = SumOf(sums[r]);
    }
  }

 private:
  // Input `at` is the first or, of half steps, the middle one of a step.
  INGOT_INLINE void AddStep(int64_t row, int64_t at, F32x16* sum) const {
    const int64_t step = at / kStepInputs;
    const FloatPair x = RoundStep(first_row_ + row, step, to_ + step * step_bytes_ + row * row_bytes_);
    if (!NeedsSums(layout_)) return;
    const bool halves = layout_.group_size == 16;
    if (!halves || at % kStepInputs == 0) *sum = *sum + x.even;
    if (!halves || at % kStepInputs != 0) *sum = *sum + x.odd;
  }
  // 16 inputs of a row from `at` on; zeros where there are none, and for a row that fills up the tile.
  INGOT_INLINE F32x16 Inputs(int64_t row, int64_t at) const {
    const float* const x = p_.x + row * layout_.k;
    const int64_t left = row < p_.rows ? layout_.k - at : 0;
    return left >= 16 ? LoadF32x16(x + at) : left > 0 ? LoadF32x16(x + at, left) : Broadcast(0.0F);
  }
  // Returns the step's first and second 16 inputs.
  INGOT_INLINE FloatPair RoundStep(int64_t row, int64_t step, std::byte* to) const {
    const Bf16Pairs rounded = RoundToBf16(Inputs(row, step * kStepInputs), Inputs(row, step * kStepInputs + 16));
    alignas(64) uint16_t words[32];
    Store(words, rounded);
    const FloatPair x = {FromBits(ShiftLeft<16>(LoadU16x16(words))), FromBits(ShiftLeft<16>(LoadU16x16(words + 16)))};
    if (vector_) {
      Store(reinterpret_cast<float*>(to), x.even);
      Store(reinterpret_cast<float*>(to) + 16, x.odd);
    } else {
      Store(to, layout_.quantized() ? SwapMiddles(rounded) : rounded);
    }
    return x;
  }

  const RoundTilesParams& p_;
  const PanelLayout& layout_;
  const int64_t first_row_;
  const bool vector_;
  int64_t step_bytes_, row_bytes_;
  std::byte* to_;
  float* sums_;  // of the span that is next
};

void RoundTiles(const RoundTilesParams& p) {
  const FlushDenormals flush;
  for (int64_t t = p.tile_begin; t < p.tile_end; ++t) TileRounder(p, t).Round();
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
