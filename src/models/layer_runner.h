// A model one layer at a time, over whole sequences: what a quantizer needs, which cannot hold all weights. The layers
// are those of Decoder, so what is computed is the same, bit for bit.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "models/decoder_layers.h"
#include "models/model.h"

namespace ingot::models {

// The hidden states of one sequence between layers, from its first position on: [T, hidden_size].
using HiddenStates = std::vector<float>;

struct RunnerOptions {
  ops::Compute compute = ops::Compute::kExact;
  ops::KvFormat kv_format = ops::KvFormat::kF16;
};

// Thread safety: none.
class LayerRunner {
 public:
  // `spec` and `backend` outlive it.
  LayerRunner(const ModelSpec& spec, const RunnerOptions& options, ops::Backend& backend);

  // The embedding of a sequence. REQUIRES: ids in [0, vocab_size).
  Result<HiddenStates> Embed(std::span<const int32_t> token_ids, const ops::PackedWeight& table);
  // hidden → hidden. `tap` sees the inputs of the layer's linears; may be null.
  Status Run(int layer, const LayerWeights& weights, HiddenStates* hidden, const LinearTap* tap = nullptr);
  struct Head {
    const Tensor& final_norm;         // f32 [hidden_size]
    const ops::PackedWeight& weight;  // [vocab_size, hidden_size]
  };
  struct Positions {
    int64_t begin, end;
  };
  // logits: [end - begin, vocab_size]
  Status Logits(const HiddenStates& hidden, const Head& head, Positions positions, std::vector<float>* logits);

 private:
  // Memory and batch for a sequence of `num_tokens`; products take `product_bytes`, logits as many rows of the scratch.
  Status Prepare(int64_t num_tokens, Positions logits, int64_t product_bytes);
  std::vector<float> Download(const TensorView& x);
  int64_t TokensOf(const HiddenStates& hidden) const;

  const ModelSpec& spec_;
  const RunnerOptions options_;
  ops::Backend& backend_;
  std::optional<DecoderLayers> layers_;  // once something was run
  ops::Scratch scratch_;
  ops::Context context_;
  Buffer kv_bytes_, tail_bytes_;
  ops::KvView kv_;
  // Of the step under way.
  std::vector<int32_t> positions_, cu_seqlens_, block_table_, kv_slots_, logits_rows_, tail_slots_;
  ops::KvGroupBatch group_;
  ops::StepBatch batch_;
};

}  // namespace ingot::models
