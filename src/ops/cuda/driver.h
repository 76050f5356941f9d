// A CUDA device: its memory and one stream of launches, in order. Either a GPU, by way of the driver that is found at
// run time (libcuda.so.1), or the emulator on host memory (INGOT_CUDA_EMULATE).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
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
// A launch and the kernel's Params.
struct CudaGraphNode {
  CudaLaunch launch;
  const void* params;
};
// Launches in a row, which the device starts as one. Of the driver that made it.
class CudaGraph {
 public:
  virtual ~CudaGraph() = default;
};

// Errors of a device after it was opened (a kernel that faults, a GPU that is lost) leave nothing to go on with: they
// end the process with a message that names the kernel.
// Thread safety: one thread at a time, but for Allocate.
class CudaDriver {
 public:
  virtual ~CudaDriver() = default;
  virtual CudaDeviceInfo Info() const = 0;
  virtual Result<Buffer> Allocate(int64_t bytes) = 0;  // aligned to 256 bytes, zeroed
  // Memory of the host that the device copies from and to by itself.
  virtual Result<Buffer> AllocatePinned(int64_t bytes) = 0;
  // In order with launches. Upload returns when `from` may be changed, Download when `to` is there.
  virtual void Upload(std::byte* to, const void* from, int64_t bytes) = 0;
  virtual void Download(void* to, const std::byte* from, int64_t bytes) = 0;
  virtual void Copy(std::byte* to, const std::byte* from, int64_t bytes) = 0;
  // Both return at once; `pinned` is the device's until a mark behind the copy was waited for.
  virtual void UploadLater(std::byte* to, const std::byte* pinned, int64_t bytes) = 0;
  virtual void DownloadLater(std::byte* pinned, const std::byte* from, int64_t bytes) = 0;
  // A place in the stream behind all that came before. Marks ascend from 1.
  virtual int64_t Mark() = 0;
  virtual void WaitFor(int64_t mark) = 0;
  // `params` is the kernel's Params, copied before this returns.
  virtual void Launch(const CudaLaunch& launch, const void* params) = 0;
  // The same launches, parameters copied, to be launched any number of times.
  virtual std::unique_ptr<CudaGraph> MakeGraph(std::span<const CudaGraphNode> nodes) = 0;
  virtual void Launch(const CudaGraph& graph) = 0;
};

struct EmulatedDevice {
  kernels::emulator::Schedule schedule = kernels::emulator::Schedule::kForward;
  bool runs_late = false;    // nothing runs before it is waited for, as on a GPU that is slow
  int64_t memory_bytes = 0;  // 0: as much as the host has
};

// kUnavailable says what is missing: a driver, a device, or this program's CUDA part.
Result<std::unique_ptr<CudaDriver>> OpenCudaDriver(int device_index);
std::unique_ptr<CudaDriver> MakeEmulatedDriver(const EmulatedDevice& device);
Result<std::unique_ptr<CudaDriver>> OpenGpu(int device_index);

}  // namespace ingot::ops
