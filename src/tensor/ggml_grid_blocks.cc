// GGML's I-quants: the sizes of 4 or 8 neighbours are an entry of a grid, their signs are stored next to it. A code is
// the index of its size in the codebook's first half, plus 8 where it is negative.
#include "tensor/ggml_blocks.h"
#include "tensor/ggml_tables.h"

namespace ingot {
namespace {

// 8 codes from an entry of a grid of 2-bit indices.
void PutEight(uint16_t entry, int negative, uint8_t* codes) {
  for (int i = 0; i < 8; ++i) codes[i] = static_cast<uint8_t>((entry >> 2 * i & 3) | (negative >> i & 1) << 3);
}
// 4 codes from an entry of a grid of 3-bit indices.
void PutFour(uint16_t entry, int negative, uint8_t* codes) {
  for (int i = 0; i < 4; ++i) codes[i] = static_cast<uint8_t>((entry >> 3 * i & 7) | (negative >> i & 1) << 3);
}

// Signs of 8 weights in 7 bits: an even number of them is negative.
int EvenSigns(uint32_t bits) { return static_cast<int>(bits | (__builtin_popcount(bits) & 1U) << 7); }

// Group g's scale is 2 · its nibble + 1.
int OddNibble(const uint8_t* packed, int g) { return 2 * (packed[g / 2] >> g % 2 * 4 & 15) + 1; }

uint8_t* CodesOf(int64_t index, WeightRows* out) { return out->codes.data() + index * kSuperBlock; }

}  // namespace

// Per group of 32: four bytes of grid indices, then four times 7 bits of signs and 4 of the scale.
void DecodeIq2Xxs(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block), index, out);
  uint8_t* codes = CodesOf(index, out);
  for (int g = 0; g < 8; ++g) {
    const uint8_t* group = block + 2 + g * 8;
    const uint32_t signs = Load32(group + 4);
    scales.Put(g, static_cast<int>(2 * (signs >> 28) + 1));
    for (int i = 0; i < 4; ++i) {
      PutEight(kIq2XxsGrid[group[i]], EvenSigns(signs >> 7 * i & 127), codes + g * 32 + i * 8);
    }
  }
}

// 32 times 9 bits of grid index and 7 of signs, 16 nibbles of scales.
void DecodeIq2Xs(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block), index, out);
  uint8_t* codes = CodesOf(index, out);
  for (int g = 0; g < 16; ++g) scales.Put(g, OddNibble(block + 66, g));
  for (int i = 0; i < 32; ++i) {
    const uint16_t entry = Load16(block + 2 + 2 * i);
    PutEight(kIq2XsGrid[entry & 511], EvenSigns(entry >> 9), codes + i * 8);
  }
}

// 32 low bytes of grid indices, 32 bytes of signs, 32 pairs of top bits, 16 nibbles of scales.
void DecodeIq2S(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block), index, out);
  const uint8_t *low = block + 2, *signs = block + 34, *high = block + 66;
  uint8_t* codes = CodesOf(index, out);
  for (int g = 0; g < 16; ++g) scales.Put(g, OddNibble(block + 74, g));
  for (int i = 0; i < 32; ++i) {
    const int entry = low[i] | (high[i / 4] >> i % 4 * 2 & 3) << 8;
    PutEight(kIq2SGrid[entry], signs[i], codes + i * 8);
  }
}

// 64 grid indices, then per group of 32 four times 7 bits of signs and 4 of the scale.
void DecodeIq3Xxs(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block), index, out);
  uint8_t* codes = CodesOf(index, out);
  for (int g = 0; g < 8; ++g) {
    const uint32_t signs = Load32(block + 66 + g * 4);
    scales.Put(g, static_cast<int>(2 * (signs >> 28) + 1));
    for (int i = 0; i < 8; ++i) {
      const int eight = EvenSigns(signs >> i / 2 * 7 & 127);
      PutFour(kIq3XxsGrid[block[2 + g * 8 + i]], eight >> i % 2 * 4, codes + g * 32 + i * 4);
    }
  }
}

// 64 low bytes of grid indices, 64 ninth bits, 32 bytes of signs, 8 nibbles of scales.
void DecodeIq3S(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block), index, out);
  const uint8_t *low = block + 2, *high = block + 66, *signs = block + 74;
  uint8_t* codes = CodesOf(index, out);
  for (int g = 0; g < 8; ++g) scales.Put(g, OddNibble(block + 106, g));
  for (int i = 0; i < 64; ++i) {
    const int entry = low[i] | (high[i / 8] >> i % 8 & 1) << 8;
    PutFour(kIq3SGrid[entry], signs[i / 2] >> i % 2 * 4, codes + i * 4);
  }
}

// 32 low bytes of grid indices, then per group of 32 four times 3 top bits, 3 bits of the scale and one that shifts all
// of the group down instead of up.
void DecodeIq1S(const uint8_t* block, int64_t index, WeightRows* out) {
  SuperScales scales(LoadF16(block), index, out);
  uint8_t* codes = CodesOf(index, out);
  for (int g = 0; g < 8; ++g) {
    const int high = Load16(block + 34 + g * 2);
    scales.Put(g, 2 * (high >> 12 & 7) + 1);
    for (int i = 0; i < 4; ++i) {
      const int entry = block[2 + g * 4 + i] | (high >> 3 * i & 7) << 8;
      PutEight(kIq1Grid[entry], high >> 15 != 0 ? 255 : 0, codes + g * 32 + i * 8);
    }
  }
}

// 32 low bytes of grid indices, 32 nibbles of 3 top bits and a shift, four times 4 scales of 3 bits and 4 bits of d.
void DecodeIq1M(const uint8_t* block, int64_t index, WeightRows* out) {
  const uint8_t *low = block, *high = block + 32, *packed = block + 48;
  int d = 0;
  for (int i = 0; i < 4; ++i) d |= Load16(packed + 2 * i) >> 12 << 4 * i;
  SuperScales scales(F16ToF32(static_cast<uint16_t>(d)), index, out);
  uint8_t* codes = CodesOf(index, out);
  for (int g = 0; g < 16; ++g) scales.Put(g, 2 * (Load16(packed + g / 4 * 2) >> g % 4 * 3 & 7) + 1);
  for (int i = 0; i < 32; ++i) {
    const int nibble = high[i / 2] >> i % 2 * 4 & 15;
    PutEight(kIq1Grid[low[i] | (nibble & 7) << 8], nibble >> 3 != 0 ? 255 : 0, codes + i * 8);
  }
}

}  // namespace ingot
