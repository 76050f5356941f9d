// A CUDA graph does what its launches would do now, not what they did when it was made.
#include "ops/cuda/graphs.h"

#include <gtest/gtest.h>

#include "ops/cuda/test_device.h"

namespace ingot::ops {
namespace {

using kernels::cuda::AddParams;
using kernels::cuda::KernelId;

TEST(CudaGraphs, ReadTheDevicesMemoryAsItIsWhenTheyAreLaunched) {
  const auto backend = MakeTestBackend();
  const auto driver = OpenTestDriver();
  CudaGraphs graphs(*driver);
  const Tensor y = Put(*backend, DType::kF32, {3}, {0, 0, 0});
  const Tensor x = Put(*backend, DType::kF16, {3}, {1, 2, 3});
  const auto add_twice = [&](int64_t count) {
    const AddParams params{.x = x.view().data, .y = y.Data<float>(), .count = count};
    for (int i = 0; i < 2; ++i) graphs.Add({.kernel = KernelId::add_half}, &params);
    graphs.Launch();
    driver->WaitFor(driver->Mark());
  };
  ASSERT_EQ(Get(*backend, x.view())[2], 3);  // which waits for the uploads, as they are of another stream
  add_twice(3);
  EXPECT_EQ(Get(*backend, y.view()), std::vector<float>({2, 4, 6}));
  const uint16_t other[] = {F32ToF16(10), F32ToF16(20), F32ToF16(30)};
  backend->Upload(x.Data<std::byte>(), other, sizeof(other));
  ASSERT_EQ(Get(*backend, x.view())[2], 30);
  add_twice(3);
  EXPECT_EQ(Get(*backend, y.view()), std::vector<float>({22, 44, 66}));
  EXPECT_EQ(graphs.made(), 1);
  add_twice(2);  // another parameter
  EXPECT_EQ(Get(*backend, y.view()), std::vector<float>({42, 84, 66}));
  EXPECT_EQ(graphs.made(), 2);
  add_twice(3);
  EXPECT_EQ(graphs.made(), 2);
  EXPECT_EQ(graphs.launched(), 4);
  graphs.Launch();  // nothing was added
  EXPECT_EQ(graphs.launched(), 4);
}

TEST(CudaGraphs, AreMadeAgainOnceOthersTookTheirPlace) {
  const auto backend = MakeTestBackend();
  const auto driver = OpenTestDriver();
  CudaGraphs graphs(*driver);
  const Tensor y = Put(*backend, DType::kF32, {80}, std::vector<float>(80));
  const Tensor x = Put(*backend, DType::kF16, {80}, std::vector<float>(80, 1));
  ASSERT_EQ(Get(*backend, x.view())[0], 1);
  const auto add = [&](int64_t count) {
    const AddParams params{.x = x.view().data, .y = y.Data<float>(), .count = count};
    graphs.Add({.kernel = KernelId::add_half}, &params);
    graphs.Launch();
    driver->WaitFor(driver->Mark());
  };
  for (int64_t count = 1; count <= 70; ++count) add(count);
  add(1);  // the first went
  EXPECT_EQ(graphs.made(), 71);
  add(70);
  EXPECT_EQ(graphs.made(), 71);
  EXPECT_EQ(Get(*backend, y.view())[0], 72);
  EXPECT_EQ(Get(*backend, y.view())[69], 2);
}

// As a GPU that is busy would: what is to be uploaded is looked at late.
TEST(CudaDriver, AMarkIsReachedWhenWhatCameBeforeHasRun) {
  const auto driver = OpenTestDriver({.runs_late = true});
  const Buffer memory = driver->Allocate(64).value(), pinned = driver->AllocatePinned(8).value();
  auto* const numbers = reinterpret_cast<int32_t*>(pinned.data());
  numbers[0] = 5;
  driver->UploadLater(memory.data(), pinned.data(), 4);
  driver->DownloadLater(pinned.data() + 4, memory.data(), 4);
  const int64_t first = driver->Mark();
  driver->WaitFor(first);
  EXPECT_EQ(numbers[1], 5);
  numbers[0] = 6;
  driver->UploadLater(memory.data(), pinned.data(), 4);
  const int64_t second = driver->Mark();
  EXPECT_GT(second, first);
  driver->WaitFor(second);
  numbers[0] = 7;
  int32_t got = 0;
  driver->Download(&got, memory.data(), 4);
  EXPECT_EQ(got, 6);
}

TEST(CudaDriver, MemoryOfAnEmulatedDeviceEnds) {
  const auto driver = MakeEmulatedDriver({.memory_bytes = 1 << 20});
  EXPECT_EQ(driver->Info().total_bytes, 1 << 20);
  const Buffer most = driver->Allocate(1000 << 10).value();
  const auto more = driver->Allocate(1000 << 10);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace ingot::ops
