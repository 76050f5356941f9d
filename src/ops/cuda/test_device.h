// The device of CUDA tests: the emulator, or with INGOT_TEST_CUDA=gpu the first GPU (tools/gpu_check.sh).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/env.h"
#include "ops/cuda/backend.h"

namespace ingot::ops {

inline std::unique_ptr<CudaDriver> OpenTestDriver(const EmulatedDevice& emulated = {}) {
  if (GetEnv("INGOT_TEST_CUDA").value_or("") == "gpu") return OpenGpu(0).value();
  return MakeEmulatedDriver(emulated);
}
inline std::unique_ptr<CudaBackend> MakeTestBackend(DType activation_dtype = DType::kF16,
                                                    const EmulatedDevice& emulated = {},
                                                    CudaBackend::Graphs graphs = CudaBackend::Graphs::kOn) {
  return std::make_unique<CudaBackend>(1, OpenTestDriver(emulated), activation_dtype, graphs);
}

inline float RoundTo(DType dtype, float x) {
  if (dtype == DType::kF32) return x;
  return dtype == DType::kF16 ? F16ToF32(F32ToF16(x)) : BF16ToF32(F32ToBF16(x));
}
// Half an ulp of 1.
inline double EpsOf(DType dtype) { return dtype == DType::kF16 ? 0x1p-11 : dtype == DType::kBF16 ? 0x1p-8 : 0x1p-24; }

// A tensor on the device, to the byte, with these numbers.
inline Tensor Put(Backend& backend, DType dtype, Shape shape, const std::vector<float>& numbers) {
  Tensor tensor = AllocateTensor(backend, dtype, shape).value();
  EXPECT_EQ(static_cast<int64_t>(numbers.size()), shape.NumElements());
  if (dtype == DType::kF32) {
    backend.Upload(tensor.Data<std::byte>(), numbers.data(), tensor.view().bytes());
    return tensor;
  }
  std::vector<uint16_t> bits(numbers.size());
  std::ranges::transform(numbers, bits.begin(), dtype == DType::kF16 ? F32ToF16 : F32ToBF16);
  backend.Upload(tensor.Data<std::byte>(), bits.data(), tensor.view().bytes());
  return tensor;
}
inline Tensor PutIds(Backend& backend, Shape shape, const std::vector<int32_t>& ids) {
  Tensor tensor = AllocateTensor(backend, DType::kI32, shape).value();
  backend.Upload(tensor.Data<std::byte>(), ids.data(), tensor.view().bytes());
  return tensor;
}
// Full of NaN.
inline Tensor Garbage(Backend& backend, DType dtype, Shape shape) {
  return Put(backend, dtype, shape, std::vector<float>(static_cast<size_t>(shape.NumElements()), NAN));
}
inline std::vector<float> Get(Backend& backend, const TensorView& x) {
  const float* const numbers = backend.ReadBack(x);
  return {numbers, numbers + x.shape.NumElements()};
}
inline std::vector<int32_t> GetIds(Backend& backend, const TensorView& x) {
  std::vector<int32_t> ids(static_cast<size_t>(x.shape.NumElements()));
  backend.Download(ids.data(), x.Data<std::byte>(), x.bytes());
  return ids;
}

}  // namespace ingot::ops
