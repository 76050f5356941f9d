#include "lite/layer.h"

#include <algorithm>

#include "base/check.h"
#include "lite/matrices.h"

namespace ingot::lite {

using convert::Slot;
using models::LinearInput;

bool IsQuantizedSlot(Slot slot) {
  switch (slot) {
    case Slot::kQ:
    case Slot::kK:
    case Slot::kV:
    case Slot::kQkv:
    case Slot::kO:
    case Slot::kGate:
    case Slot::kUp:
    case Slot::kGateUp:
    case Slot::kDown:
    case Slot::kExpertGate:
    case Slot::kExpertUp:
    case Slot::kExpertDown:
      return true;
    default:
      return false;
  }
}

std::vector<convert::CanonicalTensor> TensorsOf(const std::vector<convert::CanonicalTensor>& all, int layer) {
  std::vector<convert::CanonicalTensor> tensors;
  std::ranges::copy_if(all, std::back_inserter(tensors), [layer](const auto& tensor) { return tensor.layer == layer; });
  return tensors;
}

Layer::Layer(std::vector<convert::CanonicalTensor> tensors, const models::ModelSpec& spec)
    : tensors_(std::move(tensors)) {
  AddAttention(spec);
  Find(Slot::kRouter) ? AddMixture(spec) : AddMlp(spec);
}

// The norm of that slot, or the matrix.
std::optional<size_t> Layer::Find(Slot slot, int expert) const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].slot == slot && tensors_[i].expert == expert && !tensors_[i].is_bias()) return i;
  }
  return std::nullopt;
}

void Layer::AddGroup(Group group, std::span<const Slot> slots) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const bool is_of_all = group.input == LinearInput::kRouter;
    for (const Slot slot : slots) {
      if (tensors_[i].slot == slot && tensors_[i].matrix && (is_of_all || tensors_[i].expert == group.expert))
        group.matrices.push_back(i);
    }
  }
  INGOT_CHECK(!group.matrices.empty());
  groups_.push_back(std::move(group));
}

void Layer::AddAttention(const models::ModelSpec& spec) {
  constexpr Slot kQkvSlots[] = {Slot::kQ, Slot::kK, Slot::kV, Slot::kQkv};
  constexpr Slot kOSlots[] = {Slot::kO};
  AddGroup({.input = LinearInput::kQkv, .norm = Find(Slot::kAttentionNorm)}, kQkvSlots);
  Group o{.input = LinearInput::kO, .matrix = Find(Slot::kV)};
  if (!o.matrix) {
    o.matrix = Find(Slot::kQkv);
    o.first_row = int64_t{spec.num_heads + spec.num_kv_heads} * spec.head_dim;
  }
  if (const int sharing = spec.num_heads / spec.num_kv_heads; sharing > 1) {
    for (int head = 0; head < spec.num_heads; ++head) {
      for (int i = 0; i < spec.head_dim; ++i) o.pools.push_back(head / sharing * spec.head_dim + i);
    }
  }
  AddGroup(std::move(o), kOSlots);
}

void Layer::AddMlp(const models::ModelSpec& spec) {
  constexpr Slot kGateUpSlots[] = {Slot::kGate, Slot::kUp, Slot::kGateUp};
  constexpr Slot kDownSlots[] = {Slot::kDown};
  AddGroup({.input = LinearInput::kGateUp, .norm = Find(Slot::kMlpNorm)}, kGateUpSlots);
  Group down{.input = LinearInput::kDown, .matrix = Find(Slot::kUp)};
  if (!down.matrix) {
    down.matrix = Find(Slot::kGateUp);
    down.first_row = spec.intermediate_size;
  }
  AddGroup(std::move(down), kDownSlots);
}

void Layer::AddMixture(const models::ModelSpec& spec) {
  constexpr Slot kInSlots[] = {Slot::kRouter, Slot::kExpertGate, Slot::kExpertUp};
  constexpr Slot kDownSlots[] = {Slot::kExpertDown};
  AddGroup({.input = LinearInput::kRouter, .norm = Find(Slot::kMlpNorm)}, kInSlots);
  for (int expert = 0; expert < spec.num_experts; ++expert) {
    AddGroup({.input = LinearInput::kDown, .expert = expert, .matrix = Find(Slot::kExpertUp, expert)}, kDownSlots);
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
  convert::CanonicalTensor& producer = tensors_[*group.matrix];
  std::vector<float> rows(static_cast<size_t>(producer.matrix->rows()), 1.0f);
  for (size_t c = 0; c < scale.size(); ++c) {
    float& row = rows[static_cast<size_t>(group.first_row + group.RowOf(c))];
    INGOT_CHECK(row == 1.0f || row == 1.0f / scale[c]);
    row = 1.0f / scale[c];
  }
  for (convert::CanonicalTensor& tensor : tensors_) {
    if (tensor.slot != producer.slot || tensor.expert != producer.expert || !tensor.is_bias()) continue;
    for (size_t c = 0; c < rows.size(); ++c) tensor.numbers[c] *= rows[c];
  }
  producer.matrix = ScaledMatrix(producer.matrix, std::move(rows), {});
}

}  // namespace ingot::lite
