#include "lite/layer.h"

#include <algorithm>

#include "base/check.h"
#include "lite/matrices.h"

namespace ingot::lite {

using models::LinearInput;
using models::Role;

std::vector<models::RoleTensor> TensorsOf(const std::vector<models::RoleTensor>& all, int layer) {
  std::vector<models::RoleTensor> tensors;
  std::ranges::copy_if(all, std::back_inserter(tensors), [layer](const auto& tensor) { return tensor.layer == layer; });
  return tensors;
}

Layer::Layer(std::vector<models::RoleTensor> tensors, const models::ModelSpec& spec) : tensors_(std::move(tensors)) {
  AddAttention(spec.heads());
  Find(Role::kRouter) ? AddMixture(spec) : AddMlp(spec);
}

std::optional<size_t> Layer::Find(Role role, int expert) const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].role == role && tensors_[i].expert == expert) return i;
  }
  return std::nullopt;
}

void Layer::AddGroup(Group group, std::span<const Role> roles) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const bool is_of_all = group.input == LinearInput::kRouter;
    for (const Role role : roles) {
      if (tensors_[i].role == role && tensors_[i].matrix && (is_of_all || tensors_[i].expert == group.expert))
        group.matrices.push_back(i);
    }
  }
  INGOT_CHECK(!group.matrices.empty());
  groups_.push_back(std::move(group));
}

void Layer::AddAttention(const models::LayerSpec& heads) {
  constexpr Role kQkvRoles[] = {Role::kQ, Role::kK, Role::kV, Role::kQkv};
  constexpr Role kORoles[] = {Role::kO};
  AddGroup({.input = LinearInput::kQkv, .norm = Find(Role::kAttentionNorm)}, kQkvRoles);
  Group o{.input = LinearInput::kO, .matrix = Find(Role::kV)};
  if (!o.matrix) {
    o.matrix = Find(Role::kQkv);
    o.first_row = heads.q_rows() + heads.k_rows();
  }
  if (const int sharing = heads.num_heads / heads.num_kv_heads, dim = heads.value_head_dim; sharing > 1) {
    for (int head = 0; head < heads.num_heads; ++head) {
      for (int i = 0; i < dim; ++i) o.pools.push_back(head / sharing * dim + i);
    }
  }
  AddGroup(std::move(o), kORoles);
}

void Layer::AddMlp(const models::ModelSpec& spec) {
  constexpr Role kGateUpRoles[] = {Role::kGate, Role::kUp, Role::kGateUp};
  constexpr Role kDownRoles[] = {Role::kDown};
  AddGroup({.input = LinearInput::kGateUp, .norm = Find(Role::kMlpNorm)}, kGateUpRoles);
  Group down{.input = LinearInput::kDown, .matrix = Find(Role::kUp)};
  if (!down.matrix) {
    down.matrix = Find(Role::kGateUp);
    down.first_row = spec.intermediate_size;
  }
  AddGroup(std::move(down), kDownRoles);
}

void Layer::AddMixture(const models::ModelSpec& spec) {
  constexpr Role kInRoles[] = {Role::kRouter, Role::kExpertGate, Role::kExpertUp};
  constexpr Role kDownRoles[] = {Role::kExpertDown};
  AddGroup({.input = LinearInput::kRouter, .norm = Find(Role::kMlpNorm)}, kInRoles);
  for (int expert = 0; expert < spec.num_experts; ++expert) {
    AddGroup({.input = LinearInput::kDown, .expert = expert, .matrix = Find(Role::kExpertUp, expert)}, kDownRoles);
  }
}

void Layer::Merge(const Group& group, std::span<const float> scale) {
  INGOT_CHECK(group.can_merge() && std::ssize(scale) == ChannelsOf(group));
  for (const size_t i : group.matrices) {
    tensors_[i].matrix = ScaledMatrix(tensors_[i].matrix, {}, {scale.begin(), scale.end()});
  }
  if (group.norm) {
    std::vector<float>& norm = tensors_[*group.norm].numbers;
    for (size_t c = 0; c < scale.size(); ++c) norm[c] /= scale[c];
    return;
  }
  models::RoleTensor& producer = tensors_[*group.matrix];
  std::vector<float> rows(static_cast<size_t>(producer.matrix->rows()), 1.0f);
  for (size_t c = 0; c < scale.size(); ++c) {
    float& row = rows[static_cast<size_t>(group.first_row + group.RowOf(c))];
    INGOT_CHECK(row == 1.0f || row == 1.0f / scale[c]);
    row = 1.0f / scale[c];
  }
  for (size_t row = 0; row < producer.numbers.size(); ++row) producer.numbers[row] *= rows[row];
  producer.matrix = ScaledMatrix(producer.matrix, std::move(rows), {});
}

}  // namespace ingot::lite
