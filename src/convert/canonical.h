// A checkpoint's tensors as what they are, whatever they are called, however they are fused and ordered.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/checkpoint.h"
#include "models/checkpoint_names.h"
#include "models/families.h"
#include "models/model_spec.h"

namespace ingot::convert {

enum class Slot : uint8_t {
  kEmbedding,
  kFinalNorm,
  kLmHead,
  kAttentionNorm,
  kPostAttentionNorm,
  kMlpNorm,
  kPostMlpNorm,
  kQ,
  kK,
  kV,
  kQkv,
  kQNorm,
  kKNorm,
  kO,
  kGate,
  kUp,
  kGateUp,
  kDown,
  kRouter,
  kExpertGate,
  kExpertUp,
  kExpertDown,
};

struct CanonicalTensor {
  Slot slot;
  int layer = -1, expert = -1;
  // A matrix, its rows in the order Ingot works with (rotary halves apart, nothing grouped); or numbers: a norm as it
  // multiplies (Gemma's one added), or a bias.
  WeightSourcePtr matrix;
  std::vector<float> numbers;

  bool is_bias() const;  // numbers of a slot that has a matrix
  bool is_norm() const { return matrix == nullptr && !is_bias(); }
};

bool IsNormSlot(Slot slot);

// Every tensor of the text model, layer by layer. The checkpoint was checked against the spec before
// (models::CheckWeights). What is grouped (InternLM2's wqkv) or stacked (experts) comes apart; Phi-3's fused Q, K, V
// and gate, up stay fused, as both of its forms have them.
Result<std::vector<CanonicalTensor>> ReadCanonical(const formats::Checkpoint& checkpoint,
                                                   const models::ModelSpec& spec);

// Those of one layer, or (layer -1) those outside of layers, of a checkpoint that may lack all else. `names` says how
// it names them.
Result<std::vector<CanonicalTensor>> ReadCanonicalLayer(const formats::Checkpoint& checkpoint,
                                                        const models::ModelSpec& spec,
                                                        const models::CheckpointNames& names, int layer);

// The pattern of a slot's name in a table; null where the table has none.
const char* PatternOf(const models::NameTable& table, Slot slot);

}  // namespace ingot::convert
