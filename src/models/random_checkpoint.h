// A checkpoint of random weights for a shape alone: what planning counts and measuring runs where no model is at hand.
#pragma once

#include <memory>
#include <string>

#include "formats/checkpoint.h"
#include "models/model_spec.h"

namespace ingot::models {

// Every tensor that a model of this spec has, under the names of its family. The matrices of the layers and experts
// are in `weights`; embedding, head and routers in fp16, as quantizers leave them. Numbers depend on tensor and row
// alone, are made when they are read, and keep activations near 1; nothing is stored. There is no configuration in it
// (load it with the spec), no vocabulary and no template.
std::shared_ptr<const formats::Checkpoint> MakeRandomCheckpoint(const ModelSpec& spec, const Format& weights,
                                                                const std::string& name);

}  // namespace ingot::models
