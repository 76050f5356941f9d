// The devices that a program may choose from.
#pragma once

#include <memory>

#include "ops/backend.h"

namespace ingot::ops {

// The first CUDA device, or the emulator where INGOT_CUDA_EMULATE says so. activation_dtype: kF16 or kBF16.
// kUnavailable says what is missing.
Result<std::unique_ptr<Backend>> MakeCudaBackend(int num_threads, DType activation_dtype);

}  // namespace ingot::ops
