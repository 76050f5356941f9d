#include "kernels/gemm.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/reference/packed.h"

namespace ingot::kernels {
namespace {

// Where the parts of one group of 32 inputs of a tile are (kernels/gemm.h).
struct TileGroup {
  int8_t* codes;    // [rows][32]
  float* scale;     // [rows]
  std::byte* sums;  // [rows][subs] of 4 bytes
  int64_t subs;     // 1 or 2
};

TileGroup GroupOf(const PanelLayout& layout, const RowTile& tile, std::byte* activations, int64_t group) {
  const int64_t subs = layout.group_size == 16 ? 2 : 1;
  std::byte* p = activations + tile.offset + group * tile.rows * (36 + 4 * subs);
  return {.codes = reinterpret_cast<int8_t*>(p),
          .scale = reinterpret_cast<float*>(p + tile.rows * 32),
          .sums = p + tile.rows * 36,
          .subs = subs};
}

// One row of a group: x[0 … count) of 32, the rest zeros.
void QuantizeGroup(const PanelLayout& layout, const float* x, int64_t count, int64_t row, const TileGroup& group) {
  uint32_t amax_bits = 0;  // non-negative floats sort as their bits, NaN above all
  for (int64_t i = 0; i < count; ++i) amax_bits = std::max(amax_bits, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffU);
  const auto amax = std::bit_cast<float>(amax_bits);
  const bool finite = amax_bits < 0x7f800000U, zero = !(amax >= 1e-30F);
  const float inverse = finite && !zero ? 127.0F / amax : 0.0F;
  const float scale = finite ? (zero ? 0.0F : amax / 127.0F) : std::bit_cast<float>(0x7fc00000U);
  int8_t* codes = group.codes + row * 32;
  for (int64_t i = 0; i < 32; ++i) {
    codes[i] = i < count && inverse != 0 ? static_cast<int8_t>(std::nearbyint(x[i] * inverse)) : int8_t{0};
  }
  group.scale[row] = scale;
  for (int64_t sub = 0; sub < group.subs; ++sub) {
    const int64_t size = 32 / group.subs;
    int32_t sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += codes[sub * size + i];
    const int32_t offset = -layout.midpoint * sum;
    float number = static_cast<float>(sum);
    if (layout.zero == ZeroKind::kMin) number = scale * number;
    const void* from = layout.zero == ZeroKind::kMidpoint ? static_cast<const void*>(&offset) : &number;
    std::memcpy(group.sums + (row * group.subs + sub) * 4, from, 4);
  }
}

void Quantize(const QuantizeParams& p) {
  for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
    const RowTile& tile = p.tiles[t];
    for (int64_t g = 0; g < p.layout->padded_k / 32; ++g) {
      const TileGroup group = GroupOf(*p.layout, tile, p.activations, g);
      for (int64_t r = 0; r < tile.rows; ++r) {
        const float* x = p.x + (tile.row + r) * p.layout->k + g * 32;
        QuantizeGroup(*p.layout, x, std::min<int64_t>(32, p.layout->k - g * 32), r, group);
      }
    }
  }
}

// A row of a tile and a channel of a panel.
struct Element {
  const PanelLayout& layout;
  const std::byte* panel;
  int64_t channel, row;
};

// y + the products of the sub-group that begins at input k.
float AddSubGroup(const Element& e, const TileGroup& group, int64_t k, float y) {
  const PanelLayout& layout = e.layout;
  const int64_t size = 32 / group.subs, weight_group = k / layout.group_size;
  int32_t acc = 0;
  for (int64_t i = 0; i < size; ++i) {
    acc += CodeAt(layout, e.panel, k + i, e.channel) * group.codes[e.row * 32 + k % 32 + i];
  }
  const std::byte* sum = group.sums + (e.row * group.subs + k % 32 / size) * 4;
  const float scale = group.scale[e.row] * ScaleAt(layout, e.panel, weight_group, e.channel);
  if (layout.zero == ZeroKind::kMidpoint) {
    int32_t offset;
    std::memcpy(&offset, sum, 4);
    return std::fma(static_cast<float>(acc + offset), scale, y);
  }
  float number;
  std::memcpy(&number, sum, 4);
  const float zero = ZeroAt(layout, e.panel, weight_group, e.channel);
  if (layout.zero == ZeroKind::kInteger) return std::fma(std::fma(-zero, number, static_cast<float>(acc)), scale, y);
  return std::fma(number, zero, std::fma(static_cast<float>(acc), scale, y));
}

// Each element of y that p asks for is body(tile, row in the tile, panel, channel of the panel, bias).
template <typename Body>
void ForEachOutput(const GemmParams& p, const Body& body) {
  for (int64_t t = p.tile_begin; t < p.tile_end; ++t) {
    for (int64_t n = p.panel_begin * kPanelChannels; n < std::min(p.panel_end * kPanelChannels, p.out_features); ++n) {
      const std::byte* panel = p.packed + n / kPanelChannels * p.layout->panel_bytes;
      for (int64_t r = 0; r < p.tiles[t].rows; ++r) {
        float* y = p.y + (p.tiles[t].row + r) * p.out_features + n;
        *y = body(p.tiles[t], r, panel, n % kPanelChannels, p.bias == nullptr ? 0.0F : p.bias[n]);
      }
    }
  }
}

void MultiplyInt8(const GemmParams& p) {
  ForEachOutput(p, [&](const RowTile& tile, int64_t r, const std::byte* panel, int64_t c, float y) {
    for (int64_t g = 0; g < p.layout->padded_k / 32; ++g) {
      const TileGroup group = GroupOf(*p.layout, tile, const_cast<std::byte*>(p.activations), g);
      for (int64_t sub = 0; sub < group.subs; ++sub) {
        y = AddSubGroup({*p.layout, panel, c, r}, group, g * 32 + sub * 16, y);
      }
    }
    return y;
  });
}

void MultiplyF32(const GemmParams& p) {
  ForEachOutput(p, [&](const RowTile& tile, int64_t r, const std::byte* panel, int64_t c, float y) {
    const float* x = p.x + (tile.row + r) * p.layout->k;
    for (int64_t k = 0; k < p.layout->k; ++k) y = std::fma(x[k], WeightAt(*p.layout, panel, k, c), y);
    return y;
  });
}

}  // namespace

const GemmKernels reference::kGemm = {
    .quantize = Quantize,
    .multiply_int8 = MultiplyInt8,
    .multiply_f32 = MultiplyF32,
    .round_bf16 = nullptr,
    .multiply_bf16 = nullptr,
    .round_tiles = nullptr,
    .multiply_tiles = nullptr,
};

}  // namespace ingot::kernels
