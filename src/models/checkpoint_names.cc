#include "models/checkpoint_names.h"

#include <algorithm>

namespace ingot::models {

Result<CheckpointNames> ChooseNames(const formats::Checkpoint& checkpoint, const ModelSpec& spec,
                                    const Family& family) {
  const bool is_gguf = checkpoint.kind() == formats::CheckpointKind::kGguf;
  const std::vector<const NameTable*> tables = is_gguf ? std::vector<const NameTable*>{&kGgufNames} : family.names;
  const auto first_moe =
      std::find_if(spec.layers.begin(), spec.layers.end(), [](const LayerSpec& layer) { return layer.moe; });
  std::string tried;
  for (const NameTable* table : tables) {
    for (const NameTable::Prefix& prefix : table->prefixes) {
      const auto has = [&](const char* pattern, int64_t layer) {
        return pattern != nullptr && checkpoint.Find(prefix.body + Numbered(pattern, layer) + ".weight") != nullptr;
      };
      if (has(table->embedding, 0) &&
          (first_moe == spec.layers.end() || has(table->router, first_moe - spec.layers.begin()))) {
        return CheckpointNames{table, prefix, is_gguf && family.gguf_interleaved_rope};
      }
      const std::string name = prefix.body + std::string(table->embedding) + ".weight";
      if (tried.find(name) == std::string::npos) tried += (tried.empty() ? "" : ", ") + name;
    }
  }
  return InvalidArgument("no tensors named as family {} names them (looked for {})", spec.family, tried);
}

}  // namespace ingot::models
