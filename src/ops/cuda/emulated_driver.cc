// A device of host memory, whose kernels the emulator runs.
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include "base/check.h"
#include "base/env.h"
#include "base/log.h"
#include "base/topology.h"
#include "ops/cuda/driver.h"
#include "text/bytes.h"

namespace ingot::ops {
namespace {

namespace emulator = kernels::emulator;

// Bytes that buffers of emulated devices have, all together.
std::atomic<int64_t> bytes_in_use = 0;

// Pages that are not touched take no memory of the host.
std::byte* ReserveZeros(int64_t bytes) {
  void* const data = mmap(nullptr, static_cast<size_t>(bytes) + 1, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return data == MAP_FAILED ? nullptr : static_cast<std::byte*>(data);
}

struct EmulatedGraph final : CudaGraph {
  struct Node {
    CudaLaunch launch;
    std::vector<std::byte> params;
  };
  std::vector<Node> nodes;
};

std::vector<std::byte> CopyOf(const void* from, int64_t bytes) {
  const auto* const begin = static_cast<const std::byte*>(from);
  return {begin, begin + bytes};
}

class EmulatedDriver final : public CudaDriver {
 public:
  explicit EmulatedDriver(const EmulatedDevice& device) : device_(device) {}

  CudaDeviceInfo Info() const override {
    const MemoryAllowance memory = GetMemoryAllowance();
    CudaDeviceInfo info{.name = "CUDA emulator",
                        .compute_capability = 80,
                        .num_sms = 1,
                        .total_bytes = memory.total_bytes,
                        .free_bytes = memory.available_bytes,
                        .emulated = true};
    if (device_.memory_bytes == 0) return info;
    info.total_bytes = device_.memory_bytes;
    info.free_bytes = device_.memory_bytes - bytes_in_use;
    return info;
  }
  // Registered to the byte, so that an access beyond the end is found.
  Result<Buffer> Allocate(int64_t bytes) override {
    const bool fits = device_.memory_bytes == 0 || bytes <= device_.memory_bytes - bytes_in_use;
    std::byte* const data = fits ? ReserveZeros(bytes) : nullptr;
    if (data == nullptr) return ResourceExhausted("no memory for {} of an emulated device", FormatBytes(bytes));
    bytes_in_use += bytes;
    emulator::AddMemory(data, static_cast<size_t>(bytes));
    return Buffer::Adopt(data, bytes, [](std::byte* at, int64_t size) {
      emulator::RemoveMemory(at);
      munmap(at, static_cast<size_t>(size) + 1);
      bytes_in_use -= size;
    });
  }
  Result<Buffer> AllocatePinned(int64_t bytes) override { return Buffer::Allocate(bytes); }
  void Upload(std::byte* to, const void* from, int64_t bytes) override {
    if (bytes == 0) return;
    if (!device_.runs_late) return CopyBytes(to, from, bytes);
    queue_.emplace_back([to, bytes, copy = CopyOf(from, bytes)] { CopyBytes(to, copy.data(), bytes); });
  }
  void Download(void* to, const std::byte* from, int64_t bytes) override {
    RunQueued(queue_.size());
    CopyBytes(to, from, bytes);
  }
  void Copy(std::byte* to, const std::byte* from, int64_t bytes) override {
    Do([=] { std::memmove(to, from, static_cast<size_t>(bytes)); });
  }
  void UploadLater(std::byte* to, const std::byte* pinned, int64_t bytes) override {
    Do([=] { CopyBytes(to, pinned, bytes); });
  }
  void DownloadLater(std::byte* pinned, const std::byte* from, int64_t bytes) override {
    Do([=] { CopyBytes(pinned, from, bytes); });
  }
  int64_t Mark() override {
    marks_.push_back(ran_ + std::ssize(queue_));
    return ++marked_;
  }
  void WaitFor(int64_t mark) override {
    while (!marks_.empty() && marked_ - std::ssize(marks_) < mark) {
      RunQueued(static_cast<size_t>(std::max<int64_t>(marks_.front() - ran_, 0)));
      marks_.pop_front();
    }
  }
  void Launch(const CudaLaunch& launch, const void* params) override {
    if (!device_.runs_late) return RunKernel(launch, params);
    const uint32_t bytes = kernels::cuda::InfoOf(launch.kernel).params_bytes;
    queue_.emplace_back([this, launch, copy = CopyOf(params, bytes)] { RunKernel(launch, copy.data()); });
  }
  std::unique_ptr<CudaGraph> MakeGraph(std::span<const CudaGraphNode> nodes) override {
    auto graph = std::make_unique<EmulatedGraph>();
    for (const CudaGraphNode& node : nodes) {
      const uint32_t bytes = kernels::cuda::InfoOf(node.launch.kernel).params_bytes;
      graph->nodes.push_back({node.launch, CopyOf(node.params, bytes)});
    }
    return graph;
  }
  void Launch(const CudaGraph& graph) override {
    for (const EmulatedGraph::Node& node : static_cast<const EmulatedGraph&>(graph).nodes) {
      Launch(node.launch, node.params.data());
    }
  }

 private:
  static void CopyBytes(void* to, const void* from, int64_t bytes) {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  template <typename Work>
  void Do(Work work) {
    device_.runs_late ? static_cast<void>(queue_.emplace_back(work)) : work();
  }
  void RunQueued(size_t count) {
    for (; count > 0; --count, ++ran_, queue_.pop_front()) queue_.front()();
  }
  void RunKernel(const CudaLaunch& launch, const void* params) {
    const kernels::cuda::KernelInfo& kernel = kernels::cuda::InfoOf(launch.kernel);
    const std::string fault = emulator::Run({.grid = launch.grid,
                                             .block = {kernel.threads},
                                             .shared_bytes = kernel.shared_bytes,
                                             .schedule = device_.schedule,
                                             .seed = ++launches_},
                                            kernel.emulated, params, kernel.params_bytes);
    if (fault.empty()) return;
    Log(LogLevel::kError, "CUDA kernel {}: {}", kernel.name, fault);
    INGOT_CHECK(false && "an emulated CUDA kernel failed");
  }

  const EmulatedDevice device_;
  uint32_t launches_ = 0;
  std::deque<std::function<void()>> queue_;  // of a device that runs late
  int64_t ran_ = 0;                          // of all that was ever in the queue
  std::deque<int64_t> marks_;                // those not waited for: how much comes before them
  int64_t marked_ = 0;
};

}  // namespace

std::unique_ptr<CudaDriver> MakeEmulatedDriver(const EmulatedDevice& device) {
  return std::make_unique<EmulatedDriver>(device);
}

Result<std::unique_ptr<CudaDriver>> OpenCudaDriver(int device_index) {
  const std::string emulate = GetEnv("INGOT_CUDA_EMULATE").value_or("0");
  if (emulate == "0") return OpenGpu(device_index);
  if (emulate == "1" || emulate == "forward") return MakeEmulatedDriver({.schedule = emulator::Schedule::kForward});
  if (emulate == "reverse") return MakeEmulatedDriver({.schedule = emulator::Schedule::kReverse});
  if (emulate == "random") return MakeEmulatedDriver({.schedule = emulator::Schedule::kRandom});
  return InvalidArgument("INGOT_CUDA_EMULATE is \"{}\"; it is 0, 1, forward, reverse or random", emulate);
}

}  // namespace ingot::ops
