#include "convert/canonical.h"

#include "models/row_order.h"

namespace ingot::convert {
namespace {

using models::ModelSpec;
using models::NameTable;
using models::Numbered;

std::vector<float> TakeRows(const std::vector<float>& values, const std::vector<int32_t>& index) {
  std::vector<float> taken;
  taken.reserve(index.size());
  for (const int32_t i : index) taken.push_back(values[static_cast<size_t>(i)]);
  return taken;
}

class Reader {
 public:
  Reader(const formats::Checkpoint& checkpoint, const ModelSpec& spec, models::CheckpointNames names)
      : checkpoint_(checkpoint), spec_(spec), names_(names), table_(*names.table) {}

  Result<std::vector<CanonicalTensor>> ReadAll() {
    INGOT_RETURN_IF_ERROR(ReadPlain(Slot::kEmbedding, -1));
    for (int layer = 0; layer < spec_.num_layers; ++layer) INGOT_RETURN_IF_ERROR(ReadLayer(layer));
    INGOT_RETURN_IF_ERROR(ReadEnd());
    return std::move(tensors_);
  }
  Result<std::vector<CanonicalTensor>> ReadOne(int layer) {
    if (layer >= 0) {
      INGOT_RETURN_IF_ERROR(ReadLayer(layer));
      return std::move(tensors_);
    }
    INGOT_RETURN_IF_ERROR(ReadPlain(Slot::kEmbedding, -1));
    INGOT_RETURN_IF_ERROR(ReadEnd());
    return std::move(tensors_);
  }

 private:
  std::string Name(const char* pattern, int layer, int expert = -1) const {
    return names_.prefix.body + Numbered(pattern, layer, expert);
  }
  bool Has(const std::string& name) const { return checkpoint_.Find(name + ".weight") != nullptr; }

  // A tensor and its bias, where they are; `order` gives for each row the stored one (empty: as they are).
  Status ReadNamed(const std::string& name, Slot slot, int layer, const std::vector<int32_t>& order) {
    if (IsNormSlot(slot)) {
      if (!Has(name)) return {};
      INGOT_ASSIGN_OR_RETURN(auto numbers, checkpoint_.Floats(name + ".weight"));
      if (spec_.norm_plus_one) {
        for (float& weight : numbers) weight += 1.0f;
      }
      tensors_.push_back({slot, layer, -1, nullptr, std::move(numbers)});
      return {};
    }
    if (!Has(name)) return {};
    INGOT_ASSIGN_OR_RETURN(auto matrix, checkpoint_.Weight(name + ".weight"));
    tensors_.push_back({slot, layer, -1, order.empty() ? matrix : SelectRows(matrix, order), {}});
    if (checkpoint_.Find(name + ".bias") == nullptr) return {};
    INGOT_ASSIGN_OR_RETURN(auto bias, checkpoint_.Floats(name + ".bias"));
    tensors_.push_back({slot, layer, -1, nullptr, order.empty() ? std::move(bias) : TakeRows(bias, order)});
    return {};
  }

  Status ReadPlain(Slot slot, int layer, const std::vector<int32_t>& order = {}) {
    const char* pattern = PatternOf(table_, slot);
    return pattern == nullptr ? Status() : ReadNamed(Name(pattern, layer), slot, layer, order);
  }

  Status ReadEnd() {
    INGOT_RETURN_IF_ERROR(ReadPlain(Slot::kFinalNorm, -1));
    if (spec_.tied_embeddings) return {};
    return ReadNamed(names_.prefix.head + std::string(table_.lm_head), Slot::kLmHead, -1, {});
  }

  Status ReadLayer(int layer) {
    for (const Slot slot : {Slot::kAttentionNorm, Slot::kPostAttentionNorm, Slot::kQNorm, Slot::kKNorm})
      INGOT_RETURN_IF_ERROR(ReadPlain(slot, layer));
    INGOT_RETURN_IF_ERROR(ReadQkv(layer));
    for (const Slot slot : {Slot::kO, Slot::kMlpNorm, Slot::kPostMlpNorm})
      INGOT_RETURN_IF_ERROR(ReadPlain(slot, layer));
    return spec_.layers[static_cast<size_t>(layer)].moe ? ReadExperts(layer) : ReadMlp(layer);
  }

  Status ReadQkv(int layer) {
    if (table_.qkv_grouped != nullptr) return ReadGroupedQkv(layer);
    if (table_.qkv != nullptr && Has(Name(table_.qkv, layer))) return ReadPlain(Slot::kQkv, layer);
    const auto order = [&](int heads) {
      return names_.interleaved ? models::SplitHalvesRows(heads, spec_.head_dim, spec_.rotary_dim)
                                : std::vector<int32_t>();
    };
    INGOT_RETURN_IF_ERROR(ReadPlain(Slot::kQ, layer, order(spec_.num_heads)));
    INGOT_RETURN_IF_ERROR(ReadPlain(Slot::kK, layer, order(spec_.num_kv_heads)));
    return ReadPlain(Slot::kV, layer);
  }

  Status ReadGroupedQkv(int layer) {
    const std::string name = Name(table_.qkv_grouped, layer);
    const std::vector<int32_t> order = models::UngroupedQkvRows(spec_.num_heads, spec_.num_kv_heads, spec_.head_dim);
    auto row = order.begin();
    for (const auto& [slot, heads] :
         {std::pair{Slot::kQ, spec_.num_heads}, {Slot::kK, spec_.num_kv_heads}, {Slot::kV, spec_.num_kv_heads}}) {
      const auto end = row + heads * spec_.head_dim;
      INGOT_RETURN_IF_ERROR(ReadNamed(name, slot, layer, std::vector<int32_t>(row, end)));
      row = end;
    }
    return {};
  }

  Status ReadMlp(int layer) {
    const bool is_fused =
        !Has(Name(table_.gate, layer)) && table_.gate_up != nullptr && Has(Name(table_.gate_up, layer));
    if (is_fused) {
      INGOT_RETURN_IF_ERROR(ReadPlain(Slot::kGateUp, layer));
    } else {
      INGOT_RETURN_IF_ERROR(ReadPlain(Slot::kGate, layer));
      INGOT_RETURN_IF_ERROR(ReadPlain(Slot::kUp, layer));
    }
    return ReadPlain(Slot::kDown, layer);
  }

  Status ReadExperts(int layer) {
    INGOT_RETURN_IF_ERROR(ReadPlain(Slot::kRouter, layer));
    if (table_.expert_gate != nullptr && Has(Name(table_.expert_gate, layer, 0))) {
      for (int expert = 0; expert < spec_.num_experts; ++expert) {
        for (const auto& [slot, pattern] : {std::pair{Slot::kExpertGate, table_.expert_gate},
                                            {Slot::kExpertUp, table_.expert_up},
                                            {Slot::kExpertDown, table_.expert_down}}) {
          INGOT_ASSIGN_OR_RETURN(auto matrix, checkpoint_.Weight(Name(pattern, layer, expert) + ".weight"));
          tensors_.push_back({slot, layer, expert, std::move(matrix), {}});
        }
      }
      return {};
    }
    return ReadStackedExperts(layer);
  }

  Result<WeightSourcePtr> Stack(const char* pattern, int layer) const {
    return checkpoint_.Weight(Name(pattern, layer) + (table_.experts_have_suffix ? ".weight" : ""));
  }

  Status ReadStackedExperts(int layer) {
    const int64_t inner = spec_.moe_intermediate_size;
    WeightSourcePtr gate, up;
    int64_t gate_stride = inner, up_begin = 0;
    if (table_.experts_gate_up != nullptr) {
      INGOT_ASSIGN_OR_RETURN(gate, Stack(table_.experts_gate_up, layer));
      up = gate;
      gate_stride = 2 * inner;
      up_begin = inner;
    } else {
      INGOT_ASSIGN_OR_RETURN(gate, Stack(table_.experts_gate, layer));
      INGOT_ASSIGN_OR_RETURN(up, Stack(table_.experts_up, layer));
    }
    INGOT_ASSIGN_OR_RETURN(const WeightSourcePtr down, Stack(table_.experts_down, layer));
    for (int expert = 0; expert < spec_.num_experts; ++expert) {
      tensors_.push_back({Slot::kExpertGate, layer, expert, SliceRows(gate, expert * gate_stride, inner), {}});
      tensors_.push_back({Slot::kExpertUp, layer, expert, SliceRows(up, expert * gate_stride + up_begin, inner), {}});
      tensors_.push_back(
          {Slot::kExpertDown, layer, expert, SliceRows(down, expert * spec_.hidden_size, spec_.hidden_size), {}});
    }
    return {};
  }

  const formats::Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  const models::CheckpointNames names_;
  const NameTable& table_;
  std::vector<CanonicalTensor> tensors_;
};

}  // namespace

bool IsNormSlot(Slot slot) {
  switch (slot) {
    case Slot::kFinalNorm:
    case Slot::kAttentionNorm:
    case Slot::kPostAttentionNorm:
    case Slot::kMlpNorm:
    case Slot::kPostMlpNorm:
    case Slot::kQNorm:
    case Slot::kKNorm:
      return true;
    default:
      return false;
  }
}

bool CanonicalTensor::is_bias() const { return matrix == nullptr && !IsNormSlot(slot); }

const char* PatternOf(const NameTable& table, Slot slot) {
  switch (slot) {
    case Slot::kEmbedding:
      return table.embedding;
    case Slot::kFinalNorm:
      return table.final_norm;
    case Slot::kLmHead:
      return table.lm_head;
    case Slot::kAttentionNorm:
      return table.attention_norm;
    case Slot::kPostAttentionNorm:
      return table.post_attention_norm;
    case Slot::kMlpNorm:
      return table.mlp_norm;
    case Slot::kPostMlpNorm:
      return table.post_mlp_norm;
    case Slot::kQ:
      return table.q;
    case Slot::kK:
      return table.k;
    case Slot::kV:
      return table.v;
    case Slot::kQkv:
      return table.qkv;
    case Slot::kQNorm:
      return table.q_norm;
    case Slot::kKNorm:
      return table.k_norm;
    case Slot::kO:
      return table.o;
    case Slot::kGate:
      return table.gate;
    case Slot::kUp:
      return table.up;
    case Slot::kGateUp:
      return table.gate_up;
    case Slot::kDown:
      return table.down;
    case Slot::kRouter:
      return table.router;
    case Slot::kExpertGate:
      return table.expert_gate;
    case Slot::kExpertUp:
      return table.expert_up;
    case Slot::kExpertDown:
      return table.expert_down;
  }
  return nullptr;
}

Result<std::vector<CanonicalTensor>> ReadCanonical(const formats::Checkpoint& checkpoint, const ModelSpec& spec) {
  INGOT_ASSIGN_OR_RETURN(const auto names, models::ChooseNames(checkpoint, spec, models::FamilyNamed(spec.family)));
  return Reader(checkpoint, spec, names).ReadAll();
}

Result<std::vector<CanonicalTensor>> ReadCanonicalLayer(const formats::Checkpoint& checkpoint, const ModelSpec& spec,
                                                        const models::CheckpointNames& names, int layer) {
  return Reader(checkpoint, spec, names).ReadOne(layer);
}

}  // namespace ingot::convert
