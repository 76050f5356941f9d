// Steps of the ops alone, with random weights and a cache of random numbers: what `ingot bench kernels` times.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace ingot::cli {

struct ModelShape {
  const char* name;
  int64_t layers, hidden, ffn, vocabulary;
  int heads, kv_heads, head_dim;
};
std::span<const ModelShape> ModelShapes();
const ModelShape& ModelShapeNamed(const std::string& name);  // REQUIRES: it is one of them

struct NamedFormat {
  const char* name;  // "q4_k"
  Format format;
};
std::span<const NamedFormat> WeightFormats();

// The products of a step with their norms and activations: all layers, or those that a GiB holds, and the head.
class ProductSteps {
 public:
  static Result<ProductSteps> Make(ops::Backend& backend, const ModelShape& shape, const Format& format);
  int64_t ScratchBytes(const ops::Backend& backend, int64_t rows) const;
  void Run(const ops::Context& context, int64_t rows) const;

 private:
  struct Layer {
    ops::PackedWeight qkv, o, gate_up, down;
  };
  ModelShape shape_;
  Tensor norm_;
  std::vector<Layer> layers_;
  ops::PackedWeight head_;
};

struct AttentionSize {
  int batch;    // sequences
  int context;  // positions of each
  int chunk;    // tokens of each that are computed: 1 when decoding
};

// Rotary embedding, cache write and attention of layers whose cache together is far larger than the machine's caches.
class AttentionSteps {
 public:
  static Result<AttentionSteps> Make(ops::Backend& backend, const ModelShape& shape, ops::KvFormat format,
                                     AttentionSize size);
  int64_t ScratchBytes(const ops::Backend& backend) const;
  void Run(const ops::Context& context);

 private:
  AttentionSize size_{};
  int64_t blocks_per_seq_ = 0;
  ops::KvView kv_;
  Buffer blocks_, tails_;
  std::vector<int32_t> block_tables_, kv_slots_, positions_, cu_seqlens_ = {0}, tail_slots_;
};

}  // namespace ingot::cli
