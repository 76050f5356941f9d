#include "ops/cuda/weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "ops/panels.h"

namespace ingot::ops {
namespace {

using kernels::kPanelChannels;
using kernels::ZeroKind;
using kernels::cuda::TileKind;
using kernels::cuda::TilePosition;
using kernels::cuda::WeightTiles;

constexpr int kWholeRowShift = 30;

int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

uint16_t ToBits(const WeightTiles& tiles, float value) { return tiles.bfloat16 ? F32ToBF16(value) : F32ToF16(value); }

ZeroKind ZeroOf(const Format& held) {
  if (held.codebook != Format::Codebook::kNone || held.zero == Format::Zero::kMidpoint) return ZeroKind::kMidpoint;
  return held.zero == Format::Zero::kInteger ? ZeroKind::kInteger : ZeroKind::kMin;
}

TileKind KindOf(const Format& held, bool int8_products) {
  if (int8_products && held.bits == 8 && held.group_size == 0 && ZeroOf(held) == ZeroKind::kMidpoint) {
    return TileKind::kInt8Products;
  }
  if (held.bits == 4) return held.codebook == Format::Codebook::kNone ? TileKind::kInt4 : TileKind::kCodedInt4;
  if (held.bits == 8) return TileKind::kInt8;
  return held.bits == 16 ? TileKind::kDense : TileKind::kFloat;
}

void PlaceGroups(const Format& held, WeightTiles* tiles) {
  INGOT_CHECK(held.group_size == 0 ||
              (std::has_single_bit(static_cast<uint64_t>(held.group_size)) && held.group_size >= 16));
  tiles->group_shift = held.group_size == 0 ? kWholeRowShift : std::countr_zero(static_cast<uint64_t>(held.group_size));
  tiles->group_words = tiles->zero == ZeroKind::kMidpoint ? 1 : 2;
  int zero = kernels::cuda::CodeBase(tiles->kind, tiles->bfloat16);
  if (tiles->zero == ZeroKind::kMidpoint) zero += tiles->kind == TileKind::kInt4 ? 8 : 128;
  tiles->zero_pair = ToBits(*tiles, static_cast<float>(zero)) * 0x10001U;
  if (tiles->kind != TileKind::kCodedInt4) return;
  const CodebookInfo& book = InfoOf(held.codebook);
  for (size_t i = 0; i < book.values.size(); ++i) {
    tiles->table[i / 4] |= static_cast<uint32_t>(book.values[i] + 128) << (i % 4 * 8);
  }
}

WeightTiles TilesOf(const Format& held, const TileOptions& options, int64_t in_features) {
  WeightTiles tiles{};
  tiles.kind = KindOf(held, options.int8_products);
  tiles.zero = ZeroOf(held);
  tiles.bfloat16 = options.activation_dtype == DType::kBF16;
  tiles.k = in_features;
  if (tiles.kind == TileKind::kFloat) {
    tiles.panel_bytes = in_features * kPanelChannels * int64_t{4};
    return tiles;
  }
  const int64_t inputs = kernels::cuda::InputsOfTile(tiles.kind);
  tiles.tiles = static_cast<int32_t>((in_features + inputs - 1) / inputs);
  tiles.group_offset = tiles.tiles * int64_t{kernels::cuda::VectorsOf(tiles.kind)} * kernels::cuda::kVectorBytes;
  int64_t bytes = tiles.group_offset;
  if (kernels::cuda::HasGroups(tiles.kind)) {
    PlaceGroups(held, &tiles);
    const int64_t groups = ((tiles.tiles * inputs - 1) >> tiles.group_shift) + 1;
    bytes += groups * tiles.group_words * kPanelChannels * 2;
  }
  if (tiles.kind == TileKind::kInt8Products) bytes += kPanelChannels * int64_t{sizeof(float)};
  tiles.panel_bytes = RoundUp(bytes, 64);
  return tiles;
}

// Up to 16 of the rows that were read, on their way into one panel.
struct PanelRows {
  const WeightRows& rows;
  int64_t begin, count;  // in rows.rows
  const WeightTiles& tiles;
  std::byte* panel;

  uint32_t* words(int64_t offset) const { return reinterpret_cast<uint32_t*>(panel + offset); }
};

// Codes with a midpoint of 2^(bits-1) move to that of the wider kind, so that the format held says it all.
uint32_t MidpointShift(const PanelRows& p) {
  if (p.tiles.zero != ZeroKind::kMidpoint || p.tiles.kind == TileKind::kCodedInt4) return 0;
  return (p.tiles.kind == TileKind::kInt4 ? 8U : 128U) - (1U << (p.rows.format.bits - 1));
}

// Calls value_of(row of p.rows, input) for the bits of each weight.
template <typename ValueOf>
void PackInputs(const PanelRows& p, ValueOf value_of) {
  const int inputs = kernels::cuda::InputsOfTile(p.tiles.kind);
  const int64_t tile_words = kernels::cuda::VectorsOf(p.tiles.kind) * (kernels::cuda::kVectorBytes / 4);
  for (int64_t c = 0; c < p.count; ++c) {
    std::array<TilePosition, 128> positions;
    for (int i = 0; i < inputs; ++i) {
      positions[static_cast<size_t>(i)] = kernels::cuda::PositionInTile(p.tiles.kind, i, static_cast<int>(c));
    }
    for (int64_t k = 0; k < p.rows.cols; ++k) {
      const TilePosition& at = positions[static_cast<size_t>(k % inputs)];
      p.words(0)[k / inputs * tile_words + at.word] |= value_of(p.begin + c, k) << at.shift;
    }
  }
}

void PackGroups(const PanelRows& p) {
  const WeightRows& rows = p.rows;
  const int64_t groups = static_cast<int64_t>(rows.scale.size()) / rows.rows;
  auto* const numbers = reinterpret_cast<uint16_t*>(p.panel + p.tiles.group_offset);
  const int base = p.tiles.zero == ZeroKind::kInteger ? kernels::cuda::CodeBase(p.tiles.kind, p.tiles.bfloat16) : 0;
  for (int64_t c = 0; c < p.count; ++c) {
    for (int64_t group = 0; group < groups; ++group) {
      const auto from = static_cast<size_t>((p.begin + c) * groups + group);
      uint16_t* const to = numbers + (group * 8 + c % 8) * p.tiles.group_words * 2 + c / 8;
      to[0] = ToBits(p.tiles, rows.scale[from]);
      if (p.tiles.group_words > 1) to[2] = ToBits(p.tiles, static_cast<float>(base) + rows.zero[from]);
    }
  }
}

void PackPanel(const PanelRows& p) {
  const auto at = [&](int64_t row, int64_t k) { return static_cast<size_t>(row * p.rows.cols + k); };
  switch (p.tiles.kind) {
    case TileKind::kFloat:
      for (int64_t c = 0; c < p.count; ++c) {
        for (int64_t k = 0; k < p.rows.cols; ++k) {
          p.words(0)[k * kPanelChannels + c] = std::bit_cast<uint32_t>(p.rows.dense[at(p.begin + c, k)]);
        }
      }
      return;
    case TileKind::kDense:
      return PackInputs(p, [&](int64_t row, int64_t k) { return uint32_t{ToBits(p.tiles, p.rows.dense[at(row, k)])}; });
    case TileKind::kInt8Products:
      for (int64_t c = 0; c < p.count; ++c) {
        p.words(p.tiles.group_offset)[c] = std::bit_cast<uint32_t>(p.rows.scale[static_cast<size_t>(p.begin + c)]);
      }
      return PackInputs(p, [&, middle = 1U << (p.rows.format.bits - 1)](int64_t row, int64_t k) {
        return (p.rows.codes[at(row, k)] - middle) & 255;
      });
    default:
      PackInputs(p, [&, shift = MidpointShift(p)](int64_t row, int64_t k) { return p.rows.codes[at(row, k)] + shift; });
      PackGroups(p);
  }
}

}  // namespace

Format TileFormat(const Format& source, const TileOptions& options) {
  Format held = source;
  if (source.quantized()) held.bits = source.bits <= 4 ? 4 : 8;
  if (source.bits == 16) held.dense = options.activation_dtype;
  return held;
}

int64_t TileBytes(const Format& source, const TileOptions& options, int64_t out_features, int64_t in_features) {
  const Format held = TileFormat(source, options);
  return PanelsOf(out_features) * TilesOf(held, options, in_features).panel_bytes;
}

PackedWeight::Parts TileParts(const WeightSource& source, const TileOptions& options) {
  const Format held = TileFormat(source.format(), options);
  auto layout = std::make_unique<TilePackedLayout>();
  TileOptions in_order = options;  // rows of int8 are made for all matrices alike
  in_order.int8_products = options.int8_products && source.input_order() == nullptr;
  layout->tiles = TilesOf(held, in_order, source.cols());
  int64_t bytes = PanelsOf(source.rows()) * layout->tiles.panel_bytes;
  if (source.input_order() != nullptr) {
    layout->order_offset = bytes;
    bytes += source.cols() * static_cast<int64_t>(sizeof(int32_t));
  }
  return {.out_features = source.rows(),
          .in_features = source.cols(),
          .source_format = source.format(),
          .format = held,
          .bytes = bytes,
          .layout = std::move(layout),
          .data = {}};
}

void PackTiles(ThreadPool& pool, const WeightSource& source, const TilePackedLayout& layout, std::byte* out) {
  if (const auto order = source.input_order()) {
    std::memcpy(out + layout.order_offset, order->data(), order->size() * sizeof(int32_t));
  }
  ForEachPanel(pool, source, [&](const WeightRows& rows, int64_t begin, int64_t panel) {
    std::byte* const to = out + panel * layout.tiles.panel_bytes;
    PackPanel({rows, begin, std::min<int64_t>(kPanelChannels, rows.rows - begin), layout.tiles, to});
  });
}

}  // namespace ingot::ops
