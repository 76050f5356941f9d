// Weights into panels (kernels/gemm.h).
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/gemm.h"
#include "kernels/reference/packed.h"
#include "ops/cpu/backend.h"
#include "ops/panels.h"

namespace ingot::ops {
namespace {

using kernels::kPanelChannels;
using kernels::PanelLayout;
using kernels::WeightKind;

// Up to 16 of the rows that were read, on their way into one panel.
struct PanelRows {
  const WeightRows& rows;
  int64_t begin, count;  // in rows.rows
  const PanelLayout& layout;
  std::byte* panel;
};

// Codes with a midpoint of 2^(bits-1) move to that of the wider kind, so that the format held says it all.
uint8_t MidpointShift(const PanelRows& p) {
  if (p.layout.zero != kernels::ZeroKind::kMidpoint || p.layout.coded) return 0;
  return static_cast<uint8_t>(p.layout.midpoint - (1 << (p.rows.format.bits - 1)));
}

// Codes of 32 inputs of one channel, from where the first of them is.
void PlaceQuads(const PanelLayout& layout, uint8_t* group, std::byte* out) {
  if (layout.kind == WeightKind::kInt8) {
    for (int64_t quad = 0; quad < 8; ++quad) std::memcpy(out + quad * 64, group + quad * 4, 4);
    return;
  }
  for (int64_t i = 0; i < 16; ++i) group[i] = static_cast<uint8_t>(group[i] | group[16 + i] << 4);
  for (int64_t quad = 0; quad < 4; ++quad) std::memcpy(out + quad * 64, group + quad * 4, 4);
}

// Codes of one channel, 32 inputs at a time.
void PackCodes(const PanelRows& p, int64_t c) {
  const uint8_t shift = MidpointShift(p);
  const uint8_t* codes = p.rows.codes.data() + (p.begin + c) * p.rows.cols;
  std::byte* to = p.panel + kernels::CodeOffset(p.layout, 0, c);
  const int64_t stride = kernels::CodeOffset(p.layout, 32, c) - kernels::CodeOffset(p.layout, 0, c);
  for (int64_t k = 0; k < p.rows.cols; k += 32, to += stride) {
    uint8_t group[32] = {};
    const int64_t count = std::min<int64_t>(32, p.rows.cols - k);
    for (int64_t i = 0; i < count; ++i) group[i] = static_cast<uint8_t>(codes[k + i] + shift);
    PlaceQuads(p.layout, group, to);
  }
}

template <typename T>
void Store(std::byte* at, int64_t index, T value) {
  std::memcpy(at + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

// One number per group of channel c, as the layout's scale kind has it.
struct Numbers {
  const std::vector<float>&exact, &super;  // [rows, groups], [rows, supers]
  const std::vector<int16_t>& codes;       // [rows, groups]
  int64_t values_offset, codes_offset;     // in the panel
};
void PackNumbers(const PanelRows& p, const Numbers& numbers, int64_t c) {
  const int64_t groups = static_cast<int64_t>(numbers.exact.size()) / p.rows.rows, row = p.begin + c;
  std::byte* values = p.panel + numbers.values_offset;
  if (p.layout.scale == kernels::ScaleKind::kSuper) {
    for (int64_t s = 0; s < p.layout.supers; ++s) {
      Store(values, s * kPanelChannels + c, F32ToF16(numbers.super[row * p.layout.supers + s]));
    }
    for (int64_t g = 0; g < groups; ++g) {
      const auto code = static_cast<int8_t>(numbers.codes[row * groups + g]);
      Store(p.panel + numbers.codes_offset, g * kPanelChannels + c, code);
    }
    return;
  }
  if (p.layout.scale == kernels::ScaleKind::kE8M0) {
    for (int64_t g = 0; g < groups; ++g) {
      Store(values, g * kPanelChannels + c, static_cast<uint8_t>(numbers.codes[row * groups + g]));
    }
    return;
  }
  for (int64_t g = 0; g < groups; ++g) {
    const float value = numbers.exact[row * groups + g];
    if (p.layout.scale == kernels::ScaleKind::kF32) Store(values, g * kPanelChannels + c, value);
    if (p.layout.scale == kernels::ScaleKind::kF16) Store(values, g * kPanelChannels + c, F32ToF16(value));
  }
}

void PackQuantized(const PanelRows& p) {
  const WeightRows& rows = p.rows;
  for (int64_t c = 0; c < p.count; ++c) {
    PackCodes(p, c);
    PackNumbers(p, {rows.scale, rows.super_scale, rows.scale_code, p.layout.scale_offset, p.layout.scale_code_offset},
                c);
    if (p.layout.zero == kernels::ZeroKind::kMin) {
      PackNumbers(p, {rows.zero, rows.super_min, rows.min_code, p.layout.zero_offset, p.layout.zero_code_offset}, c);
    }
    if (p.layout.zero == kernels::ZeroKind::kInteger) {
      const int64_t groups = static_cast<int64_t>(rows.zero.size()) / rows.rows;
      for (int64_t g = 0; g < groups; ++g) {
        const auto zero = static_cast<uint8_t>(rows.zero[(p.begin + c) * groups + g]);
        Store(p.panel + p.layout.zero_offset, g * kPanelChannels + c, zero);
      }
    }
  }
}

void PackDense(const PanelRows& p) {
  for (int64_t c = 0; c < p.count; ++c) {
    const float* from = p.rows.dense.data() + (p.begin + c) * p.rows.cols;
    for (int64_t k = 0; k < p.rows.cols; ++k) {
      const int64_t index = kernels::DenseIndex(p.layout, k, c);
      switch (p.layout.kind) {
        case WeightKind::kF32:
          Store(p.panel, index, from[k]);
          break;
        case WeightKind::kF16:
          Store(p.panel, index, F32ToF16(from[k]));
          break;
        default:
          Store(p.panel, index, F32ToBF16(from[k]));
      }
    }
  }
}

}  // namespace

Format PanelFormat(const Format& source) {
  Format held = source;
  if (source.quantized()) held.bits = source.bits <= 4 ? 4 : 8;
  return held;
}

int64_t PanelBytes(const Format& source, int64_t out_features, int64_t in_features) {
  return PanelsOf(out_features) * kernels::LayoutOf(PanelFormat(source), in_features).panel_bytes;
}

PackedWeight::Parts PanelParts(const WeightSource& source) {
  const Format held = PanelFormat(source.format());
  auto layout = std::make_unique<PanelPackedLayout>();
  layout->panel = kernels::LayoutOf(held, source.cols());
  if (const auto order = source.input_order()) layout->input_order = *order;
  const int64_t order_bytes = std::ssize(layout->input_order) * static_cast<int64_t>(sizeof(int32_t));
  return {.out_features = source.rows(),
          .in_features = source.cols(),
          .source_format = source.format(),
          .format = held,
          .bytes = PanelsOf(source.rows()) * layout->panel.panel_bytes + order_bytes,
          .layout = std::move(layout),
          .data = {}};
}

// K-groups whose size does not divide in_features end in a short group, filled up with zero codes.
void PackPanels(ThreadPool& pool, const WeightSource& source, const PanelLayout& layout, std::byte* panels) {
  ForEachPanel(pool, source, [&](const WeightRows& rows, int64_t begin, int64_t panel) {
    const int64_t count = std::min<int64_t>(kPanelChannels, rows.rows - begin);
    const PanelRows part{rows, begin, count, layout, panels + panel * layout.panel_bytes};
    layout.quantized() ? PackQuantized(part) : PackDense(part);
  });
}

Format CpuBackend::HeldFormat(const Format& source) const { return PanelFormat(source); }

int64_t CpuBackend::PackedBytes(const Format& source, int64_t out_features, int64_t in_features) const {
  return PanelBytes(source, out_features, in_features);
}

std::string CpuBackend::packing() const {
  return fmt::format("panels {} {}", kPackingVersion, kernels::IsaName(kernels_.isa));
}

PackedWeight CpuBackend::Outline(const WeightSource& source) const { return PackedWeight(PanelParts(source)); }

Result<PackedWeight> CpuBackend::Prepack(const WeightSource& source) {
  PackedWeight::Parts parts = PanelParts(source);
  const PanelLayout& layout = static_cast<const PanelPackedLayout&>(*parts.layout).panel;
  INGOT_ASSIGN_OR_RETURN(parts.data, Buffer::Allocate(PanelsOf(source.rows()) * layout.panel_bytes));
  PackPanels(pool_, source, layout, parts.data.data());
  return PackedWeight(std::move(parts));
}

}  // namespace ingot::ops
