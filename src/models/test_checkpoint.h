// A checkpoint in memory, for tests: tensors of f32 under any name.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/json.h"
#include "formats/checkpoint_in_memory.h"
#include "models/roles.h"

namespace ingot::models {

class MemoryCheckpoint : public formats::CheckpointInMemory {
 public:
  explicit MemoryCheckpoint(formats::CheckpointKind kind = formats::CheckpointKind::kHuggingFace)
      : CheckpointInMemory("memory", kind) {}

  void Add(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    std::vector<std::byte>& bytes = bytes_[name];
    bytes.resize(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    entries_[name] = {.name = name, .encoding = Encoding::kF32, .shape = shape, .bytes = bytes};
  }
  void SetConfig(std::string_view json) { config_ = ParseJson(json, "config.json").value().as_object(); }
  void Remove(const std::string& name) {
    entries_.erase(name);
    bytes_.erase(name);
  }

 private:
  std::map<std::string, std::vector<std::byte>> bytes_;  // of the entries
};

// A small Llama-like model.
inline ModelSpec SmallSpec(const char* family = "llama") {
  ModelSpec spec{.family = family,
                 .vocab_size = 64,
                 .hidden_size = 32,
                 .intermediate_size = 64,
                 .num_layers = 2,
                 .rotary_dim = 8,
                 .max_position = 64,
                 .attention_scale = 0.35f};
  spec.ropes.resize(1);
  spec.layers.assign(2, {.num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .value_head_dim = 8});
  return spec;
}

inline ModelSpec SmallMixtureSpec() {
  ModelSpec spec = SmallSpec("qwen3_moe");
  spec.num_experts = 4;
  spec.experts_per_token = 2;
  spec.moe_intermediate_size = 64;
  spec.normalize_topk = true;
  for (LayerSpec& layer : spec.layers) layer.moe = true;
  return spec;
}

// Puts tensors into one, one below the other.
inline void Stack(MemoryCheckpoint* checkpoint, const std::vector<std::string>& names, const std::string& whole,
                  const std::vector<int64_t>& shape) {
  std::vector<float> values;
  for (const std::string& name : names) {
    const std::vector<float> part = checkpoint->Floats(name).value();
    values.insert(values.end(), part.begin(), part.end());
    checkpoint->Remove(name);
  }
  checkpoint->Add(whole, shape, values);
}

// Every tensor of the spec, each under the first name that the scheme has for its role.
inline std::shared_ptr<MemoryCheckpoint> RandomInMemory(const ModelSpec& spec) {
  auto checkpoint = std::make_shared<MemoryCheckpoint>();
  const NameTable& table = *FamilyNamed(spec.family).names.front();
  const CheckpointNames names = {&table, table.prefixes.front(), false};
  std::mt19937 random(7);
  const auto numbers = [&](int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = std::normal_distribution<float>(0, 0.3f)(random);
    return values;
  };
  for (int layer = -1; layer < spec.num_layers; ++layer) {
    for (const RoleSize& size : RolesOf(spec, layer)) {
      const bool of_expert = size.role >= Role::kExpertGate;
      for (int expert = of_expert ? 0 : -1; expert < (of_expert ? spec.num_experts : 0); ++expert) {
        const TensorName& row = *table.Find(size.role);
        const std::string name = names.NameOf(row, layer, expert);
        std::vector<int64_t> shape = {size.rows};
        if (size.cols > 0) shape.push_back(size.cols);
        checkpoint->Add(name + row.weight, shape, numbers(size.rows * std::max<int64_t>(1, size.cols)));
        if (size.bias) checkpoint->Add(name + row.bias, {size.rows}, numbers(size.rows));
      }
    }
  }
  return checkpoint;
}

}  // namespace ingot::models
