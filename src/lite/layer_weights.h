// Canonical tensors as the packed weights of a layer.
#pragma once

#include <vector>

#include "convert/canonical.h"
#include "models/weights.h"

namespace ingot::lite {

// `tensors`: those of one layer, from ReadCanonical or ReadCanonicalLayer.
Result<models::LayerWeights> PackLayer(const ops::Context& context,
                                       const std::vector<convert::CanonicalTensor>& tensors);

}  // namespace ingot::lite
