// Packed weights as tiles and vectors multiply them: codes without their scale, and the scales of a span. For
// gemm_tiles.cc only.
#pragma once

#include "kernels/cpu/bf16_rows.h"
#include "kernels/cpu/gemm.h"
#include "kernels/gemm_tiles.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

constexpr int kPairs = 16;  // of a step

// 16 copies of what stands in a loop over pairs: inlined where speed counts, a call where tiles are emulated, whose
// compilation would take long.
#ifdef INGOT_EMULATE_TILES
#define INGOT_UNROLLED [[gnu::noinline]]
#else
#define INGOT_UNROLLED INGOT_INLINE
#endif

struct FloatPair {
  F32x16 even, odd;
};

// What weights of one kind unpack to: pairs of inputs for 16 channels, exact in bf16. Codes come without their scale.
template <WeightKind kKind>
class Weights;

// Pair (h, j, u) holds the inputs 16·h + 4·j + u and the next but one: nibble h + 2·u of the words of vector j.
constexpr int64_t CodeInput(int pair) { return pair / 8 * 16 + pair % 8 / 2 * 4 + pair % 2; }
constexpr int NibbleOf(int pair) { return pair / 8 + pair % 2 * 2; }

template <>
class Weights<WeightKind::kInt4> {
 public:
  static constexpr int64_t kStepBytes = 256;
  static constexpr int64_t EvenInput(int pair) { return CodeInput(pair); }
  static constexpr int64_t OddInput(int pair) { return CodeInput(pair) + 2; }

  explicit Weights(const PanelLayout& layout) : numbers_(AllNumbers(layout)), table_(TableOf(numbers_)) {}

  template <int kPair>
  INGOT_INLINE FloatPair Floats(const std::byte* step) const {
    const I32x16 words = LoadI32x16(step + kPair % 8 / 2 * 64);
    constexpr int kShift = 4 * NibbleOf(kPair);
    return {LookUp(numbers_, kShift == 0 ? words : ShiftRight<kShift>(words)),
            LookUp(numbers_, ShiftRight<kShift + 16>(words))};
  }
  template <int kPair>
  INGOT_INLINE Bf16Pairs Pairs(const std::byte* step) const {
    return LookUp<NibbleOf(kPair)>(table_, LoadI32x16(step + kPair % 8 / 2 * 64));
  }

 private:
  // For all that a nibble may be.
  static F32x16 AllNumbers(const PanelLayout& layout) {
    alignas(16) static constexpr uint8_t kPlain[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const float midpoint = layout.zero == ZeroKind::kMidpoint ? static_cast<float>(layout.midpoint) : 0;
    return ToFloat(LoadU8x16(layout.coded ? layout.table : kPlain)) - Broadcast(midpoint);
  }

  F32x16 numbers_;
  NibbleTable table_;
};

template <>
class Weights<WeightKind::kInt8> {
 public:
  static constexpr int64_t kStepBytes = 512;
  static constexpr int64_t EvenInput(int pair) { return CodeInput(pair); }
  static constexpr int64_t OddInput(int pair) { return CodeInput(pair) + 2; }

  explicit Weights(const PanelLayout& layout)
      : midpoint_(Broadcast(layout.zero == ZeroKind::kMidpoint ? static_cast<float>(layout.midpoint) : 0)) {}

  template <int kPair>
  INGOT_INLINE FloatPair Floats(const std::byte* step) const {
    const I32x16 bytes = LoadI32x16(step + kPair / 2 * 64), low = Broadcast(int32_t{255});
    constexpr int kShift = kPair % 2 * 8;
    return {ToFloat((kShift == 0 ? bytes : ShiftRight<kShift>(bytes)) & low) - midpoint_,
            ToFloat(ShiftRight<kShift + 16>(bytes) & low) - midpoint_};
  }
  template <int kPair>
  INGOT_INLINE Bf16Pairs Pairs(const std::byte* step) const {
    const FloatPair pair = Floats<kPair>(step);
    return PairsOf(pair.even, pair.odd);
  }

 private:
  F32x16 midpoint_;
};

template <>
class Weights<WeightKind::kBF16> {
 public:
  static constexpr int64_t kStepBytes = 1024;
  static constexpr int64_t EvenInput(int pair) { return 2 * pair; }
  static constexpr int64_t OddInput(int pair) { return 2 * pair + 1; }

  explicit Weights(const PanelLayout&) {}

  template <int kPair>
  INGOT_INLINE FloatPair Floats(const std::byte* step) const {
    const I32x16 pairs = LoadI32x16(step + kPair * 64);
    return {FromBits(ShiftLeft<16>(pairs)), UpperHalves(pairs)};
  }
};

// Rounded to bf16 within 3/4 of an ulp, and numbers of bf16 stay what they are: truncated, 3/8 to 3/4 of an ulp above
// what they are.
template <>
class Weights<WeightKind::kF16> {
 public:
  static constexpr int64_t kStepBytes = 1024;
  static constexpr int64_t EvenInput(int pair) { return 2 * pair; }
  static constexpr int64_t OddInput(int pair) { return 2 * pair + 1; }

  explicit Weights(const PanelLayout&) {}

  template <int kPair>
  INGOT_INLINE FloatPair Floats(const std::byte* step) const {
    const F32x16 up = Broadcast(1 + 3.0F / 1024);
    const std::byte* from = step + kPair * 64;
    return {UpperHalves(Bits(LoadF16x16(from) * up)), UpperHalves(Bits(LoadF16x16(from + 32) * up))};
  }
  template <int kPair>
  INGOT_INLINE Bf16Pairs Pairs(const std::byte* step) const {
    const FloatPair pair = Floats<kPair>(step);
    return PairsOf(pair.even, pair.odd);
  }
};

// A step of a panel → a tile.
template <int kPair = 0, WeightKind kKind>
INGOT_UNROLLED void Expand(const Weights<kKind>& weights, const std::byte* step, std::byte* to) {
  Store(to + kPair * 64, weights.template Pairs<kPair>(step));
  if constexpr (kPair + 1 < kPairs) Expand<kPair + 1>(weights, step, to);
}

// Scale and zero (or minimum) of a span for the channels of a panel; for weights of 16 bits, nothing.
struct SpanScales {
  SpanScales() = default;
  INGOT_INLINE SpanScales(const PanelLayout& layout, const std::byte* panel, int64_t k) {
    if (layout.quantized()) *this = OfGroup(layout, panel, k / layout.group_size);
  }
  INGOT_INLINE static SpanScales OfGroup(const PanelLayout& layout, const std::byte* panel, int64_t group) {
    SpanScales of;
    const std::byte* zeros = panel + layout.zero_offset;
    of.scale = NumberOf(layout, {panel + layout.scale_offset, panel + layout.scale_code_offset}, group);
    if (layout.coded) of.scale = of.scale * Broadcast(layout.unit);
    if (layout.zero == ZeroKind::kMin) of.zero = NumberOf(layout, {zeros, panel + layout.zero_code_offset}, group);
    if (layout.zero == ZeroKind::kInteger) of.zero = ToFloat(LoadU8x16(zeros + group * 16));
    return of;
  }
  F32x16 scale, zero;
};

// What closes a span: y = f(y, products' sum). kAdd: of weights of 16 bits; the others as ZeroKind.
enum class Closing { kAdd, kMidpoint, kInteger, kMin };
INGOT_INLINE Closing ClosingOf(const PanelLayout& layout) {
  if (!layout.quantized()) return Closing::kAdd;
  if (layout.zero == ZeroKind::kMidpoint) return Closing::kMidpoint;
  return layout.zero == ZeroKind::kInteger ? Closing::kInteger : Closing::kMin;
}
// One row.   x: the sum of its activations
template <Closing kClosing>
INGOT_INLINE F32x16 CloseRow(const SpanScales& scales, F32x16 products, const float* x, F32x16 y) {
  if constexpr (kClosing == Closing::kAdd) return y + products;
  if constexpr (kClosing == Closing::kMidpoint) return Fma(products, scales.scale, y);
  if constexpr (kClosing == Closing::kInteger) {
    return Fma(NegFma(scales.zero, Broadcast(*x), products), scales.scale, y);
  }
  if constexpr (kClosing == Closing::kMin) {
    return Fma(scales.zero, Broadcast(*x), Fma(products, scales.scale, y));
  }
}
// y, products, x: of R rows
template <Closing kClosing, int R>
INGOT_INLINE void Close(const SpanScales& scales, const float* products, const float* x, F32x16* y) {
  const SpanScales copy = scales;  // which stays in registers
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) y[r] = CloseRow<kClosing>(copy, LoadF32x16(products + r * 16), x + r, y[r]);
}
template <int R>
INGOT_INLINE void Close(Closing closing, const SpanScales& scales, const float* products, const float* x, F32x16* y) {
  if (closing == Closing::kAdd) Close<Closing::kAdd, R>(scales, products, x, y);
  if (closing == Closing::kMidpoint) Close<Closing::kMidpoint, R>(scales, products, x, y);
  if (closing == Closing::kInteger) Close<Closing::kInteger, R>(scales, products, x, y);
  if (closing == Closing::kMin) Close<Closing::kMin, R>(scales, products, x, y);
}

}  // namespace
}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
