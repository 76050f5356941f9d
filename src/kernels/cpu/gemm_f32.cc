// Any weights × f32 activations: y = fma(x, w, y), inputs in order.
#include "kernels/cpu/gemm.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

// The even and the odd ones of 16 pairs of bf16.
INGOT_INLINE F32x16 Even(I32x16 pairs) { return FromBits(ShiftLeft<16>(pairs)); }
INGOT_INLINE F32x16 Odd(I32x16 pairs) { return FromBits(pairs & Broadcast(static_cast<int32_t>(0xffff0000U))); }

// Weights of input k for 16 channels.
template <WeightKind kKind>
INGOT_INLINE F32x16 Weights(const std::byte* from, int64_t k) {
  if (kKind == WeightKind::kF32) return LoadF32x16(reinterpret_cast<const float*>(from) + k * 16);
  if (kKind == WeightKind::kF16) return LoadF16x16(from + k * 32);
  const I32x16 pairs = LoadI32x16(from + k / 2 * 64);
  return k % 2 == 0 ? Even(pairs) : Odd(pairs);
}

// A tile's rows × a step's panels × a run of inputs.
struct Block {
  const std::byte* weights[kPanelsTogether];
  const float* x;  // first row, first input
  int64_t x_stride;
  int64_t count;
  float* y;  // first row, first panel
  int64_t y_stride;
  const int64_t* lanes;
};

template <WeightKind kKind, int R>
void MultiplyBlock(const Block& b) {
  Outputs<R> out;
  out.Read(b.y, b.y_stride, b.lanes);
  for (int64_t k = 0; k < b.count; ++k) {
    F32x16 w[kPanelsTogether];
    for (int n = 0; n < kPanelsTogether; ++n) w[n] = Weights<kKind>(b.weights[n], k);
    for (int r = 0; r < R; ++r) {
      const F32x16 x = Broadcast(b.x[r * b.x_stride + k]);
      for (int n = 0; n < kPanelsTogether; ++n) out.y[r][n] = Fma(x, w[n], out.y[r][n]);
    }
  }
  out.Write(b.y, b.y_stride, b.lanes);
}

template <WeightKind kKind>
void MultiplyTile(const Block& b, int64_t rows) {
  if (rows == 1) MultiplyBlock<kKind, 1>(b);
  if (rows == 2) MultiplyBlock<kKind, 2>(b);
  if (rows == 3) MultiplyBlock<kKind, 3>(b);
  if (rows == 4) MultiplyBlock<kKind, 4>(b);
  if (rows == 6) MultiplyBlock<kKind, 6>(b);
}

// Byte i of each channel's quad.
template <int kByte>
INGOT_INLINE F32x16 CodesOf(Bytes64 quad) {
  I32x16 codes;
  __builtin_memcpy(&codes, &quad, sizeof codes);
  return ToFloat(ShiftRight<kByte * 8>(codes) & Broadcast(int32_t{255}));
}

struct GroupNumbers {
  F32x16 scale, zero;
};
INGOT_INLINE F32x16 Dequantize(ZeroKind kind, F32x16 code, const GroupNumbers& g) {
  return kind == ZeroKind::kMin ? g.scale * code + g.zero : g.scale * (code - g.zero);
}

// Codes of inputs [begin, end) of a panel → f32 [end - begin][16], for `end` rounded up to a whole group of 32.
constexpr int64_t kRunInputs = 256;  // 16 KB a panel: stays in L1
void DequantizeRun(const PanelLayout& layout, const std::byte* panel, int64_t begin, int64_t end, float* out) {
  alignas(64) float scales[kRunInputs], zeros[kRunInputs];
  UnpackScales(layout, panel, begin, (end + 31) / 32 * 32, {scales, zeros});
  const bool nibbles = layout.kind == WeightKind::kInt4;
  const std::byte* group = panel + begin / 32 * (nibbles ? 256 : 512);
  const F32x16 midpoint = Broadcast(static_cast<float>(layout.midpoint));
  const Bytes64 table = LoadTable(layout.table);
  const int64_t sub = layout.group_size == 16 ? 16 : 32;
  for (int64_t k = 0; k < end - begin; k += 4, out += 64) {
    const int64_t j = k % 32 / 4;
    const GroupNumbers numbers{LoadF32x16(scales + k / sub * 16),
                               layout.zero == ZeroKind::kMidpoint ? midpoint : LoadF32x16(zeros + k / sub * 16)};
    Bytes64 quad = LoadBytes64(group + (nibbles ? j % 4 : j) * 64);
    if (nibbles) quad = j < 4 ? LowNibbles(quad) : HighNibbles(quad);
    if (layout.coded) quad = LookUp(table, quad);
    Store(out, Dequantize(layout.zero, CodesOf<0>(quad), numbers));
    Store(out + 16, Dequantize(layout.zero, CodesOf<1>(quad), numbers));
    Store(out + 32, Dequantize(layout.zero, CodesOf<2>(quad), numbers));
    Store(out + 48, Dequantize(layout.zero, CodesOf<3>(quad), numbers));
    if (j == 7) group += nibbles ? 256 : 512;
  }
}

template <WeightKind kKind>
void ConvertRun(const std::byte* panel, int64_t begin, int64_t end, float* out) {
  for (int64_t k = begin; k < end; ++k, out += 16) Store(out, Weights<kKind>(panel, k));
}

// f32 [count][16] of inputs [begin, end), in place where they are that already.
const std::byte* UnpackRun(const PanelLayout& layout, const std::byte* panel, int64_t begin, int64_t end, float* room) {
  if (layout.kind == WeightKind::kF32) return panel + begin * 64;
  if (layout.kind == WeightKind::kF16) ConvertRun<WeightKind::kF16>(panel, begin, end, room);
  if (layout.kind == WeightKind::kBF16) ConvertRun<WeightKind::kBF16>(panel, begin, end, room);
  if (layout.quantized()) DequantizeRun(layout, panel, begin, end, room);
  return reinterpret_cast<const std::byte*>(room);
}

Block BlockOf(const GemmParams& p, const PanelStep& step, const RowTile& tile, int64_t k) {
  return {.x = p.x + tile.row * p.layout->k + k,
          .x_stride = p.layout->k,
          .y = p.y + tile.row * p.out_features + step.first_output,
          .y_stride = p.out_features,
          .lanes = step.lanes};
}

// Many tiles, or quantized weights: a run of inputs becomes f32 once for all tiles.
void MultiplyUnpacked(const GemmParams& p, const PanelStep& step) {
  alignas(64) float room[kPanelsTogether][kRunInputs * kPanelChannels];
  for (int64_t k = 0; k < p.layout->k; k += kRunInputs) {
    const int64_t end = k + kRunInputs < p.layout->k ? k + kRunInputs : p.layout->k;
    const std::byte* weights[kPanelsTogether];
    for (int n = 0; n < kPanelsTogether; ++n) weights[n] = UnpackRun(*p.layout, step.panels[n], k, end, room[n]);
    for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
      Block b = BlockOf(p, step, p.tiles[t], k);
      for (int n = 0; n < kPanelsTogether; ++n) b.weights[n] = weights[n];
      b.count = end - k;
      MultiplyTile<WeightKind::kF32>(b, p.tiles[t].rows);
    }
  }
}

// One tile of rows reads the weights once, as they are.
template <WeightKind kKind>
void MultiplyInPlace(const GemmParams& p, const PanelStep& step) {
  const RowTile& tile = p.tiles[p.tile_begin];
  Block b = BlockOf(p, step, tile, 0);
  for (int n = 0; n < kPanelsTogether; ++n) b.weights[n] = step.panels[n];
  b.count = p.layout->k;
  MultiplyTile<kKind>(b, tile.rows);
}

}  // namespace

void MultiplyF32(const GemmParams& p) {
  const WeightKind kind = p.layout->kind;
  const bool in_place = p.tile_end - p.tile_begin == 1 && !p.layout->quantized();
  for (int64_t panel = p.panel_begin; panel < p.panel_end; panel += kPanelsTogether) {
    const PanelStep step = StepAt(p, panel);
    StartOutputs(p, step);
    if (!in_place) MultiplyUnpacked(p, step);
    if (in_place && kind == WeightKind::kF32) MultiplyInPlace<WeightKind::kF32>(p, step);
    if (in_place && kind == WeightKind::kF16) MultiplyInPlace<WeightKind::kF16>(p, step);
    if (in_place && kind == WeightKind::kBF16) MultiplyInPlace<WeightKind::kBF16>(p, step);
  }
}

#ifdef __AVX512F__
namespace {
#define INGOT_BF16 [[gnu::target("avx512bf16")]]

template <int R>
INGOT_BF16 void MultiplyBlockBf16(const Block& b) {
  Outputs<R> out;
  out.Read(b.y, b.y_stride, b.lanes);
  const auto* x = reinterpret_cast<const int32_t*>(b.x);  // pairs
  for (int64_t k = 0; k < b.count; ++k) {
    __m512bh w[kPanelsTogether];
    for (int n = 0; n < kPanelsTogether; ++n) w[n] = (__m512bh)_mm512_loadu_si512(b.weights[n] + k * 64);
    for (int r = 0; r < R; ++r) {
      const auto pair = (__m512bh)_mm512_set1_epi32(x[r * b.x_stride + k]);
      for (int n = 0; n < kPanelsTogether; ++n) out.y[r][n].v = _mm512_dpbf16_ps(out.y[r][n].v, w[n], pair);
    }
  }
  out.Write(b.y, b.y_stride, b.lanes);
}

// 16 floats → bf16, to nearest even; NaN stays NaN.
INGOT_BF16 void RoundRow(const float* x, int64_t k, int64_t padded_k, std::byte* out) {
  for (int64_t i = 0; i < padded_k; i += 16) {
    const int64_t rest = k > i ? k - i : 0, left = rest < 16 ? rest : 16,
                  written = padded_k - i < 16 ? padded_k - i : 16;
    const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(LoadF32x16(x + i, left).v);
    _mm256_mask_storeu_epi16(out + i * 2, FirstLanes(written).v, rounded);
  }
}
}  // namespace

void RoundBf16(const QuantizeParams& p) {
  const int64_t k = p.layout->k, padded_k = p.layout->padded_k;
  for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
    const RowTile& tile = p.tiles[t];
    for (int64_t r = 0; r < tile.rows; ++r) {
      RoundRow(p.x + (tile.row + r) * k, k, padded_k, p.activations + tile.offset + r * padded_k * 2);
    }
  }
}

void MultiplyBf16(const GemmParams& p) {
  for (int64_t panel = p.panel_begin; panel < p.panel_end; panel += kPanelsTogether) {
    const PanelStep step = StepAt(p, panel);
    StartOutputs(p, step);
    for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
      const RowTile& tile = p.tiles[t];
      Block b = BlockOf(p, step, tile, 0);
      for (int n = 0; n < kPanelsTogether; ++n) b.weights[n] = step.panels[n];
      b.x = reinterpret_cast<const float*>(p.activations + tile.offset);
      b.x_stride = b.count = p.layout->padded_k / 2;
      if (tile.rows == 1) MultiplyBlockBf16<1>(b);
      if (tile.rows == 2) MultiplyBlockBf16<2>(b);
      if (tile.rows == 3) MultiplyBlockBf16<3>(b);
      if (tile.rows == 4) MultiplyBlockBf16<4>(b);
      if (tile.rows == 6) MultiplyBlockBf16<6>(b);
    }
  }
}
#endif

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
