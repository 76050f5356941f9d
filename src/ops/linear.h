// Products with packed weights: y = x · Wᵀ + bias.
#pragma once

#include <cstdint>
#include <span>

#include "ops/context.h"
#include "tensor/weight_source.h"

namespace ingot::ops {

// A weight matrix in the tile layout of the backend: panels of 16 output channels (see kernels/gemm.h). Holds no
// pointers into itself; moves cheaply. The last panel is padded with zero weights.
class PackedWeight {
 public:
  bool empty() const { return out_features_ == 0; }
  int64_t out_features() const { return out_features_; }          // N
  int64_t in_features() const { return in_features_; }            // K
  const Format& source_format() const { return source_format_; }  // as the checkpoint has it
  const Format& format() const { return format_; }  // as it is held: the same, or the next wider with a kernel
  // Input j of the packed matrix is x[input_order()[j]]; empty: x[j].
  const InputOrder& input_order() const { return input_order_; }
  int64_t bytes() const { return panel_bytes() + static_cast<int64_t>(input_order_.size() * sizeof(int32_t)); }
  const std::byte* data() const { return buffer_.data(); }  // null: an outline
  const kernels::PanelLayout& layout() const { return layout_; }

 private:
  friend PackedWeight Outline(const WeightSource&);
  friend Result<PackedWeight> Prepack(const Context&, const WeightSource&);
  int64_t panel_bytes() const;  // of all panels
  int64_t out_features_ = 0, in_features_ = 0;
  Format source_format_, format_;
  kernels::PanelLayout layout_{};
  InputOrder input_order_;
  Buffer buffer_;
};

// The format in which a weight of `source` is held, and its packed size in bytes.
Format PackedFormat(const Format& source);
int64_t PackedBytes(const Format& source, int64_t out_features, int64_t in_features);

// Streams the rows of `source` into the packed layout, a few panels at a time, in parallel; lets go of the source's
// pages after. K-groups whose size does not divide in_features end in a short group (filled up with zero codes).
Result<PackedWeight> Prepack(const Context& context, const WeightSource& source);
// What Prepack would make of it, without its data: shape, formats and size. Reads nothing.
PackedWeight Outline(const WeightSource& source);

// y[m][n] = Σ_k x[m][k] · W[n][k] + bias[n].   Row m depends on row m of x alone, bit for bit, whatever M is (design
// contract 1). x: f32 [M, K], y: f32 [M, N], bias: f32 [N] or null. Scratch: LinearScratchBytes.
void Linear(const Context& context, const TensorView& x, const PackedWeight& weight, const float* bias,
            const TensorView& y);
int64_t LinearScratchBytes(int64_t max_rows, const PackedWeight& weight);

// Tokens of a batch, some of which the host does not know yet: an id, or ~slot for the token last drawn for that slot.
struct TokenIds {
  std::span<const int32_t> ids;         // [T]
  std::span<const int32_t> drawn = {};  // [slots] written by earlier work of the same stream
};

// y[i] = scale · W[ids[i]].   y: f32 [T, K]. ids in [0, N). The same table serves Embed and Linear when tied.
void Embed(const Context& context, const TokenIds& tokens, const PackedWeight& table, float scale, const TensorView& y);

}  // namespace ingot::ops
