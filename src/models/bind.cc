#include "models/bind.h"

#include <algorithm>
#include <span>

#include "base/check.h"

namespace ingot::models {
namespace {

// Where a matrix and its bias go.
ops::FusedLinear* LinearOf(const RoleTensor& tensor, LayerWeights* weights) {
  const auto of_expert = [&](std::vector<ops::FusedLinear>& linears) {
    if (std::ssize(linears) <= tensor.expert) linears.resize(static_cast<size_t>(tensor.expert) + 1);
    return &linears[static_cast<size_t>(tensor.expert)];
  };
  switch (tensor.role) {
    case Role::kQ:
    case Role::kK:
    case Role::kV:
    case Role::kQkv:
      return &weights->qkv;
    case Role::kO:
      return &weights->o;
    case Role::kGate:
    case Role::kUp:
    case Role::kGateUp:
      return &weights->gate_up;
    case Role::kDown:
      return &weights->down;
    case Role::kRouter:
      return &weights->router;
    case Role::kExpertGate:
    case Role::kExpertUp:
    case Role::kExpertGateUp:
      return of_expert(weights->expert_gate_up);
    case Role::kExpertDown:
      return of_expert(weights->expert_down);
    default:
      INGOT_CHECK(false);
  }
}

Tensor* NormOf(Role role, LayerWeights* weights) {
  switch (role) {
    case Role::kAttentionNorm:
      return &weights->attention_norm;
    case Role::kPostAttentionNorm:
      return &weights->post_attention_norm;
    case Role::kMlpNorm:
      return &weights->mlp_norm;
    case Role::kPostMlpNorm:
      return &weights->post_mlp_norm;
    case Role::kQNorm:
      return &weights->q_norm;
    case Role::kKNorm:
      return &weights->k_norm;
    default:
      INGOT_CHECK(false);
  }
}

class Packer {
 public:
  Packer(const Packing& packing, std::vector<WeightInfo>* infos) : packing_(packing), infos_(infos) {}

  Status AddAll(const std::vector<RoleTensor>& tensors, Weights* weights) {
    for (const RoleTensor& tensor : tensors) total_ += tensor.stored_bytes;
    weights->layers.resize(static_cast<size_t>(std::ranges::max(tensors, {}, &RoleTensor::layer).layer + 1));
    for (std::span<const RoleTensor> rest = tensors; !rest.empty();) {
      const RoleTensor& first = rest.front();
      if (first.layer >= 0) {
        INGOT_RETURN_IF_ERROR(AddNext(&rest, &weights->layers[static_cast<size_t>(first.layer)]));
        continue;
      }
      if (first.role == Role::kFinalNorm) {
        INGOT_ASSIGN_OR_RETURN(weights->final_norm, ops::ToDevice(packing_.backend, first.numbers));
      } else {
        ops::PackedWeight* const target = first.role == Role::kLmHead ? &weights->lm_head : &weights->embedding;
        INGOT_RETURN_IF_ERROR(Pack(first.name, first.matrix, first.stored_bytes, target));
      }
      rest = rest.subspan(1);
    }
    if (packing_.options.progress) packing_.options.progress(total_, total_);
    return {};
  }

  // The next norm or linear of a layer. A linear is one matrix where the formats of its parts agree, else one each.
  Status AddNext(std::span<const RoleTensor>* rest, LayerWeights* weights) {
    const RoleTensor& first = rest->front();
    if (!first.matrix) {
      INGOT_ASSIGN_OR_RETURN(*NormOf(first.role, weights), ops::ToDevice(packing_.backend, first.numbers));
      *rest = rest->subspan(1);
      return {};
    }
    ops::FusedLinear* const linear = LinearOf(first, weights);
    std::vector<WeightSourcePtr> sources;
    std::vector<float> bias;  // parts that are side by side have their biases side by side
    int64_t bytes = 0;
    while (sources.size() < rest->size()) {
      const RoleTensor& part = (*rest)[sources.size()];
      if (!part.matrix || part.layer != first.layer || part.expert != first.expert) break;
      if (LinearOf(part, weights) != linear) break;
      sources.push_back(part.matrix);
      bias.insert(bias.end(), part.numbers.begin(), part.numbers.end());
      bytes += part.stored_bytes;
    }
    INGOT_ASSIGN_OR_RETURN(linear->bias, ops::ToDevice(packing_.backend, bias));
    const std::span<const RoleTensor> parts = rest->first(sources.size());
    *rest = rest->subspan(sources.size());
    const WeightSourcePtr whole = sources.size() > 1 ? ConcatRows(sources) : nullptr;
    linear->parts.resize(whole ? 1 : sources.size());
    if (whole) return Pack(FusedName(first), whole, bytes, linear->parts.data());
    for (size_t i = 0; i < parts.size(); ++i) {
      INGOT_RETURN_IF_ERROR(Pack(parts[i].name, parts[i].matrix, parts[i].stored_bytes, &linear->parts[i]));
    }
    return {};
  }

 private:
  static std::string FusedName(const RoleTensor& first) {
    if (first.expert >= 0) return fmt::format("layers.{}.experts.{}.gate_up", first.layer, first.expert);
    return fmt::format("layers.{}.{}", first.layer, first.role == Role::kQ ? "qkv" : "gate_up");
  }

  Result<ops::PackedWeight> Packed(const WeightSourcePtr& source) {
    ops::Backend& backend = packing_.backend;
    if (packing_.options.outline) return backend.Outline(*source);
    if (packing_.from) {
      INGOT_ASSIGN_OR_RETURN(const uint64_t head_hash, HeadHash(backend, source));
      const int64_t bytes = backend.PackedBytes(source->format(), source->rows(), source->cols());
      INGOT_ASSIGN_OR_RETURN(Buffer contents, packing_.from->Next(bytes, head_hash));
      return ops::PackedWeight(backend.Outline(*source), std::move(contents));
    }
    INGOT_ASSIGN_OR_RETURN(ops::PackedWeight packed, backend.Prepack(*source));
    if (packing_.to) {
      INGOT_ASSIGN_OR_RETURN(const uint64_t head_hash, HeadHash(backend, source));
      packing_.to->push_back({packed.contents(), head_hash});
    }
    return packed;
  }

  Status Pack(const std::string& name, const WeightSourcePtr& source, int64_t bytes, ops::PackedWeight* target) {
    if (packing_.options.progress) packing_.options.progress(done_, total_);
    Result<ops::PackedWeight> packed = Packed(source);
    if (!packed) return packed.error().Annotate(name);
    *target = *std::move(packed);
    if (infos_) {
      infos_->push_back({name, target->out_features(), target->in_features(), target->source_format(), target->format(),
                         target->bytes()});
    }
    done_ += bytes;
    return {};
  }

  const Packing& packing_;
  std::vector<WeightInfo>* const infos_;
  int64_t total_ = 0, done_ = 0;
};

}  // namespace

Status PackWeights(const Packing& packing, const std::vector<RoleTensor>& tensors, BoundWeights* bound) {
  return Packer(packing, &bound->infos).AddAll(tensors, &bound->weights);
}

Result<LayerWeights> PackLayer(ops::Backend& backend, const std::vector<RoleTensor>& tensors) {
  LayerWeights weights;
  const LoadOptions options;
  const Packing packing{backend, options};
  Packer packer(packing, nullptr);
  for (std::span<const RoleTensor> rest = tensors; !rest.empty();) {
    INGOT_RETURN_IF_ERROR(packer.AddNext(&rest, &weights));
  }
  return weights;
}

}  // namespace ingot::models
