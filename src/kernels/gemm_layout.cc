#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/gemm.h"
#include "kernels/reference/packed.h"
#include "tensor/format.h"

namespace ingot::kernels {
namespace {

constexpr int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

template <typename T>
T Load(const std::byte* p, int64_t index) {
  T value;
  std::memcpy(&value, p + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Numbers of a scale's kind: `super` and `index` in units of 16 channels.
float NumberAt(ScaleKind kind, const std::byte* values, const std::byte* codes, int64_t super, int64_t index) {
  switch (kind) {
    case ScaleKind::kF16:
      return F16ToF32(Load<uint16_t>(values, index));
    case ScaleKind::kF32:
      return Load<float>(values, index);
    case ScaleKind::kSuper:
      return F16ToF32(Load<uint16_t>(values, super)) * static_cast<float>(Load<int8_t>(codes, index));
    case ScaleKind::kE8M0:
      return std::ldexp(1.0F, Load<uint8_t>(values, index) - 128);
  }
  return 0;
}

WeightKind KindOf(const Format& held) {
  if (held.bits == 4) return WeightKind::kInt4;
  if (held.bits == 8) return WeightKind::kInt8;
  INGOT_CHECK(held.bits == 16 || held.bits == 32);
  if (held.dense == DType::kF16) return WeightKind::kF16;
  if (held.dense == DType::kBF16) return WeightKind::kBF16;
  INGOT_CHECK(held.dense == DType::kF32);
  return WeightKind::kF32;
}

ZeroKind ZeroOf(const Format& held) {
  switch (held.zero) {
    case Format::Zero::kMidpoint:
      return ZeroKind::kMidpoint;
    case Format::Zero::kInteger:
      return ZeroKind::kInteger;
    case Format::Zero::kMin:
      break;
  }
  return ZeroKind::kMin;
}

ScaleKind ScaleOf(const Format& held) {
  switch (held.scale) {
    case Format::Scale::kF16:
      return ScaleKind::kF16;
    case Format::Scale::kF32:
      return ScaleKind::kF32;
    case Format::Scale::kE8M0:
      return ScaleKind::kE8M0;
    case Format::Scale::kSuper:
      break;
  }
  return ScaleKind::kSuper;
}

int64_t BytesOf(ScaleKind kind) {
  switch (kind) {
    case ScaleKind::kF32:
      return 4;
    case ScaleKind::kE8M0:
      return 1;
    default:
      return 2;
  }
}

// Places one number per group and channel at *end. Returns where its values are; *codes: where the codes of kSuper are.
int64_t PlaceNumbers(const PanelLayout& layout, int64_t* end, int64_t* codes) {
  const int64_t begin = *end;
  const int64_t values = layout.scale == ScaleKind::kSuper ? layout.supers : layout.groups;
  *end += values * kPanelChannels * BytesOf(layout.scale);
  *codes = *end;
  if (layout.scale == ScaleKind::kSuper) *end += layout.groups * kPanelChannels;
  return begin;
}

void PlaceTable(const Format& held, PanelLayout* layout) {
  layout->midpoint = layout->kind == WeightKind::kInt4 ? 8 : 128;
  layout->coded = held.codebook != Format::Codebook::kNone;
  if (!layout->coded) return;
  INGOT_CHECK(layout->kind == WeightKind::kInt4 && layout->zero == ZeroKind::kMidpoint);
  const CodebookInfo& book = InfoOf(held.codebook);
  layout->midpoint = 128;
  layout->unit = held.scale == Format::Scale::kSuper ? book.unit : 1;
  for (size_t i = 0; i < book.values.size(); ++i) layout->table[i] = static_cast<uint8_t>(book.values[i] + 128);
}

}  // namespace

PanelLayout LayoutOf(const Format& held, int64_t in_features) {
  PanelLayout layout{.kind = KindOf(held), .zero = ZeroOf(held), .scale = ScaleOf(held), .k = in_features};
  if (layout.kind == WeightKind::kF32) {
    layout.padded_k = in_features;
    layout.panel_bytes = in_features * kPanelChannels * 4;
    return layout;
  }
  PlaceTable(held, &layout);
  layout.padded_k = RoundUp(in_features, kActivationGroup);
  if (!layout.quantized()) {
    layout.panel_bytes = layout.padded_k * kPanelChannels * 2;
    return layout;
  }
  layout.group_size = held.group_size == 0 ? layout.padded_k : held.group_size;
  INGOT_CHECK(layout.group_size == 16 || layout.group_size % kActivationGroup == 0);
  layout.groups = layout.padded_k == 0 ? 0 : RoundUp(layout.padded_k, layout.group_size) / layout.group_size;
  layout.supers = RoundUp(in_features, kSuperBlock) / kSuperBlock;
  int64_t end = layout.padded_k * kPanelChannels / (layout.kind == WeightKind::kInt4 ? 2 : 1);
  layout.scale_offset = PlaceNumbers(layout, &end, &layout.scale_code_offset);
  if (layout.zero == ZeroKind::kMin) layout.zero_offset = PlaceNumbers(layout, &end, &layout.zero_code_offset);
  if (layout.zero == ZeroKind::kInteger) {
    layout.zero_offset = end;
    end += layout.groups * kPanelChannels;
  }
  layout.panel_bytes = RoundUp(end, 64);
  return layout;
}

int64_t CodeOffset(const PanelLayout& layout, int64_t k, int64_t c) {
  const int64_t group = k / 32, i = k % 32;
  const bool nibbles = layout.kind == WeightKind::kInt4;
  const int64_t quad = i / 4;
  return (nibbles ? group * 4 + quad % 4 : group * 8 + quad) * 64 + c * 4 + i % 4;
}

bool HighNibble(int64_t k) { return k % 32 >= 16; }

int64_t DenseIndex(const PanelLayout& layout, int64_t k, int64_t c) {
  if (layout.kind == WeightKind::kBF16) return (k / 2 * kPanelChannels + c) * 2 + k % 2;
  return k * kPanelChannels + c;
}

int CodeAt(const PanelLayout& layout, const std::byte* panel, int64_t k, int64_t c) {
  const int byte = std::to_integer<int>(panel[CodeOffset(layout, k, c)]);
  if (layout.kind == WeightKind::kInt8) return byte;
  const int nibble = HighNibble(k) ? byte >> 4 : byte & 15;
  return layout.coded ? layout.table[nibble] : nibble;
}

float ScaleAt(const PanelLayout& layout, const std::byte* panel, int64_t group, int64_t c) {
  const int64_t super = group * layout.group_size / kSuperBlock;
  const float scale = NumberAt(layout.scale, panel + layout.scale_offset, panel + layout.scale_code_offset,
                               super * kPanelChannels + c, group * kPanelChannels + c);
  return layout.coded ? scale * layout.unit : scale;
}

float ZeroAt(const PanelLayout& layout, const std::byte* panel, int64_t group, int64_t c) {
  if (layout.zero == ZeroKind::kMidpoint) return static_cast<float>(layout.midpoint);
  const int64_t index = group * kPanelChannels + c;
  if (layout.zero == ZeroKind::kInteger) return std::to_integer<uint8_t>(panel[layout.zero_offset + index]);
  const int64_t super = group * layout.group_size / kSuperBlock;
  return NumberAt(layout.scale, panel + layout.zero_offset, panel + layout.zero_code_offset, super * kPanelChannels + c,
                  index);
}

float WeightAt(const PanelLayout& layout, const std::byte* panel, int64_t k, int64_t c) {
  switch (layout.kind) {
    case WeightKind::kF32:
      return Load<float>(panel, DenseIndex(layout, k, c));
    case WeightKind::kF16:
      return F16ToF32(Load<uint16_t>(panel, DenseIndex(layout, k, c)));
    case WeightKind::kBF16:
      return BF16ToF32(Load<uint16_t>(panel, DenseIndex(layout, k, c)));
    case WeightKind::kInt4:
    case WeightKind::kInt8:
      break;
  }
  const int64_t group = k / layout.group_size;
  const auto code = static_cast<float>(CodeAt(layout, panel, k, c));
  const float scale = ScaleAt(layout, panel, group, c), zero = ZeroAt(layout, panel, group, c);
  return layout.zero == ZeroKind::kMin ? scale * code + zero : scale * (code - zero);
}

void DequantizeChannel(const PanelLayout& layout, const std::byte* packed, int64_t channel, float factor, float* out) {
  const std::byte* panel = packed + channel / kPanelChannels * layout.panel_bytes;
  for (int64_t k = 0; k < layout.k; ++k) out[k] = WeightAt(layout, panel, k, channel % kPanelChannels) * factor;
}

bool CpuMultipliesBf16() {
  static const bool yes = __builtin_cpu_supports("avx512bf16");
  return yes;
}

}  // namespace ingot::kernels
