// From a checkpoint to the roles that its tensors play in the model: which tensor it is, and what to do to it. The one
// place that knows; what binds, converts and quantizes reads its result.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "models/families.h"
#include "models/model_spec.h"
#include "models/weight_names.h"

namespace ingot::models {

// A tensor that a spec asks for.
struct RoleSize {
  Role role;
  int64_t rows;
  int64_t cols = 0;  // 0: a norm of `rows` numbers
  bool bias = false;
};
// Those of a layer, or (layer -1) those outside of layers: the embedding comes first. An expert's come last, and once.
std::vector<RoleSize> RolesOf(const ModelSpec& spec, int layer);

// Norms are all roles without a matrix.
bool IsNorm(Role role);
// Embedding, head and routers stay as they are where matrices are quantized.
bool IsQuantized(Role role);
// The roles that one with several stands for: Q, K and V of kQkv; else none.
std::vector<Role> PartsOf(Role role);

// How a checkpoint names and orders its tensors.
struct CheckpointNames {
  const NameTable* table;
  NameTable::Prefix prefix;
  bool interleaved;  // rows of Q and K as GGUF's Llama has them

  // The name without what follows the pattern.
  std::string NameOf(const TensorName& name, int64_t layer, int64_t expert = -1) const;
  // For row i of the order that Ingot works with, the row of the stored Q or K. Empty: as they are.
  std::vector<int32_t> RowOrder(const ModelSpec& spec, int layer, Role role) const;
};
// The first of the family's tables, under the first of its prefixes, whose tensors are there. kInvalidArgument names
// what was looked for.
Result<CheckpointNames> ChooseNames(const formats::Checkpoint& checkpoint, const ModelSpec& spec);

struct RoleTensor {
  Role role;
  int layer = -1, expert = -1;
  // Rows in the order that Ingot works with: rotary halves apart, nothing grouped or stacked.
  WeightSourcePtr matrix;
  std::vector<float> numbers;  // the matrix's bias, or empty; without a matrix: a norm as it multiplies
  std::string name;            // in the checkpoint
  int64_t stored_bytes = 0;    // of the matrix
};

// Every tensor of the text model: those outside of layers except the embedding come after the layers. What is grouped
// (InternLM2's wqkv) or stacked (experts) comes apart; Phi-3's fused Q, K, V and gate, up stay fused, as both of its
// forms have them. kInvalidArgument: a tensor is missing or of another shape, or one is left over.
Result<std::vector<RoleTensor>> ReadRoles(const formats::Checkpoint& checkpoint, const ModelSpec& spec);
// Those of one layer, or (layer -1) those outside of layers, of a checkpoint that may lack all else.
Result<std::vector<RoleTensor>> ReadLayerRoles(const formats::Checkpoint& checkpoint, const ModelSpec& spec,
                                               const CheckpointNames& names, int layer);

// Orders of stored rows: for row i of the order that Ingot works with, the row of the stored matrix.
// GGUF's Llama writes each head so that neighbours (2j, 2j + 1) rotate together. Here pairs are (j, j + rotary_dim /
// 2).
std::vector<int32_t> SplitHalvesRows(int num_heads, int head_dim, int rotary_dim);
// InternLM2's wqkv holds, per KV head, its query heads, its K and its V. Here Q, K and V are one below the other.
std::vector<int32_t> UngroupedQkvRows(const LayerSpec& layer);

}  // namespace ingot::models
