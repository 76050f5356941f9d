// Weights out of their tiles (weight_tiles.h): two at a time in registers for tensor cores, or one as a float.
#pragma once

#include "kernels/cuda/mma.h"
#include "kernels/cuda/weight_tiles.h"

namespace ingot::kernels::cuda {

struct alignas(16) Vector {
  uint32_t words[4];
};

template <typename T>
INGOT_DEVICE T LoadAt(const std::byte* p, int64_t index) {
  return reinterpret_cast<const T*>(p)[index];
}

// On two numbers in a word each.
INGOT_DEVICE uint32_t PairFma(Half, uint32_t a, uint32_t b, uint32_t c) { return HalvesFma(a, b, c); }
INGOT_DEVICE uint32_t PairFma(BFloat16, uint32_t a, uint32_t b, uint32_t c) { return BFloatsFma(a, b, c); }
INGOT_DEVICE uint32_t PairSubtract(Half, uint32_t a, uint32_t b) { return HalvesSubtract(a, b); }
INGOT_DEVICE uint32_t PairSubtract(BFloat16, uint32_t a, uint32_t b) { return BFloatsFma(b, 0xbf80bf80, a); }

template <typename T>
inline constexpr bool kIsBFloat16 = false;
template <>
inline constexpr bool kIsBFloat16<BFloat16> = true;

// Nibbles i and i + 4 of a word, put into the last bits of CodeBase.
template <typename T>
INGOT_DEVICE uint32_t PairOfNibbles(uint32_t word, int i) {
  constexpr uint32_t kMagic = kIsBFloat16<T> ? 0x43004300 : 0x64006400;  // 128, 1024
  return Logic3<0xea>(word >> (4 * i), 0x000f000f, kMagic);              // (a & b) | c
}
// Byte i of one word and byte j of another, as CodeBase + byte.
INGOT_DEVICE uint32_t PairOfBytes(Half, uint32_t first, uint32_t i, uint32_t second, uint32_t j) {
  return Logic3<0xea>(Permute(first, second, i | (4 + j) << 8), 0x00ff00ff, 0x64006400);
}
INGOT_DEVICE uint32_t PairOfBytes(BFloat16, uint32_t first, uint32_t i, uint32_t second, uint32_t j) {
  constexpr uint32_t kMagic = 0x4b000000;  // 2^23
  const float a = Bits<float>(Permute(first, kMagic, 0x7440 | i)) - 8388608.0f;
  const float b = Bits<float>(Permute(second, kMagic, 0x7440 | j)) - 8388608.0f;
  return Permute(Bits<uint32_t>(a), Bits<uint32_t>(b), 0x7632);  // integers of 8 bits: their upper halves are all
}
// What the table has for nibbles 0 … 3 of `codes`.   selector: three bits choose a byte of 8
INGOT_DEVICE uint32_t LookUp(const uint32_t (&table)[4], uint32_t codes) {
  const uint32_t low = Permute(table[0], table[1], codes & 0x7777), high = Permute(table[2], table[3], codes & 0x7777);
  return Permute(low, high, 0x3210 | (codes & 0x8888) >> 1);
}

// The codes of a lane in step `step` as CodeBase + code.   vector: that of the step, pairs: [channel g, g + 8][2]
// kKind: kInt8, or kInt4 for kCodedInt4 too
template <typename T, TileKind kKind>
INGOT_DEVICE void UnpackCodes(const WeightTiles& tiles, const Vector& vector, int step, uint32_t (&pairs)[2][2]) {
  if constexpr (kKind == TileKind::kInt8) {
    INGOT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t word = vector.words[step % 2 * 2 + i / 2], first = i % 2 * 2;
      pairs[i / 2][i % 2] = PairOfBytes(T{}, word, first, word, first + 1);
    }
  } else {
    const uint32_t word = vector.words[step];
    if (tiles.kind == TileKind::kInt4) {
      INGOT_UNROLL
      for (int i = 0; i < 4; ++i) pairs[i / 2][i % 2] = PairOfNibbles<T>(word, i);
      return;
    }
    const uint32_t low = LookUp(tiles.table, word), high = LookUp(tiles.table, word >> 16);
    INGOT_UNROLL
    for (uint32_t i = 0; i < 4; ++i) pairs[i / 2][i % 2] = PairOfBytes(T{}, low, i, high, i);
  }
}

// The numbers of a group for a lane's channels g and g + 8, each twice in a word.
struct GroupNumbers {
  uint32_t scale[2], zero[2], min[2];
};
// group: in shared memory
INGOT_DEVICE GroupNumbers LoadGroup(const WeightTiles& tiles, const uint32_t* group) {
  const uint32_t* const own = group + Lane() / 4 * tiles.group_words;
  const auto twice = [](uint32_t word, int half) { return Permute(word, word, half == 0 ? 0x1010 : 0x3232); };
  GroupNumbers numbers;
  INGOT_UNROLL
  for (int half = 0; half < 2; ++half) {
    numbers.scale[half] = twice(own[0], half);
    numbers.zero[half] = tiles.zero_pair;
    numbers.min[half] = 0;
    if (tiles.group_words < 2) continue;
    (tiles.zero == ZeroKind::kMin ? numbers.min[half] : numbers.zero[half]) = twice(own[1], half);
  }
  return numbers;
}
// code - zero is exact, so this is the weight, rounded once.
template <typename T>
INGOT_DEVICE uint32_t Dequantize(const GroupNumbers& group, int half, uint32_t pair) {
  return PairFma(T{}, PairSubtract(T{}, pair, group.zero[half]), group.scale[half], group.min[half]);
}

// The weight of one input and channel of a panel.
INGOT_DEVICE float HeldNumber(const WeightTiles& tiles, uint32_t bits) {
  return tiles.bfloat16 ? ToFloat(BFloat16{static_cast<uint16_t>(bits)}) : ToFloat(Half{static_cast<uint16_t>(bits)});
}
INGOT_DEVICE float WeightAt(const WeightTiles& tiles, const std::byte* panel, int64_t k, int c) {
  if (tiles.kind == TileKind::kFloat) return LoadAt<float>(panel, k * kPanelChannels + c);
  const int inputs = InputsOfTile(tiles.kind);
  const TilePosition at = PositionInTile(tiles.kind, static_cast<int>(k % inputs), c);
  const int64_t tile_words = VectorsOf(tiles.kind) * (kVectorBytes / 4);
  const uint32_t bits = LoadAt<uint32_t>(panel, k / inputs * tile_words + at.word) >> at.shift;
  const std::byte* const groups = panel + tiles.group_offset;
  if (tiles.kind == TileKind::kDense) return HeldNumber(tiles, bits);
  if (tiles.kind == TileKind::kInt8Products) {
    return static_cast<float>(static_cast<int8_t>(bits & 255)) * LoadAt<float>(groups, c);
  }
  uint32_t code = bits & (tiles.kind == TileKind::kInt8 ? 255 : 15);
  if (tiles.kind == TileKind::kCodedInt4) code = tiles.table[code / 4] >> (code % 4 * 8) & 255;
  const int64_t at_group = ((k >> tiles.group_shift) * 8 + c % 8) * tiles.group_words * 2 + c / 8;
  const float scale = HeldNumber(tiles, LoadAt<uint16_t>(groups, at_group));
  const auto base = static_cast<float>(CodeBase(tiles.kind, tiles.bfloat16));
  const float number = base + static_cast<float>(code);
  if (tiles.group_words == 1) return (number - HeldNumber(tiles, tiles.zero_pair & 0xffff)) * scale;
  const float second = HeldNumber(tiles, LoadAt<uint16_t>(groups, at_group + 2));
  return tiles.zero == ZeroKind::kMin ? Fma(static_cast<float>(code), scale, second) : (number - second) * scale;
}

}  // namespace ingot::kernels::cuda
