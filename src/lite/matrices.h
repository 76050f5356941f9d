// Weight matrices that are made, not stored.
#pragma once

#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/weight_source.h"

namespace ingot::lite {

// diag(rows) · W · diag(cols), computed as it is read. Empty: ones.
WeightSourcePtr ScaledMatrix(WeightSourcePtr source, std::vector<float> rows, std::vector<float> cols);

// Codes held in memory.   order: as WeightSource::input_order
WeightSourcePtr CodesMatrix(WeightRows rows, std::shared_ptr<const InputOrder> order);

// The whole matrix as numbers: [rows, cols].
std::vector<float> ReadAll(const WeightSource& source, ThreadPool& pool);

}  // namespace ingot::lite
