#include "lite/layer_weights.h"

#include "base/check.h"

namespace ingot::lite {
namespace {

using convert::Slot;
using models::FusedLinear;
using models::LayerWeights;

// Where a matrix and its bias go; null for norms.
FusedLinear* LinearOf(Slot slot, int expert, LayerWeights* weights) {
  const auto of_expert = [expert](std::vector<FusedLinear>& linears) {
    if (std::ssize(linears) <= expert) linears.resize(static_cast<size_t>(expert) + 1);
    return &linears[static_cast<size_t>(expert)];
  };
  switch (slot) {
    case Slot::kQ:
    case Slot::kK:
    case Slot::kV:
    case Slot::kQkv:
      return &weights->qkv;
    case Slot::kO:
      return &weights->o;
    case Slot::kGate:
    case Slot::kUp:
    case Slot::kGateUp:
      return &weights->gate_up;
    case Slot::kDown:
      return &weights->down;
    case Slot::kRouter:
      return &weights->router;
    case Slot::kExpertGate:
    case Slot::kExpertUp:
      return of_expert(weights->expert_gate_up);
    case Slot::kExpertDown:
      return of_expert(weights->expert_down);
    default:
      return nullptr;
  }
}

std::vector<float>* NormOf(Slot slot, LayerWeights* weights) {
  switch (slot) {
    case Slot::kAttentionNorm:
      return &weights->attention_norm;
    case Slot::kPostAttentionNorm:
      return &weights->post_attention_norm;
    case Slot::kMlpNorm:
      return &weights->mlp_norm;
    case Slot::kPostMlpNorm:
      return &weights->post_mlp_norm;
    case Slot::kQNorm:
      return &weights->q_norm;
    case Slot::kKNorm:
      return &weights->k_norm;
    default:
      return nullptr;
  }
}

}  // namespace

Result<LayerWeights> PackLayer(const ops::Context& context, const std::vector<convert::CanonicalTensor>& tensors) {
  LayerWeights weights;
  for (const convert::CanonicalTensor& tensor : tensors) {
    if (std::vector<float>* norm = NormOf(tensor.slot, &weights)) {
      *norm = tensor.numbers;
      continue;
    }
    FusedLinear* linear = LinearOf(tensor.slot, tensor.expert, &weights);
    INGOT_CHECK(linear != nullptr);
    if (tensor.matrix == nullptr) {
      // Parts that lie side by side have their biases side by side.
      linear->bias.insert(linear->bias.end(), tensor.numbers.begin(), tensor.numbers.end());
      continue;
    }
    INGOT_ASSIGN_OR_RETURN(ops::PackedWeight part, ops::Prepack(context, *tensor.matrix));
    linear->parts.push_back(std::move(part));
  }
  return weights;
}

}  // namespace ingot::lite
