// Memory.
#include "ops/cuda/backend.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "ops/cuda/launch.h"

namespace ingot::ops {

CudaBackend::CudaBackend(int num_threads, std::unique_ptr<CudaDriver> driver, DType activation_dtype, Graphs graphs)
    : Backend(num_threads, ""),
      driver_(std::move(driver)),
      activation_dtype_(activation_dtype),
      tile_options_{.activation_dtype = activation_dtype, .int8_products = false},
      use_graphs_(graphs),
      graphs_(*driver_) {
  INGOT_CHECK(activation_dtype == DType::kF16 || activation_dtype == DType::kBF16);
}

std::string CudaBackend::description() const {
  const CudaDeviceInfo info = driver_->Info();
  return fmt::format("{}, compute capability {}.{}, {} multiprocessors", info.name, info.compute_capability / 10,
                     info.compute_capability % 10, info.num_sms);
}

MemoryAllowance CudaBackend::memory() const {
  const CudaDeviceInfo info = driver_->Info();
  return {.total_bytes = info.total_bytes, .available_bytes = info.free_bytes, .cgroup_limit = {}};
}

void CudaBackend::EndRecording() {
  if (!is_recording_) return;
  is_recording_ = false;
  graphs_.Launch();
}

int64_t CudaBackend::PaddedDecodes(int64_t num_seqs) const {
  if (use_graphs_ == Graphs::kOff) return 0;
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(num_seqs)));
}

float* CudaBackend::ReadBack(const TensorView& x) {
  const auto count = static_cast<size_t>(x.shape.NumElements());
  read_back_.resize(count);
  if (x.dtype == DType::kF32) {
    Download(read_back_.data(), x.Data<std::byte>(), x.bytes());
    return read_back_.data();
  }
  read_bits_.resize(count);
  Download(read_bits_.data(), x.Data<std::byte>(), x.bytes());
  const auto to_float = x.dtype == DType::kF16 ? F16ToF32 : BF16ToF32;
  std::ranges::transform(read_bits_, read_back_.begin(), to_float);
  return read_back_.data();
}

void CudaBackend::WriteBack(const TensorView& x) {
  if (x.dtype == DType::kF32) return Upload(x.Data<std::byte>(), read_back_.data(), x.bytes());
  const auto from_float = x.dtype == DType::kF16 ? F32ToF16 : F32ToBF16;
  std::ranges::transform(read_back_, read_bits_.begin(), from_float);
  Upload(x.Data<std::byte>(), read_bits_.data(), x.bytes());
}

}  // namespace ingot::ops
