// A device of host memory, whose kernels the emulator runs.
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "base/env.h"
#include "base/log.h"
#include "base/topology.h"
#include "ops/cuda/driver.h"

namespace ingot::ops {
namespace {

namespace emulator = kernels::emulator;

class EmulatedDriver final : public CudaDriver {
 public:
  explicit EmulatedDriver(emulator::Schedule schedule) : schedule_(schedule) {}

  CudaDeviceInfo Info() const override {
    const MemoryAllowance memory = GetMemoryAllowance();
    return {.name = "CUDA emulator",
            .compute_capability = 80,
            .num_sms = 1,
            .total_bytes = memory.total_bytes,
            .free_bytes = memory.available_bytes,
            .emulated = true};
  }
  // Registered to the byte, so that an access beyond the end is found.
  Result<Buffer> Allocate(int64_t bytes) override {
    const auto size = static_cast<size_t>(bytes);
    void* const data = std::aligned_alloc(256, (size + 256) / 256 * 256);
    if (data == nullptr) return ResourceExhausted("no memory for {} bytes of an emulated device", bytes);
    std::memset(data, 0, size);
    emulator::AddMemory(data, size);
    return Buffer::Adopt(static_cast<std::byte*>(data), bytes, [](std::byte* at, int64_t) {
      emulator::RemoveMemory(at);
      std::free(at);
    });
  }
  void Upload(std::byte* to, const void* from, int64_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void Download(void* to, const std::byte* from, int64_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void Copy(std::byte* to, const std::byte* from, int64_t bytes) override {
    std::memmove(to, from, static_cast<size_t>(bytes));
  }
  void Launch(const CudaLaunch& launch, const void* params) override {
    const kernels::cuda::KernelInfo& kernel = kernels::cuda::InfoOf(launch.kernel);
    const std::string fault = emulator::Run({.grid = launch.grid,
                                             .block = {kernel.threads},
                                             .shared_bytes = kernel.shared_bytes,
                                             .schedule = schedule_,
                                             .seed = ++launches_},
                                            kernel.emulated, params, kernel.params_bytes);
    if (fault.empty()) return;
    Log(LogLevel::kError, "CUDA kernel {}: {}", kernel.name, fault);
    INGOT_CHECK(false && "an emulated CUDA kernel failed");
  }

 private:
  const emulator::Schedule schedule_;
  uint32_t launches_ = 0;
};

}  // namespace

std::unique_ptr<CudaDriver> MakeEmulatedDriver(emulator::Schedule schedule) {
  return std::make_unique<EmulatedDriver>(schedule);
}

Result<std::unique_ptr<CudaDriver>> OpenCudaDriver(int device_index) {
  const std::string emulate = GetEnv("INGOT_CUDA_EMULATE").value_or("0");
  if (emulate == "0") return OpenGpu(device_index);
  if (emulate == "1" || emulate == "forward") return MakeEmulatedDriver(emulator::Schedule::kForward);
  if (emulate == "reverse") return MakeEmulatedDriver(emulator::Schedule::kReverse);
  if (emulate == "random") return MakeEmulatedDriver(emulator::Schedule::kRandom);
  return InvalidArgument("INGOT_CUDA_EMULATE is \"{}\"; it is 0, 1, forward, reverse or random", emulate);
}

}  // namespace ingot::ops
