// Weights by way of a folder of packed ones (--weights-cache).
#pragma once

#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "models/bind.h"

namespace ingot::models {

// As PackWeights: with options.weights_cache, from that folder's file of this checkpoint, backend and compute mode,
// where there is one. Else it packs them, and writes that file. A file that does not fit is replaced, and one that
// cannot be written does not matter; the log warns of both.
Status LoadWeights(ops::Backend& backend, const LoadOptions& options, const formats::Checkpoint& checkpoint,
                   const std::vector<RoleTensor>& tensors, BoundWeights* bound);

// The file of a checkpoint's packed weights in a folder; "" where they cannot be kept.
std::string PackedFilePath(const std::string& folder, const formats::Checkpoint& checkpoint,
                           const ops::Backend& backend, ops::Compute compute);

}  // namespace ingot::models
