// Roles of a checkpoint as packed weights.
#pragma once

#include <vector>

#include "models/model.h"
#include "models/roles.h"
#include "models/weights.h"

namespace ingot::models {

// `tensors`: those of ReadRoles, all of which were found before any is packed, so that a checkpoint that does not fit
// is refused before time and memory are spent. Appends what became of the matrices to `infos`.
Status PackWeights(ops::Backend& backend, const LoadOptions& options, const std::vector<RoleTensor>& tensors,
                   Weights* weights, std::vector<WeightInfo>* infos);
// `tensors`: those of one layer.
Result<LayerWeights> PackLayer(ops::Backend& backend, const std::vector<RoleTensor>& tensors);

}  // namespace ingot::models
