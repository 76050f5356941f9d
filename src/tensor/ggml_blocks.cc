#include "tensor/ggml_blocks.h"

#include <cmath>

#include "base/check.h"

namespace ingot {
namespace {

// Low nibbles are elements 0…count - 1 of 2 · count, high nibbles the others.
void UnpackNibbles(const uint8_t* packed, int count, uint8_t* codes) {
  for (int i = 0; i < count; ++i) {
    codes[i] = packed[i] & 15;
    codes[i + count] = packed[i] >> 4;
  }
}

// Blocks of 32 with one scale (and min) each: f16 scale, f16 min if any, 32 fifth bits if any, codes. Returns where the
// codes begin.
const uint8_t* DecodeScale(const uint8_t* block, int64_t index, WeightRows* out) {
  out->scale[index] = LoadF16(block);
  if (out->format.zero != Format::Zero::kMin) return block + 2;
  out->zero[index] = LoadF16(block + 2);
  return block + 4;
}

void DecodeQ4(const uint8_t* block, int64_t index, WeightRows* out) {  // Q4_0, Q4_1, IQ4_NL
  UnpackNibbles(DecodeScale(block, index, out), 16, out->codes.data() + index * 32);
}

void DecodeQ5(const uint8_t* block, int64_t index, WeightRows* out) {  // Q5_0, Q5_1
  uint8_t* codes = out->codes.data() + index * 32;
  block = DecodeScale(block, index, out);
  const uint32_t high = Load32(block);
  UnpackNibbles(block + 4, 16, codes);
  for (int i = 0; i < 32; ++i) codes[i] |= static_cast<uint8_t>((high >> i & 1) << 4);
}

void DecodeQ8_0(const uint8_t* block, int64_t index, WeightRows* out) {
  uint8_t* codes = out->codes.data() + index * 32;
  block = DecodeScale(block, index, out);
  for (int i = 0; i < 32; ++i) codes[i] = block[i] ^ 0x80;  // int8 q to q + 128
}

// The scales and minimums of a K-quant with both.
void PutMinimums(float dmin, int64_t index, WeightRows* out) { out->super_min[index] = -dmin; }
void PutMinimum(int64_t index, int64_t group, int code, WeightRows* out) {
  out->min_code[group] = static_cast<int16_t>(code);
  out->zero[group] = out->super_min[index] * static_cast<float>(code);
}

// 256 pairs of bits: each 32 bytes hold 128 weights, pair p of byte i is element 32 · p + i.
int PairOf(const uint8_t* packed, int element) {
  return packed[element / 128 * 32 + element % 32] >> element % 128 / 32 * 2 & 3;
}

// 256 weights in 16 groups of 16: 16 bytes of 4-bit scales and mins, codes, f16 d, f16 dmin.
void DecodeQ2K(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block + 80), index, out);
  PutMinimums(LoadF16(block + 82), index, out);
  for (int g = 0; g < 16; ++g) {
    scales.Put(g, block[g] & 15);
    PutMinimum(index, index * 16 + g, block[g] >> 4, out);
  }
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  for (int i = 0; i < kSuperBlock; ++i) codes[i] = static_cast<uint8_t>(PairOf(block + 16, i));
}

// 256 weights in 16 groups of 16: 32 bytes of third bits, low bit pairs, 16 scales of 6 bits in 12 bytes, f16 d.
void DecodeQ3K(const uint8_t* block, int64_t index, WeightRows* out) {
  const uint8_t *high = block, *low = block + 32, *packed = block + 96;
  SuperScales scales(LoadF16(block + 108), index, out);
  for (int g = 0; g < 16; ++g) {
    // Low nibbles of the first eight bytes, then their high ones; the top bits in pairs in the last four.
    const int nibble = g < 8 ? packed[g] & 15 : packed[g - 8] >> 4;
    scales.Put(g, (nibble | (packed[8 + g % 4] >> g / 4 * 2 & 3) << 4) - 32);
  }
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  for (int i = 0; i < kSuperBlock; ++i) {
    codes[i] = static_cast<uint8_t>(PairOf(low, i) | (high[i % 32] >> i / 32 & 1) << 2);
  }
}

// 8 scales and 8 mins of 6 bits in 12 bytes, f16 d and dmin before them.
void DecodeSixBitScales(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block), index, out);
  PutMinimums(LoadF16(block + 2), index, out);
  const uint8_t* packed = block + 4;
  for (int g = 0; g < 8; ++g) {
    // Groups 0…3 have bytes of their own; 4…7 share bytes 8…11 and the top bits of the first eight.
    scales.Put(g, g < 4 ? packed[g] & 63 : (packed[g + 4] & 15) | (packed[g - 4] >> 6) << 4);
    PutMinimum(index, index * 8 + g, g < 4 ? packed[g + 4] & 63 : packed[g + 4] >> 4 | (packed[g] >> 6) << 4, out);
  }
}

// 256 weights in 8 groups of 32.
void DecodeQ4K(const uint8_t* block, int64_t index, WeightRows* out) {
  DecodeSixBitScales(block, index, out);
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  for (int pair = 0; pair < 4; ++pair) UnpackNibbles(block + 16 + pair * 32, 32, codes + pair * 64);
}

void DecodeQ5K(const uint8_t* block, int64_t index, WeightRows* out) {
  DecodeSixBitScales(block, index, out);
  const uint8_t* high = block + 16;  // bit g of byte i is the fifth bit of element i of group g
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  for (int pair = 0; pair < 4; ++pair) UnpackNibbles(block + 48 + pair * 32, 32, codes + pair * 64);
  for (int i = 0; i < kSuperBlock; ++i) codes[i] |= static_cast<uint8_t>((high[i % 32] >> i / 32 & 1) << 4);
}

// 256 weights in 16 groups of 16: 128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, f16 d.
void DecodeQ6K(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block + 208), index, out);
  for (int g = 0; g < 16; ++g) scales.Put(g, static_cast<int8_t>(block[192 + g]));
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  for (int half = 0; half < 2; ++half) UnpackNibbles(block + half * 64, 64, codes + half * 128);
  for (int i = 0; i < kSuperBlock; ++i) codes[i] |= static_cast<uint8_t>(PairOf(block + 128, i) << 4);
}

// `bytes` bytes hold `digits` ternary digits each, as the fraction byte / 256 in base 3; digit p of byte i is element
// p · bytes + i. Digits 0, 1, 2 stand for -1, 0, 1.
void UnpackTernary(const uint8_t* packed, int bytes, int digits, uint8_t* codes) {
  int power = 1;
  for (int p = 0; p < digits; ++p, power *= 3) {
    for (int i = 0; i < bytes; ++i) {
      const auto rest = static_cast<uint8_t>(packed[i] * power);
      codes[p * bytes + i] = static_cast<uint8_t>((rest * 3 >> 8) + 1);
    }
  }
}

// 256 weights: 32 and 16 bytes of five ternary digits, four bytes of four, f16 scale.
void DecodeTq1(const uint8_t* block, int64_t index, WeightRows* out) {
  out->scale[index] = LoadF16(block + 52);
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  UnpackTernary(block, 32, 5, codes);
  UnpackTernary(block + 32, 16, 5, codes + 160);
  UnpackTernary(block + 48, 4, 4, codes + 240);
}

// 256 weights: bit pairs that stand for -1, 0, 1, 2, then f16 scale.
void DecodeTq2(const uint8_t* block, int64_t index, WeightRows* out) {
  out->scale[index] = LoadF16(block + 64);
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  for (int i = 0; i < kSuperBlock; ++i) codes[i] = static_cast<uint8_t>(PairOf(block, i) + 3);
}

// 256 weights in 8 groups of 32: f16 d, 8 scales of 6 bits (two bytes of top bits, four of nibbles), nibbles.
void DecodeIq4Xs(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block), index, out);
  const int high = Load16(block + 2);
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  for (int g = 0; g < 8; ++g) {
    scales.Put(g, ((block[4 + g / 2] >> g % 2 * 4 & 15) | (high >> 2 * g & 3) << 4) - 32);
    UnpackNibbles(block + 8 + g * 16, 16, codes + g * 32);
  }
}

// 32 weights: the exponent, then nibbles.
void DecodeMxfp4(const uint8_t* block, int64_t index, WeightRows* out) {
  out->scale_code[index] = block[0];
  out->scale[index] = std::ldexp(1.0F, block[0] - 128);
  UnpackNibbles(block + 1, 16, out->codes.data() + index * 32);
}

// 64 weights in 4 groups of 16: scales of 4 bits of exponent and 3 of mantissa, then nibbles. The scale is half of what
// its bits say, since the codebook is doubled.
void DecodeNvfp4(const uint8_t* block, int64_t index, WeightRows* out) {
  for (int g = 0; g < 4; ++g) {
    const int exponent = block[g] >> 3 & 15, mantissa = block[g] & 7;
    const float scale = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -10)
                                      : std::ldexp(static_cast<float>(8 + mantissa), exponent - 11);
    out->scale[index * 4 + g] = block[g] == 0x7f ? 0 : scale;  // 0x7f is NaN, which GGML reads as 0
    UnpackNibbles(block + 4 + g * 8, 8, out->codes.data() + index * 64 + g * 16);
  }
}

}  // namespace

BlockDecoder BlockDecoderOf(Encoding encoding) {
  switch (encoding) {
    case Encoding::kQ4_0:
    case Encoding::kQ4_1:
    case Encoding::kIQ4_NL:
      return DecodeQ4;
    case Encoding::kQ5_0:
    case Encoding::kQ5_1:
      return DecodeQ5;
    case Encoding::kQ8_0:
      return DecodeQ8_0;
    case Encoding::kQ2_K:
      return DecodeQ2K;
    case Encoding::kQ3_K:
      return DecodeQ3K;
    case Encoding::kQ4_K:
      return DecodeQ4K;
    case Encoding::kQ5_K:
      return DecodeQ5K;
    case Encoding::kQ6_K:
      return DecodeQ6K;
    case Encoding::kTQ1_0:
      return DecodeTq1;
    case Encoding::kTQ2_0:
      return DecodeTq2;
    case Encoding::kIQ1_S:
      return DecodeIq1S;
    case Encoding::kIQ1_M:
      return DecodeIq1M;
    case Encoding::kIQ2_XXS:
      return DecodeIq2Xxs;
    case Encoding::kIQ2_XS:
      return DecodeIq2Xs;
    case Encoding::kIQ2_S:
      return DecodeIq2S;
    case Encoding::kIQ3_XXS:
      return DecodeIq3Xxs;
    case Encoding::kIQ3_S:
      return DecodeIq3S;
    case Encoding::kIQ4_XS:
      return DecodeIq4Xs;
    case Encoding::kMXFP4:
      return DecodeMxfp4;
    case Encoding::kNVFP4:
      return DecodeNvfp4;
    default:
      INGOT_CHECK(!"a block encoding");
  }
}

}  // namespace ingot
