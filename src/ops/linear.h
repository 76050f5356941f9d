// Products with packed weights: y = x · Wᵀ + bias.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ops/context.h"
#include "tensor/weight_source.h"

namespace ingot::ops {

// A weight matrix in a backend's own layout (Backend::Prepack). Moves cheaply.
class PackedWeight {
 public:
  // What the backend knows of the layout.
  struct Layout {
    virtual ~Layout() = default;
  };
  struct Parts {
    int64_t out_features, in_features;
    Format source_format, format;
    int64_t bytes;
    std::unique_ptr<const Layout> layout;
    Buffer data;
  };

  PackedWeight() = default;
  explicit PackedWeight(Parts parts) : parts_(std::move(parts)) {}
  // An outline, and contents() of the same weight that was packed before.
  PackedWeight(PackedWeight outline, Buffer contents) : parts_(std::move(outline.parts_)) {
    parts_.data = std::move(contents);
  }
  bool empty() const { return out_features() == 0; }
  bool is_outline() const { return parts_.data.data() == nullptr; }     // shape, formats and size alone
  int64_t out_features() const { return parts_.out_features; }          // N
  int64_t in_features() const { return parts_.in_features; }            // K
  const Format& source_format() const { return parts_.source_format; }  // as the checkpoint has it
  const Format& format() const { return parts_.format; }  // as it is held: the same, or the next wider with a kernel
  int64_t bytes() const { return parts_.bytes; }          // held, or of an outline what would be
  const Layout* layout() const { return parts_.layout.get(); }
  const std::byte* data() const { return parts_.data.data(); }
  // All of data(), Backend::PackedBytes of it: without pointers, so that it may be stored.
  std::span<const std::byte> contents() const { return {data(), static_cast<size_t>(parts_.data.size())}; }

 private:
  Parts parts_{};
};

// Products that share their input and whose outputs lie side by side: Q, K and V; gate and up.
// y = x · [W0; W1; …]ᵀ + bias. One matrix, unless the checkpoint stores its parts in different formats.
struct FusedLinear {
  std::vector<PackedWeight> parts;
  Tensor bias;  // f32 [out_features], or empty

  int64_t in_features() const { return parts.empty() ? 0 : parts[0].in_features(); }
  int64_t out_features() const;
};

// y[m][n] = Σ_k x[m][k] · W[n][k] + bias[n].   Row m depends on row m of x alone, bit for bit, whatever M is.
// x: [M, K] of the activation dtype, y: [M, N] of that or f32. Scratch: Backend::LinearBytes.
void Linear(const Context& context, const TensorView& x, const FusedLinear& weight, const TensorView& y);
// The same with one matrix, which may serve Embed too, and no bias.
void Linear(const Context& context, const TensorView& x, const PackedWeight& weight, const TensorView& y);

// Tokens of a mixture, sorted by the expert they go to.  T tokens, k experts each, R = T · k rows, E experts
struct Routing {
  TensorView ids;           // i32 [T, k] experts in rank order
  TensorView weights;       // f32 [T, k]
  TensorView row_of;        // i32 [T, k] where the token's row of that rank lies
  TensorView token_of;      // i32 [R]
  TensorView expert_begin;  // i32 [E + 1]: rows of expert e are [expert_begin[e], expert_begin[e + 1])
};
// Rows of expert e times experts[e].   x: [R, K], y: [R, N]
void ExpertLinear(const Context& context, const TensorView& x, const Routing& routing,
                  std::span<const FusedLinear> experts, const TensorView& y);

}  // namespace ingot::ops
