// Draws by a device: what it is told, and what it tells.
#pragma once

#include <vector>

#include "ops/sampling.h"
#include "sampling/sampler.h"

namespace ingot::sampling {

// What Sample would be asked, for the device; its edits come behind those that are there. `row` keeps its row and slot.
// False, and nothing is added: only the host can do it, as a grammar says what is allowed, or there are too many edits.
bool DescribeDraw(const SampleInputs& inputs, int64_t vocab_size, std::vector<ops::LogitEdit>* edits,
                  ops::DrawRow* row);

// What Sample, or Describe, would have said.
Outcome ReadDraw(const ops::DrawResult& draw, Sampled* result);

}  // namespace ingot::sampling
