// A CUDA device: its memory and one stream of launches, in order. Either a GPU, by way of the driver that is found at
// run time (libcuda.so.1), or the emulator on host memory (INGOT_CUDA_EMULATE).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/kernels.h"
#include "tensor/tensor.h"

namespace ingot::ops {

struct CudaDeviceInfo {
  std::string name;
  int compute_capability = 0;  // 90 for 9.0
  int num_sms = 0;
  int64_t total_bytes = 0, free_bytes = 0;
  bool emulated = false;
};

struct CudaLaunch {
  kernels::cuda::KernelId kernel;
  kernels::emulator::Dim3 grid;  // blocks
};

// Errors of a device after it was opened (a kernel that faults, a GPU that is lost) leave nothing to go on with: they
// end the process with a message that names the kernel.
// Thread safety: one thread at a time, but for Allocate.
class CudaDriver {
 public:
  virtual ~CudaDriver() = default;
  virtual CudaDeviceInfo Info() const = 0;
  virtual Result<Buffer> Allocate(int64_t bytes) = 0;  // aligned to 256 bytes, zeroed
  // In order with launches. Upload returns when `from` may be changed, Download when `to` is there.
  virtual void Upload(std::byte* to, const void* from, int64_t bytes) = 0;
  virtual void Download(void* to, const std::byte* from, int64_t bytes) = 0;
  virtual void Copy(std::byte* to, const std::byte* from, int64_t bytes) = 0;
  // `params` is the kernel's Params, copied before this returns.
  virtual void Launch(const CudaLaunch& launch, const void* params) = 0;
};

// kUnavailable says what is missing: a driver, a device, or this program's CUDA part.
Result<std::unique_ptr<CudaDriver>> OpenCudaDriver(int device_index);
std::unique_ptr<CudaDriver> MakeEmulatedDriver(kernels::emulator::Schedule schedule);
Result<std::unique_ptr<CudaDriver>> OpenGpu(int device_index);

}  // namespace ingot::ops
