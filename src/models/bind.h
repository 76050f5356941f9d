// Roles of a checkpoint as packed weights.
#pragma once

#include <memory>
#include <vector>

#include "base/mapped_file.h"
#include "models/model.h"
#include "models/packed_file.h"
#include "models/roles.h"
#include "models/weights.h"

namespace ingot::models {

struct BoundWeights {
  std::shared_ptr<const MappedFile> mapped = nullptr;  // where matrices lie that were packed before; null: in memory
  Weights weights = {};
  std::vector<WeightInfo> infos = {};  // what became of the matrices
};

struct Packing {
  ops::Backend& backend;
  const LoadOptions& options;
  PackedFile* from = nullptr;               // takes matrices from there; null: packs them
  std::vector<PackedMatrix>* to = nullptr;  // appends what was packed, for WritePackedFile; may be null
};
// `tensors`: those of ReadRoles, all of which were found before any is packed, so that a checkpoint that does not fit
// is refused before time and memory are spent.
Status PackWeights(const Packing& packing, const std::vector<RoleTensor>& tensors, BoundWeights* bound);
// `tensors`: those of one layer.
Result<LayerWeights> PackLayer(ops::Backend& backend, const std::vector<RoleTensor>& tensors);

}  // namespace ingot::models
