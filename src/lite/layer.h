// A layer's tensors as a quantizer sees them: matrices in groups that share an input, and what produces that input.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "models/decoder_layers.h"
#include "models/roles.h"

namespace ingot::lite {

// Matrices that multiply the same input, so that one scale of that input serves them all.
struct Group {
  models::LinearInput input;
  int expert = -1;
  std::vector<size_t> matrices;  // indices into tensors()
  // What produces the input: dividing these numbers, or these rows of this matrix, divides the input. None: nothing
  // linear does.
  std::optional<size_t> norm;    // index into tensors()
  std::optional<size_t> matrix;  // index into tensors()
  int64_t first_row = 0;         // input c is row first_row + RowOf(c)
  std::vector<int32_t> pools;    // the rows, where several inputs share one, as heads of Q share one of V; else empty

  bool can_merge() const { return norm || matrix; }
  int64_t RowOf(size_t channel) const { return pools.empty() ? static_cast<int64_t>(channel) : pools[channel]; }
};

// Those of one layer, or (layer -1) those outside of layers.
std::vector<models::RoleTensor> TensorsOf(const std::vector<models::RoleTensor>& all, int layer);

class Layer {
 public:
  Layer(std::vector<models::RoleTensor> tensors, const models::ModelSpec& spec);

  const std::vector<models::RoleTensor>& tensors() const { return tensors_; }
  // In the order of the forward pass.
  const std::vector<Group>& groups() const { return groups_; }
  int64_t ChannelsOf(const Group& group) const { return tensors_[group.matrices[0]].matrix->cols(); }

  // The input of the group becomes x / scale and its matrices W · diag(scale): the layer computes what it did.
  // scale: [channels], the same for inputs that share a row.   REQUIRES: group.can_merge()
  void Merge(const Group& group, std::span<const float> scale);

 private:
  void AddGroup(Group group, std::span<const models::Role> roles);
  std::optional<size_t> Find(models::Role role, int expert = -1) const;
  void AddAttention(const models::LayerSpec& heads);
  void AddMlp(const models::ModelSpec& spec);
  void AddMixture(const models::ModelSpec& spec);

  std::vector<models::RoleTensor> tensors_;
  std::vector<Group> groups_;
};

}  // namespace ingot::lite
