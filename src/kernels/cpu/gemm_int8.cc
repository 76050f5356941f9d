// 4- and 8-bit weights × int8 activations.
#include "kernels/cpu/gemm.h"

namespace ingot::kernels::INGOT_ISA_NAMESPACE {
namespace {

// kNibbles: as packed, two codes a byte; kIndices: the same, indices of a code table. kNarrow: bytes that are < 16,
// kWide: any bytes.
enum class CodeKind { kNibbles, kIndices, kNarrow, kWide };
constexpr bool IsPacked(CodeKind kind) { return kind == CodeKind::kNibbles || kind == CodeKind::kIndices; }

#if defined(__AVX512F__) || defined(__AVXVNNI__)
// With VNNI all bytes are alike.
constexpr CodeKind kUnpacked = CodeKind::kWide;

// Σ codes · activations of one row and panel over a sub-group, started at `offset`.
template <bool kNarrow>
struct Dots {
  I32x16 sum;
  INGOT_INLINE void Start(int32_t offset) { sum = Broadcast(offset); }
  INGOT_INLINE void Add(Bytes64 codes, I32x16 a) { sum = Dot(sum, codes, a); }
  INGOT_INLINE I32x16 Total(int32_t) const { return sum; }
};
#else
constexpr CodeKind kUnpacked = CodeKind::kNarrow;

// Pairs u8 · s8 in 16 bits: 2 · 15 · 127 = 3810, and eight quads of them stay below 2^15.
template <bool kNarrow>
struct Dots {
  __m256i lo, hi;
  INGOT_INLINE void Start(int32_t) { lo = hi = _mm256_setzero_si256(); }
  INGOT_INLINE void Add(Bytes64 codes, I32x16 a) {
    lo = _mm256_add_epi16(lo, _mm256_maddubs_epi16(codes.lo.v, a.lo.v));
    hi = _mm256_add_epi16(hi, _mm256_maddubs_epi16(codes.hi.v, a.hi.v));
  }
  INGOT_INLINE I32x16 Total(int32_t offset) const {
    const __m256i ones = _mm256_set1_epi16(1), start = _mm256_set1_epi32(offset);
    return {{_mm256_add_epi32(start, _mm256_madd_epi16(lo, ones))},
            {_mm256_add_epi32(start, _mm256_madd_epi16(hi, ones))}};
  }
};
// Bytes up to 255 would saturate there: even and odd bytes apart, in 16 bits each.
template <>
struct Dots<false> {
  I32x16 sum;
  INGOT_INLINE void Start(int32_t offset) { sum = Broadcast(offset); }
  INGOT_INLINE static __m256i AddHalf(__m256i sum, __m256i codes, __m256i a) {
    const __m256i even = _mm256_and_si256(codes, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(codes, 8);
    const __m256i a_even = _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8), a_odd = _mm256_srai_epi16(a, 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(even, a_even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(odd, a_odd));
  }
  INGOT_INLINE void Add(Bytes64 codes, I32x16 a) {
    sum = {{AddHalf(sum.lo.v, codes.lo.v, a.lo.v)}, {AddHalf(sum.hi.v, codes.hi.v, a.hi.v)}};
  }
  INGOT_INLINE I32x16 Total(int32_t) const { return sum; }
};
#endif

// Lines of [from, from + bytes) into L2.
INGOT_INLINE void PrefetchToL2(const std::byte* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(from + i), _MM_HINT_T1);
}

// Quad j of a group of 32 inputs.
template <CodeKind kCodes>
INGOT_INLINE Bytes64 Quad(const std::byte* group, int j, Bytes64 table) {
  if (!IsPacked(kCodes)) return LoadBytes64(group + j * 64);
  const Bytes64 nibbles =
      j < 4 ? LowNibbles(LoadBytes64(group + j * 64)) : HighNibbles(LoadBytes64(group + (j - 4) * 64));
  return kCodes == CodeKind::kIndices ? LookUp(table, nibbles) : nibbles;
}

// A tile's rows × a step's panels × a run of groups of 32 inputs.
struct Block {
  const std::byte* codes[kPanelsTogether];  // of the first group
  const uint8_t* table;                     // kIndices
  const float* scales[kPanelsTogether];     // [groups · subs][16]
  const float* zeros[kPanelsTogether];
  const std::byte* activations;  // the first group of the tile
  int64_t tile_rows, first_row;  // the rows that are done: [first_row, first_row + R) of the tile
  int64_t groups;
  const std::byte* fetch[kPanelsTogether];  // what comes next from memory, fetched into L2 meanwhile
  float* y;                                 // first row, first panel
  int64_t y_stride;
  const int64_t* lanes;
};

// A row's part of a sub-group: the scale of its activations and the correction of their sum.
struct RowNumbers {
  float scale, sum;
};

// y += the products of a sub-group, from their integer sums.
template <ZeroKind kZero>
INGOT_INLINE F32x16 AddProducts(F32x16 y, I32x16 dots, RowNumbers row, F32x16 scale, const float* zeros) {
  F32x16 products = ToFloat(dots);
  if (kZero == ZeroKind::kInteger) products = NegFma(LoadF32x16(zeros), Broadcast(row.sum), products);
  y = Fma(products, Broadcast(row.scale) * scale, y);
  return kZero == ZeroKind::kMin ? Fma(Broadcast(row.sum), LoadF32x16(zeros), y) : y;
}

// Lines that are fetched into L2 for each panel and group. One tile: as many as it reads. Many: part of them, because
// the CPU holds a dozen or so lines in flight and stops at more.
template <CodeKind kCodes, bool kOneTile>
constexpr int kFetchLines = !kOneTile          ? 2
                            : IsPacked(kCodes) ? 4
                                               : 8;

template <CodeKind kCodes, ZeroKind kZero, int kSubs, bool kOneTile, int R>
[[gnu::noinline]] void MultiplyBlock(const Block& b) {
  constexpr int kQuads = 8 / kSubs;
  constexpr int64_t kGroupBytes = IsPacked(kCodes) ? 256 : 512;
  constexpr bool kNarrow = kCodes == CodeKind::kNibbles || kCodes == CodeKind::kNarrow;
  constexpr int64_t kFetchBytes = 64 * kFetchLines<kCodes, kOneTile>;
  Outputs<R> out;
  out.Read(b.y, b.y_stride, b.lanes);
  const std::byte* codes[kPanelsTogether];
  for (int n = 0; n < kPanelsTogether; ++n) codes[n] = b.codes[n];
  const auto* a = reinterpret_cast<const int32_t*>(b.activations) + b.first_row * 8;  // [tile_rows][8] quads
  const auto* row = reinterpret_cast<const float*>(b.activations) + b.tile_rows * 8 + b.first_row;
  const auto* sums = reinterpret_cast<const float*>(b.activations) + b.tile_rows * 9 + b.first_row * kSubs;
  const int64_t next = b.tile_rows * (9 + kSubs);
  const Bytes64 table = kCodes == CodeKind::kIndices ? LoadTable(b.table) : Bytes64{};
  int64_t at = 0;  // in scales and zeros
  for (int64_t g = 0; g < b.groups; ++g) {
    for (int s = 0; s < kSubs; ++s, at += 16) {
      Dots<kNarrow> dots[R][kPanelsTogether];
      int32_t offsets[R];
      for (int r = 0; r < R; ++r) {
        offsets[r] = kZero == ZeroKind::kMidpoint ? reinterpret_cast<const int32_t*>(sums)[r * kSubs + s] : 0;
        for (int n = 0; n < kPanelsTogether; ++n) dots[r][n].Start(offsets[r]);
      }
#pragma GCC unroll 8
      for (int j = 0; j < kQuads; ++j) {
        Bytes64 quads[kPanelsTogether];
        for (int n = 0; n < kPanelsTogether; ++n) quads[n] = Quad<kCodes>(codes[n], s * kQuads + j, table);
        for (int r = 0; r < R; ++r) {
          const I32x16 four = Broadcast(a[r * 8 + s * kQuads + j]);
          for (int n = 0; n < kPanelsTogether; ++n) dots[r][n].Add(quads[n], four);
        }
      }
      for (int n = 0; n < kPanelsTogether; ++n) {
        const F32x16 scale = LoadF32x16(b.scales[n] + at);
        for (int r = 0; r < R; ++r) {
          out.y[r][n] = AddProducts<kZero>(out.y[r][n], dots[r][n].Total(offsets[r]), {row[r], sums[r * kSubs + s]},
                                           scale, b.zeros[n] + at);
        }
      }
    }
    for (int n = 0; n < kPanelsTogether; ++n) {
      PrefetchToL2(b.fetch[n] + g * kFetchBytes, kFetchBytes);
      codes[n] += kGroupBytes;
    }
    a += next, row += next, sums += next;
  }
  out.Write(b.y, b.y_stride, b.lanes);
}

// All rows of a tile, in parts that fit the registers.
template <CodeKind kCodes, ZeroKind kZero, int kSubs, bool kOneTile>
INGOT_INLINE void MultiplyTile(Block b) {
  float* const y = b.y;
#ifdef __AVX512F__
  constexpr int64_t kRows = 6;
#else
  constexpr int64_t kRows = 3;
#endif
  int64_t left = b.tile_rows;
  const int64_t most = left == 4 && kRows < 4 ? 2 : kRows;
  for (b.first_row = 0; left > 0;) {
    const int64_t rows = left < most ? left : most;
    b.y = y + b.first_row * b.y_stride;
    if (rows == 1) MultiplyBlock<kCodes, kZero, kSubs, kOneTile, 1>(b);
    if (rows == 2) MultiplyBlock<kCodes, kZero, kSubs, kOneTile, 2>(b);
    if (rows == 3) MultiplyBlock<kCodes, kZero, kSubs, kOneTile, 3>(b);
#ifdef __AVX512F__
    if (rows == 4) MultiplyBlock<kCodes, kZero, kSubs, kOneTile, 4>(b);
    if (rows == 6) MultiplyBlock<kCodes, kZero, kSubs, kOneTile, 6>(b);
#endif
    b.first_row += rows;
    left -= rows;
  }
}

// Nibbles, or what they stand for, become bytes.
template <CodeKind kCodes>
void Unpack(const PanelLayout& layout, const std::byte* from, int64_t groups, std::byte* to) {
  const Bytes64 table = LoadTable(layout.table);
  for (int64_t g = 0; g < groups; ++g, from += 256, to += 512) {
    for (int j = 0; j < 8; ++j) Store(to + j * 64, Quad<kCodes>(from, j, table));
  }
}

// Groups of 32 inputs that are done for all tiles before the next ones, at most. Many tiles: codes (18 KB) and scales
// (up to 9 KB) of the step's panels stay in L1 with a tile's activations. One tile reads them once anyway.
constexpr int64_t kManyTilesGroups = 18, kOneTileGroups = 64;

// The outputs that the next step will write: on pages and lines not seen yet.
INGOT_INLINE void PrefetchOutputs(const GemmParams& p, const RowTile& tile, int64_t first_output) {
  for (int64_t r = 0; r < tile.rows; ++r) {
    const auto* y = reinterpret_cast<const char*>(p.y + (tile.row + r) * p.out_features + first_output);
    for (int n = 0; n < kPanelsTogether; ++n) _mm_prefetch(y + n * 64, _MM_HINT_T0);
  }
}

// Spreads the reading of the next step's panels over this step: a run of codes over its first tiles, the scales over
// the runs. `begin`, `end`: bytes of the run that no tile has fetched; when there are none, lines that are at hand
// anyway.
INGOT_INLINE void FetchCodes(const PanelStep& step, int64_t next_step, int64_t begin, int64_t end, Block* b) {
  for (int n = 0; n < kPanelsTogether; ++n)
    b->fetch[n] = begin < end ? step.panels[n] + next_step + begin : b->codes[n];
}
INGOT_INLINE void FetchScales(const PanelLayout& layout, const PanelStep& step, int64_t run, int64_t runs) {
  const int64_t bytes = layout.panel_bytes - layout.scale_offset, from = layout.scale_offset + bytes * run / runs;
  for (int n = 0; n < kPanelsTogether; ++n) {
    PrefetchToL2(step.panels[n] + kPanelsTogether * layout.panel_bytes + from, bytes / runs + 64);
  }
}

// One step: all tiles of p × the panels of `step`.
template <CodeKind kCodes, ZeroKind kZero, int kSubs, bool kOneTile>
void MultiplyStep(const GemmParams& p, const PanelStep& step) {
  constexpr bool kUnpack = IsPacked(kCodes) && !kOneTile;  // into bytes first; else codes are read in place
  constexpr CodeKind kRead = kUnpack ? (kCodes == CodeKind::kNibbles ? kUnpacked : CodeKind::kWide) : kCodes;
  constexpr int64_t kMost = kOneTile ? kOneTileGroups : kManyTilesGroups;
  constexpr int64_t kFetchBytes = 64 * kFetchLines<kRead, kOneTile>;
  alignas(64) float scales[kPanelsTogether][kMost * kSubs * 16];
  alignas(64) float zeros[kPanelsTogether][kZero == ZeroKind::kMidpoint ? 1 : kMost * kSubs * 16];
  alignas(64) std::byte bytes[kPanelsTogether][kUnpack ? kMost * 512 : 1];
  const PanelLayout& layout = *p.layout;
  const int64_t group_bytes = layout.kind == WeightKind::kInt4 ? 256 : 512, groups = layout.padded_k / 32;
  const int64_t runs = (groups + kMost - 1) / kMost;
  StartOutputs(p, step);
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t g = groups * run / runs, end = groups * (run + 1) / runs;
    Block b{.table = layout.table, .groups = end - g, .y_stride = p.out_features, .lanes = step.lanes};
    FetchScales(layout, step, run, runs);
    for (int n = 0; n < kPanelsTogether; ++n) {
      UnpackScales(layout, step.panels[n], g * 32, end * 32, {scales[n], zeros[n]});
      b.codes[n] = step.panels[n] + g * group_bytes;
      if (kUnpack) Unpack<kCodes>(layout, b.codes[n], end - g, bytes[n]), b.codes[n] = bytes[n];
      b.scales[n] = scales[n];
      b.zeros[n] = zeros[n];
    }
    for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
      const RowTile& tile = p.tiles[t];
      b.activations = p.activations + tile.offset + g * tile.rows * (32 + 4 + 4 * kSubs);
      b.tile_rows = tile.rows;
      b.y = p.y + tile.row * p.out_features + step.first_output;
      if (run == 0) PrefetchOutputs(p, tile, step.first_output + kPanelsTogether * kPanelChannels);
      FetchCodes(step, kPanelsTogether * layout.panel_bytes,
                 g * group_bytes + (t - p.tile_begin) * b.groups * kFetchBytes, end * group_bytes, &b);
      MultiplyTile<kRead, kZero, kSubs, kOneTile>(b);
    }
  }
}

template <CodeKind kCodes, ZeroKind kZero, int kSubs>
void MultiplyPanels(const GemmParams& p) {
  const bool one_tile = p.tile_end - p.tile_begin == 1;
  for (int64_t panel = p.panel_begin; panel < p.panel_end; panel += kPanelsTogether) {
    const PanelStep step = StepAt(p, panel);
    one_tile ? MultiplyStep<kCodes, kZero, kSubs, true>(p, step) : MultiplyStep<kCodes, kZero, kSubs, false>(p, step);
  }
}

template <CodeKind kCodes, ZeroKind kZero>
void MultiplyGroups(const GemmParams& p) {
  p.layout->group_size == 16 ? MultiplyPanels<kCodes, kZero, 2>(p) : MultiplyPanels<kCodes, kZero, 1>(p);
}

template <CodeKind kCodes>
void MultiplyCodes(const GemmParams& p) {
  if (p.layout->zero == ZeroKind::kMidpoint) MultiplyGroups<kCodes, ZeroKind::kMidpoint>(p);
  if (p.layout->zero == ZeroKind::kInteger) MultiplyGroups<kCodes, ZeroKind::kInteger>(p);
  if (p.layout->zero == ZeroKind::kMin) MultiplyGroups<kCodes, ZeroKind::kMin>(p);
}

}  // namespace

void MultiplyInt8(const GemmParams& p) {
  if (p.layout->coded) return MultiplyGroups<CodeKind::kIndices, ZeroKind::kMidpoint>(p);
  p.layout->kind == WeightKind::kInt4 ? MultiplyCodes<CodeKind::kNibbles>(p) : MultiplyCodes<CodeKind::kWide>(p);
}

}  // namespace ingot::kernels::INGOT_ISA_NAMESPACE
