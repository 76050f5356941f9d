// Products with packed weights: y[m][n] = Σ_k x[m][k] · W[n][k] + bias[n].
//
// A panel holds 16 output channels, and K runs from 0 upwards in one chain: neither depends on M, hence row m of any
// batch equals the same row alone, bit for bit. Panels lie one after another, each panel_bytes long; the last is filled
// up with zero weights. K is filled up to a multiple of 32 by zero codes (kF32: not at all).
//
// Weights of a panel:
//   kInt8    [padded_k / 32][8][16][4]   quad j, channel c, i: the code of input 4·j + i
//   kInt4    [padded_k / 32][4][16][4]   low nibbles are the quads 0…3, high nibbles the quads 4…7
//   kBF16    [padded_k / 2][16][2]
//   kF16     [padded_k][16],   kF32 [k][16]
// Then, where they are quantized:
//   scales   kF16, kF32: [groups][16];   kSuper: f16 super [supers][16], then s8 code [groups][16];
//            kE8M0: u8 code [groups][16]
//   zeros    kMidpoint: none;  kInteger: u8 [groups][16];  kMin: as the scales
//
// A code q stands for scale · (q - 2^(bits-1)), scale · (q - zero) or scale · q + min. With a codebook (kInt4 and
// kMidpoint), q is the index of a byte of the layout's code table, which stands for unit · scale · (byte - 128): from
// there on it is an 8-bit code. Below, q is that byte, and midpoint is 128, or 8 for kInt4 without a codebook. In W4A8
// the activations of a row are int8 per group of 32 inputs, x ≈ scale_x · a, and for every group of 32 (16 where the
// weights' groups are 16):
//   acc = Σ q · a           in int32, exact
//   kMidpoint  y = fma(float(acc - midpoint · Σa), scale_x · scale, y)
//   kInteger   y = fma(fma(-zero, float(Σa), float(acc)), scale_x · scale, y)      (the inner one is exact)
//   kMin       y = fma(scale_x · float(Σa), min, fma(float(acc), scale_x · scale, y))
// in this order of operations on every instruction set.
//
// On tiles, activations are rounded to bf16, to nearest even, and codes are exact in it; weights of f16 are multiplied
// by 1 + 3/1024 and truncated, which rounds them within 3/4 of an ulp. w = q - midpoint, or q (kInteger, kMin), or a
// weight of 16 bits. For every 32 inputs (16 where the weights' groups are 16), in pairs of inputs
// (kernels/gemm_tiles.h):
//   even = fma(w, x, even) over the first ones of the pairs, odd alike over the second ones, both from 0
//   acc  = acc + (even + odd)
// acc begins at 0 in each span: inputs of one group and of one block of 256 inputs; X is the span's Σx. At its end
//   16 bits    y = y + acc
//   kMidpoint  y = fma(acc, scale, y)
//   kInteger   y = fma(fma(-zero, X, acc), scale, y)
//   kMin       y = fma(min, X, fma(acc, scale, y))
// with denormal operands and results taken as zero; at last y = y + bias.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot {
struct Format;
}

namespace ingot::kernels {

inline constexpr int kPackedLayoutVersion = 2;  // of what is written above; for copies that outlive the process
inline constexpr int kPanelChannels = 16;
inline constexpr int kActivationGroup = 32;

enum class WeightKind : uint8_t { kInt4, kInt8, kF16, kBF16, kF32 };
enum class ZeroKind : uint8_t { kMidpoint, kInteger, kMin };
enum class ScaleKind : uint8_t { kF16, kF32, kSuper, kE8M0 };

// Where things lie in a panel. The offsets are bytes from the panel's begin.
struct PanelLayout {
  WeightKind kind;
  ZeroKind zero;
  ScaleKind scale;
  int64_t group_size;  // 16, or a multiple of 32; the whole row is padded_k
  int64_t k, padded_k;
  int64_t groups;  // scales per channel: ceil(padded_k / group_size)
  int64_t supers;  // ceil(k / 256)
  int64_t scale_offset;
  int64_t scale_code_offset;  // kSuper
  int64_t zero_offset;        // kInteger, kMin
  int64_t zero_code_offset;   // kMin with kSuper
  int64_t panel_bytes;        // a multiple of 64
  int midpoint;               // the code, or the byte of the table, that stands for 0 (kMidpoint)
  bool coded;                 // with a codebook:
  float unit;                 // all scales are multiplied with it; a power of two
  uint8_t table[16];          // what the codes stand for, plus 128

  // Always inline: sources compiled for AVX-512 include this, and the linker must not keep their copy for all.
  [[gnu::always_inline]] bool quantized() const { return kind == WeightKind::kInt4 || kind == WeightKind::kInt8; }
  bool operator==(const PanelLayout&) const = default;
};
// REQUIRES: a format that ops::PackedFormat returns.
PanelLayout LayoutOf(const Format& held, int64_t in_features);

// Row `channel` of the matrix as numbers, the same as DequantizeRows gives, times `factor`.   out: [k]
void DequantizeChannel(const PanelLayout& layout, const std::byte* packed, int64_t channel, float factor, float* out);

// Rows of x that are multiplied together, sharing one read of the weights: 1, 2, 3, 4 or 6 of them.
struct RowTile {
  int64_t row;     // its first
  int64_t rows;    // how many
  int64_t offset;  // bytes from `activations` to its own
};
inline constexpr int64_t kMaxTileRows = 6;

// Quantized activations of a tile of R rows: for each group of 32 inputs
//   s8 a[R][32], f32 scale_x[R], and per row and sub-group (one of 32 or two of 16 inputs) a correction [R][1 or 2]:
//   kMidpoint  s32  -midpoint · Σa        kInteger  f32  Σa        kMin  f32  scale_x · Σa
// scale_x = amax / 127. A group that holds Inf or NaN has scale NaN (so that the row shows it) and codes 0; one whose
// amax is below 1e-30 is zero.
// For kBF16 weights: bf16 [R][padded_k] rounded to nearest even.
struct QuantizeParams {
  const float* x;  // [M, k]
  const PanelLayout* layout;
  const RowTile* tiles;  // [tile_begin … tile_end) of them are done
  int64_t tile_begin, tile_end;
  std::byte* activations;  // 64-byte aligned
};
inline constexpr int64_t kTileGroupBytes16 = 44;  // per row and 32 inputs, where weight groups are 16
inline constexpr int64_t kTileGroupBytes32 = 40;  // all others

struct GemmParams {
  const PanelLayout* layout;
  const std::byte* packed;  // panel 0
  int64_t panel_begin, panel_end;
  const RowTile* tiles;
  int64_t tile_begin, tile_end;
  const std::byte* activations;  // as `quantize` or `round_bf16` wrote them
  const float* x;                // [M, k], for `multiply_f32`
  const float* bias;             // [out_features] or null
  float* y;                      // [M, out_features]
  int64_t out_features;
};

struct RoundTilesParams;  // kernels/gemm_tiles.h
struct TileGemmParams;

struct GemmKernels {
  void (*quantize)(const QuantizeParams& params);       // int4 and int8 weights
  void (*multiply_int8)(const GemmParams& params);      // int4 and int8 weights × quantized activations
  void (*multiply_f32)(const GemmParams& params);       // any weights × f32 activations: y = fma(x, w, y)
  void (*round_bf16)(const QuantizeParams& params);     // these two: null where the ISA has no bf16 products;
  void (*multiply_bf16)(const GemmParams& params);      // call them only if CpuMultipliesBf16()
  void (*round_tiles)(const RoundTilesParams& params);  // these two: null where the ISA has no tiles
  void (*multiply_tiles)(const TileGemmParams& params);
};
bool CpuMultipliesBf16();

namespace reference {
extern const GemmKernels kGemm;
}
namespace avx2 {
extern const GemmKernels kGemm;
}
namespace avx2vnni {
extern const GemmKernels kGemm;
}
namespace avx512 {
extern const GemmKernels kGemm;
}
namespace amx {
extern const GemmKernels kGemm;
}
namespace amx_emulated {
extern const GemmKernels kGemm;
}

}  // namespace ingot::kernels
