// Any weights of 4, 8 or 16 bits × activations rounded to bf16, on tiles (kernels/gemm.h).
#include "kernels/gemm_tiles.h"

#include "kernels/cpu/bf16_rows.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/tiles.h"

namespace ingot::kernels {
namespace INGOT_ISA_NAMESPACE {
namespace {

constexpr int64_t kTileBytes = 1024, kExpandedBytes = kPanelsOfBlock * kTileBytes, kSteps = kBlockInputs / kTileInputs;

// What codes stand for, from which a midpoint has been taken.
template <ZeroKind kZero>
INGOT_INLINE F32x16 Numbers(F32x16 codes, F32x16 scale, F32x16 zero) {
  return kZero == ZeroKind::kMin       ? Fma(codes, scale, zero)
         : kZero == ZeroKind::kInteger ? Mul(Sub(codes, zero), scale)
                                       : Mul(codes, scale);
}

// Scale and zero (or minimum) of a panel's channels: of one group of inputs, or of the two groups of 16 of a step.
struct GroupNumbers {
  alignas(64) float scale[2][16];
  alignas(64) float zero[2][16];
};
template <ZeroKind kZero, int kSubs>
INGOT_INLINE void ReadNumbers(const PanelLayout& layout, const std::byte* panel, int64_t group, GroupNumbers* numbers) {
  const NumbersAt scale{panel + layout.scale_offset, panel + layout.scale_code_offset};
  const NumbersAt zero{panel + layout.zero_offset, panel + layout.zero_code_offset};
  for (int s = 0; s < kSubs; ++s) {
    const F32x16 number = PlainNan(NumberOf(layout, scale, group + s));
    Store(numbers->scale[s], layout.coded ? Mul(number, Broadcast(layout.unit)) : number);
    if (kZero == ZeroKind::kMin) Store(numbers->zero[s], PlainNan(NumberOf(layout, zero, group + s)));
    if (kZero == ZeroKind::kInteger) Store(numbers->zero[s], ToFloat(LoadU8(zero.values + (group + s) * 16)));
  }
  asm volatile("" : : "r"(numbers) : "memory");  // they are broadcast from memory, which no shuffle costs
}

template <ZeroKind kZero>
INGOT_INLINE F32x16 ChannelNumbers(F32x16 codes, const GroupNumbers& n, int sub, int64_t c) {
  return Numbers<kZero>(codes, Broadcast(n.scale[sub][c]),
                        kZero == ZeroKind::kMidpoint ? Zeros() : Broadcast(n.zero[sub][c]));
}

// All codes that a nibble may be.
template <ZeroKind kZero>
INGOT_INLINE F32x16 NibbleCodes(const PanelLayout& layout) {
  alignas(16) static constexpr uint8_t kPlain[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const F32x16 codes = ToFloat(LoadU8(layout.coded ? layout.table : kPlain));
  return kZero == ZeroKind::kMidpoint ? Sub(codes, Broadcast(static_cast<float>(layout.midpoint))) : codes;
}

// 16 copies in each place where a group is expanded: inlined where speed counts, a call where tiles are emulated, whose
// compilation would take minutes.
#ifdef INGOT_EMULATE_TILES
#define INGOT_EXPAND [[gnu::noinline]]
#else
#define INGOT_EXPAND INGOT_INLINE
#endif
template <ZeroKind kZero, int kSubs, int c>
INGOT_EXPAND void ExpandChannel(F32x16 all, const GroupNumbers& n, const std::byte* codes, int64_t steps,
                                std::byte* to) {
  const NibbleTable first = RoundTable(ChannelNumbers<kZero>(all, n, 0, c));
  const NibbleTable second = kSubs == 1 ? first : RoundTable(ChannelNumbers<kZero>(all, n, kSubs - 1, c));
  for (int64_t s = 0; s < steps; ++s) {
    const std::byte* words = codes + s * 256 + c / 4 * 64;
    Store(to + s * kExpandedBytes + c * 64,
          kSubs == 1 ? LookUp<c % 4>(first, words) : LookUp<c % 4>(first, second, words));
  }
}

// `steps` times 32 inputs of one group (kSubs 2: one step) → [steps] tiles, with those of other panels between them.
template <ZeroKind kZero, int kSubs, int c = 0>
INGOT_INLINE void ExpandNibbles(F32x16 all, const GroupNumbers& n, const std::byte* codes, int64_t steps,
                                std::byte* to) {
  ExpandChannel<kZero, kSubs, c>(all, n, codes, steps, to);
  if constexpr (c + 1 < kPanelChannels) ExpandNibbles<kZero, kSubs, c + 1>(all, n, codes, steps, to);
}
template <ZeroKind kZero, int kSubs>
INGOT_INLINE void ExpandBytes(const GroupNumbers& n, const std::byte* codes, int64_t steps, std::byte* to) {
  const F32x16 midpoint = Broadcast(kZero == ZeroKind::kMidpoint ? 128.0F : 0.0F);
  for (int64_t row = 0; row < steps * 16; ++row, codes += 32) {
    const int64_t c = row % 16;
    F32x16 first = ToFloat(LoadU8(codes)), second = ToFloat(LoadU8(codes + 16));
    if (kZero == ZeroKind::kMidpoint) first = Sub(first, midpoint), second = Sub(second, midpoint);
    Store(to + row / 16 * kExpandedBytes + c * 64,
          RoundToBf16(ChannelNumbers<kZero>(first, n, 0, c), ChannelNumbers<kZero>(second, n, kSubs - 1, c)));
  }
}
INGOT_INLINE void ExpandHalves(const std::byte* from, int64_t steps, std::byte* to) {
  for (int64_t row = 0; row < steps * 16; ++row, from += 64) {
    Store(to + row / 16 * kExpandedBytes + row % 16 * 64, RoundToBf16(LoadF16(from), LoadF16(from + 32)));
  }
}

INGOT_INLINE void PrefetchLines(const std::byte* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(from + i), _MM_HINT_T0);
}

// `steps` from `step` on in a panel, of one group of inputs (of two groups of 16: one step).
struct PanelPart {
  const std::byte* panel;
  int64_t step, steps, group;
};

// How weights of one kind become tiles.
template <WeightKind kKind, ZeroKind kZero, int kSubs>
struct Expander {
  static constexpr WeightKind kKindOfWeights = kKind;
  static constexpr int64_t kStepBytes = kKind == WeightKind::kInt4 ? 256 : kKind == WeightKind::kInt8 ? 512 : 1024;

  INGOT_INLINE static void Expand(const PanelLayout& layout, F32x16 all, const PanelPart& part, std::byte* to) {
    const std::byte* from = part.panel + part.step * kStepBytes;
    if (kKind == WeightKind::kF16) return ExpandHalves(from, part.steps, to);
    GroupNumbers numbers;
    ReadNumbers<kZero, kSubs>(layout, part.panel, part.group, &numbers);
    if (kKind == WeightKind::kInt8) return ExpandBytes<kZero, kSubs>(numbers, from, part.steps, to);
    part.steps == 1 ? ExpandNibbles<kZero, kSubs>(all, numbers, from, 1, to)
                    : ExpandNibbles<kZero, kSubs>(all, numbers, from, part.steps, to);
  }
  INGOT_INLINE static F32x16 AllCodes(const PanelLayout& layout) {
    return kKind == WeightKind::kInt4 ? NibbleCodes<kZero>(layout) : Zeros();
  }
  INGOT_INLINE static int64_t GroupOf(const PanelLayout& layout, int64_t step) {
    return kKind == WeightKind::kF16 || kKind == WeightKind::kBF16 ? 0 : step * kTileInputs / layout.group_size;
  }
};

// The part of the product that lies in four panels, [panel, panel + 4) (those that do not exist repeat the last).
class Block {
 public:
  Block(const TileGemmParams& p, int64_t panel) : p_(p), panel_(panel) {
    for (int64_t n = 0; n < kPanelsOfBlock; ++n) {
      const int64_t at = panel + n < p.panel_end ? panel + n : p.panel_end - 1;
      panels_[n] = p.packed + at * p.layout->panel_bytes;
    }
  }

  const std::byte* panel(int64_t n) const { return panels_[n]; }

  // What comes 256 inputs after `step` in panel n, be it in the next block.
  INGOT_INLINE const std::byte* FetchAt(int64_t n, int64_t step, int64_t step_bytes) const {
    const int64_t all = p_.layout->padded_k / kTileInputs;
    step += kSteps;
    if (step < all) return panels_[n] + step * step_bytes;
    step -= all;
    return panels_[n] + kPanelsOfBlock * p_.layout->panel_bytes + (step < all ? step : 0) * step_bytes;
  }

  // y of row tile t from its sums: [4][16 channels][16]
  void Finish(const float* sums, int64_t t) const {
    const int64_t left = p_.rows - t * kTileWidth, count = left < kTileWidth ? left : kTileWidth;
    for (int64_t n = 0; n < kPanelsOfBlock && panel_ + n < p_.panel_end; ++n, sums += 256) {
      const int64_t at = (panel_ + n) * kPanelChannels, outputs = p_.out_features - at;
      const int64_t lanes = outputs < kPanelChannels ? outputs : kPanelChannels;
      const F32x16 bias = p_.bias == nullptr ? Zeros() : Load(p_.bias + at, lanes);
      I32x16 rows[16];
      Transpose(sums, 64, rows);
      float* y = p_.y + t * kTileWidth * p_.out_features + at;
      for (int64_t r = 0; r < count; ++r, y += p_.out_features) {
        Store(y, p_.bias == nullptr ? FromBits(rows[r]) : Add(FromBits(rows[r]), bias), lanes);
      }
    }
  }

 private:
  const TileGemmParams& p_;
  const int64_t panel_;
  const std::byte* panels_[kPanelsOfBlock];
};

INGOT_INLINE void StartSums(Tiles& tiles) { tiles.Zero<0>(), tiles.Zero<1>(), tiles.Zero<2>(), tiles.Zero<3>(); }
INGOT_INLINE void LoadSums(Tiles& tiles, const float* sums) {
  tiles.Load<0>(sums, 64), tiles.Load<1>(sums + 256, 64), tiles.Load<2>(sums + 512, 64), tiles.Load<3>(sums + 768, 64);
}
INGOT_INLINE void StoreSums(const Tiles& tiles, float* sums) {
  tiles.Store<0>(sums, 64), tiles.Store<1>(sums + 256, 64), tiles.Store<2>(sums + 512, 64);
  tiles.Store<3>(sums + 768, 64);
}

// Steps of the block of inputs that begins at k, and the activations of row tile t there.
INGOT_INLINE int64_t StepsAt(const TileGemmParams& p, int64_t k) {
  const int64_t left = (p.layout->padded_k - k) / kTileInputs;
  return left < kSteps ? left : kSteps;
}
INGOT_INLINE const uint16_t* ActivationsAt(const TileGemmParams& p, int64_t t, int64_t k) {
  return p.activations + (k * RowTilesOf(p.rows) + t * StepsAt(p, k) * kTileInputs) * TileWidthOf(p.rows);
}

// One row tile: sums stay in registers, and the weights of later inputs are expanded while tiles multiply. Stores must
// have reached L1 before a tile is loaded from there, hence kLag; and a load whose address has the 12 lowest bits of a
// store under way waits for it, hence the panel that is multiplied is the one whose like was expanded longest ago.
template <typename Expander>
class OneTile {
 public:
  OneTile(Tiles& tiles, const TileGemmParams& p)
      : tiles_(tiles), p_(p), all_(Expander::AllCodes(*p.layout)), steps_(p.layout->padded_k / kTileInputs) {}

  void Multiply() {
    const int64_t width = TileWidthOf(p_.rows);
    alignas(64) float sums[kPanelsOfBlock * 256] = {};
    for (int64_t panel = p_.panel_begin; panel < p_.panel_end; panel += kPanelsOfBlock) {
      const Block block(p_, panel);
      StartSums(tiles_);
      const uint16_t* x = nullptr;
      for (int64_t step = -kLag; step < steps_; ++step) {
        if (step >= 0) {
          if (step % kSteps == 0) x = ActivationsAt(p_, p_.tile_begin, step * kTileInputs);
          tiles_.template Load<4>(x, width * 4);
          x += width * kTileInputs;
        }
        const int64_t group = Expander::GroupOf(*p_.layout, step + kLag);
        Turn<0>(block, step, group), Turn<1>(block, step, group), Turn<2>(block, step, group);
        Turn<3>(block, step, group);
      }
      StoreSums(tiles_, sums);
      block.Finish(sums, p_.tile_begin);
    }
  }

 private:
  static constexpr int64_t kRing = 4, kLag = 2;  // steps
  static constexpr bool kInPlace = Expander::kKindOfWeights == WeightKind::kBF16;

  // Panel n of a later step is expanded, another one of this step multiplied.
  template <int n>
  INGOT_INLINE void Turn(const Block& block, int64_t step, int64_t group) {
    constexpr int kOther = (n + 1) % kPanelsOfBlock;
    const int64_t later = step + kLag;
    if (later < steps_) {
      PrefetchLines(block.FetchAt(n, later, Expander::kStepBytes), Expander::kStepBytes);
      if (!kInPlace) {
        std::byte* to = ring_ + later % kRing * kExpandedBytes + n * kTileBytes;
        Expander::Expand(*p_.layout, all_, {block.panel(n), later, 1, group}, to);
      }
    }
    if (step < 0) return;
    tiles_.template Load<5 + n % 3>(kInPlace ? block.panel(kOther) + step * kTileBytes
                                             : ring_ + step % kRing * kExpandedBytes + kOther * kTileBytes,
                                    64);
    tiles_.template MultiplyBf16<kOther, 5 + n % 3, 4>();
  }

  Tiles& tiles_;
  const TileGemmParams& p_;
  const F32x16 all_;
  const int64_t steps_;
  alignas(64) std::byte ring_[kRing * kExpandedBytes];
};

// Many row tiles: 256 inputs of four panels are expanded into L1, and all row tiles are multiplied with them.
template <typename Expander>
class ManyTiles {
 public:
  ManyTiles(Tiles& tiles, const TileGemmParams& p) : tiles_(tiles), p_(p), all_(Expander::AllCodes(*p.layout)) {}

  void Multiply() {
    const int64_t row_tiles = p_.tile_end - p_.tile_begin;
    for (int64_t k = 0; k < p_.layout->padded_k; k += kBlockInputs) {
      const int64_t steps = StepsAt(p_, k);
      const bool last = k + kBlockInputs >= p_.layout->padded_k;
      for (int64_t panel = p_.panel_begin; panel < p_.panel_end; panel += kPanelsOfBlock) {
        const Block block(p_, panel);
        Prepare(block, k / kTileInputs, steps);
        for (int64_t t = p_.tile_begin; t < p_.tile_end; ++t) {
          float* sums = p_.sums + ((panel - p_.panel_begin) * row_tiles + (t - p_.tile_begin) * kPanelsOfBlock) * 256;
          PrefetchNext(block, k / kTileInputs, steps, t - p_.tile_begin);
          k == 0 ? StartSums(tiles_) : LoadSums(tiles_, sums);
          MultiplyTile(ActivationsAt(p_, t, k), steps);
          StoreSums(tiles_, sums);
          if (last) block.Finish(sums, t);
        }
      }
    }
  }

 private:
  static constexpr bool kInPlace = Expander::kKindOfWeights == WeightKind::kBF16;

  // Weights of `steps` from `first` on, which the tiles are then loaded from.
  void Prepare(const Block& block, int64_t first, int64_t steps) {
    for (int64_t n = 0; n < kPanelsOfBlock; ++n) {
      weights_[n] = kInPlace ? block.panel(n) + first * kTileBytes : room_ + n * kTileBytes;
      if (kInPlace) continue;
      for (int64_t step = first, run = 0; step < first + steps; step += run) {
        const int64_t group = Expander::GroupOf(*p_.layout, step);
        run = Run(step, group, first + steps);
        Expander::Expand(*p_.layout, all_, {block.panel(n), step, run, group},
                         room_ + (step - first) * kExpandedBytes + n * kTileBytes);
      }
    }
  }
  // The part of the next block's weights that is fetched meanwhile.
  INGOT_INLINE void PrefetchNext(const Block& block, int64_t first, int64_t steps, int64_t tile) const {
    const int64_t lines = steps * Expander::kStepBytes / 64, tiles = p_.tile_end - p_.tile_begin;
    for (int64_t line = lines * tile / tiles; line < lines * (tile + 1) / tiles; ++line) {
      for (int64_t n = 0; n < kPanelsOfBlock; ++n) {
        const std::byte* next = block.panel(n) + kPanelsOfBlock * p_.layout->panel_bytes;
        _mm_prefetch(reinterpret_cast<const char*>(next + first * Expander::kStepBytes + line * 64), _MM_HINT_T0);
      }
    }
  }
  // Steps of the group that are left before `end`.
  INGOT_INLINE int64_t Run(int64_t step, int64_t group, int64_t end) const {
    if (Expander::kKindOfWeights == WeightKind::kF16) return end - step;
    if (p_.layout->group_size <= kTileInputs) return 1;
    const int64_t group_end = (group + 1) * p_.layout->group_size / kTileInputs;
    return (group_end < end ? group_end : end) - step;
  }

  // sums += weights · activations.   x: [steps][16 pairs][16][2]
  INGOT_INLINE void MultiplyTile(const uint16_t* x, int64_t steps) {
    constexpr int64_t kStride = kInPlace ? kTileBytes : kExpandedBytes;
    for (int64_t s = 0; s < steps; ++s, x += kTileWidth * kTileInputs) {
      tiles_.template Load<4>(x, kTileWidth * 4);
      tiles_.template Load<5>(weights_[0] + s * kStride, 64);
      tiles_.template MultiplyBf16<0, 5, 4>();
      tiles_.template Load<6>(weights_[1] + s * kStride, 64);
      tiles_.template MultiplyBf16<1, 6, 4>();
      tiles_.template Load<7>(weights_[2] + s * kStride, 64);
      tiles_.template MultiplyBf16<2, 7, 4>();
      tiles_.template Load<5>(weights_[3] + s * kStride, 64);
      tiles_.template MultiplyBf16<3, 5, 4>();
    }
  }

  Tiles& tiles_;
  const TileGemmParams& p_;
  const F32x16 all_;
  const std::byte* weights_[kPanelsOfBlock];
  alignas(64) std::byte room_[kSteps * kExpandedBytes];
};

template <WeightKind kKind, ZeroKind kZero, int kSubs>
void MultiplyKind(const TileGemmParams& p) {
  using Kind = Expander<kKind, kZero, kSubs>;
  Tiles tiles(TileWidthOf(p.rows));
  p.tile_end - p.tile_begin == 1 ? OneTile<Kind>(tiles, p).Multiply() : ManyTiles<Kind>(tiles, p).Multiply();
}
template <WeightKind kKind, ZeroKind kZero>
void MultiplyGroups(const TileGemmParams& p) {
  p.layout->group_size == 16 ? MultiplyKind<kKind, kZero, 2>(p) : MultiplyKind<kKind, kZero, 1>(p);
}
template <WeightKind kKind>
void MultiplyZeros(const TileGemmParams& p) {
  if (p.layout->zero == ZeroKind::kMidpoint) MultiplyGroups<kKind, ZeroKind::kMidpoint>(p);
  if (p.layout->zero == ZeroKind::kInteger) MultiplyGroups<kKind, ZeroKind::kInteger>(p);
  if (p.layout->zero == ZeroKind::kMin) MultiplyGroups<kKind, ZeroKind::kMin>(p);
}

void MultiplyTiles(const TileGemmParams& p) {
  if (p.layout->kind == WeightKind::kInt4) MultiplyZeros<WeightKind::kInt4>(p);
  if (p.layout->kind == WeightKind::kInt8) MultiplyZeros<WeightKind::kInt8>(p);
  if (p.layout->kind == WeightKind::kF16) MultiplyKind<WeightKind::kF16, ZeroKind::kMidpoint, 1>(p);
  if (p.layout->kind == WeightKind::kBF16) MultiplyKind<WeightKind::kBF16, ZeroKind::kMidpoint, 1>(p);
}

// 32 inputs, from input k on, of the rows of tile t → [16 pairs][width][2].
void RoundStep(const RoundTilesParams& p, int64_t t, int64_t k, uint16_t* to) {
  const int64_t width = TileWidthOf(p.rows), rows = p.rows - t * kTileWidth, inputs = p.layout->k - k;
  const float* x = p.x + t * kTileWidth * p.layout->k + k;
  alignas(64) uint16_t rounded[kTileWidth][kTileInputs];
  for (int64_t r = 0; r < width; ++r, x += p.layout->k) {
    Bf16Row row = RoundToBf16(Zeros(), Zeros());
    if (r < rows && inputs >= kTileInputs) row = RoundToBf16(Load(x), Load(x + 16));
    if (r < rows && inputs < kTileInputs) {
      row = RoundToBf16(Load(x, inputs < 16 ? inputs : 16), inputs > 16 ? Load(x + 16, inputs - 16) : Zeros());
    }
    Store(width == 1 ? to : rounded[r], row);
  }
  if (width == 1) return;
  I32x16 pairs[16];
  Transpose(rounded, 64, pairs);
  for (int64_t pair = 0; pair < 16; ++pair) Store(to + pair * width * 2, pairs[pair], width);
}

void RoundTiles(const RoundTilesParams& p) {
  const int64_t padded_k = p.layout->padded_k, width = TileWidthOf(p.rows);
  for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
    for (int64_t begin = 0; begin < padded_k; begin += kBlockInputs) {
      const int64_t inputs = padded_k - begin < kBlockInputs ? padded_k - begin : kBlockInputs;
      uint16_t* to = p.activations + (begin * RowTilesOf(p.rows) + t * inputs) * width;
      for (int64_t k = begin; k < begin + inputs; k += kTileInputs, to += kTileInputs * width) RoundStep(p, t, k, to);
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
    .order = PanelOrder::kTileRows,
    .quantize = INGOT_OTHERS::Quantize,
    .multiply_int8 = INGOT_OTHERS::MultiplyInt8,
    .multiply_f32 = INGOT_OTHERS::MultiplyF32,
    .round_bf16 = nullptr,
    .multiply_bf16 = nullptr,
    .round_tiles = INGOT_ISA_NAMESPACE::RoundTiles,
    .multiply_tiles = INGOT_ISA_NAMESPACE::MultiplyTiles,
};

}  // namespace ingot::kernels
