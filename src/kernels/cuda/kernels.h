// The CUDA kernels by number.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/cuda/emulator/emulator.h"
#include "kernels/cuda/kernel_list.h"
#include "kernels/cuda/params.h"

namespace ingot::kernels::cuda {

#define INGOT_KERNEL_ID(name, function, Params, threads, shared) name,
enum class KernelId : uint8_t { INGOT_CUDA_KERNELS(INGOT_KERNEL_ID) };
#undef INGOT_KERNEL_ID
#define INGOT_COUNT_KERNEL(name, function, Params, threads, shared) +1
inline constexpr int kNumKernels = 0 INGOT_CUDA_KERNELS(INGOT_COUNT_KERNEL);
#undef INGOT_COUNT_KERNEL

struct KernelInfo {
  const char* name;                // its symbol on the device
  uint32_t threads, shared_bytes;  // of a block
  uint32_t params_bytes;
  emulator::Kernel emulated;
};
const KernelInfo& InfoOf(KernelId id);

// What nvcc made: fatbins for the architectures of docs/cuda.md, and PTX. Empty where it was not there.
std::string_view DeviceProgram();

}  // namespace ingot::kernels::cuda
