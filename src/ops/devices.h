// The devices that a program may choose from.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/topology.h"
#include "ops/backend.h"

namespace ingot::ops {

struct DeviceOptions {
  std::string device = "cpu";  // cpu; cuda: the first GPU, or the emulator (INGOT_CUDA_EMULATE); auto: cuda, else cpu
  int num_threads = 1;
  DType activation_dtype = DType::kF16;  // on cuda: kF16 or kBF16
  bool cuda_graphs = true;               // on cuda: steps of decodes are started as graphs
  bool int8_products = false;            // on cuda: int8 weights with a scale for each channel times int8 (W8A8)
};

struct ChosenDevice {
  std::unique_ptr<Backend> backend;
  std::string description;                  // of a GPU; "" for the CPU
  std::function<MemoryAllowance()> memory;  // as it is when this is called; while the backend lives
};

// kUnavailable says what is missing for cuda.
Result<ChosenDevice> ChooseDevice(const DeviceOptions& options);

}  // namespace ingot::ops
