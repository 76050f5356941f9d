#include "ops/devices.h"

#include <utility>

#include "base/log.h"
#include "ops/cuda/backend.h"

namespace ingot::ops {
namespace {

Result<ChosenDevice> OpenCuda(const DeviceOptions& options) {
  INGOT_ASSIGN_OR_RETURN(auto driver, OpenCudaDriver(0));
  using Graphs = CudaBackend::Graphs;
  auto backend = std::make_unique<CudaBackend>(options.num_threads, std::move(driver), options.activation_dtype,
                                               options.cuda_graphs ? Graphs::kOn : Graphs::kOff);
  INGOT_ASSIGN_OR_RETURN(const GemmTable table, LoadGemmTable(backend->device_info().compute_capability));
  backend->UseGemmTable(table);
  backend->UseInt8Products(options.int8_products);
  const CudaBackend& cuda = *backend;
  return ChosenDevice{std::move(backend), cuda.description(), [&cuda] { return cuda.memory(); }};
}

}  // namespace

Result<ChosenDevice> ChooseDevice(const DeviceOptions& options) {
  const auto cpu = [&] { return ChosenDevice{MakeCpuBackend(options.num_threads), "", GetMemoryAllowance}; };
  if (options.device == "cpu") return cpu();
  if (options.device != "cuda" && options.device != "auto") {
    return InvalidArgument("--device {} is not one of cpu, cuda, auto", options.device);
  }
  Result<ChosenDevice> cuda = OpenCuda(options);
  if (cuda || options.device == "cuda") return cuda;
  Log(LogLevel::kInfo, "computes on the CPU: {}", cuda.error().message());
  return cpu();
}

}  // namespace ingot::ops
