// For tests: a driver that counts.
#pragma once

#include <utility>

#include "ops/cuda/driver.h"

namespace ingot::ops {

struct CudaCounts {
  int64_t allocations = 0;  // of the device's memory, and of pinned memory
  int64_t uploads = 0, downloads = 0;
  int64_t downloaded_bytes = 0;
  int64_t kernels = 0, graphs = 0;  // launches
};

class CountingDriver final : public CudaDriver {
 public:
  CountingDriver(std::unique_ptr<CudaDriver> driver, CudaCounts* counts)
      : driver_(std::move(driver)), counts_(*counts) {}

  CudaDeviceInfo Info() const override { return driver_->Info(); }
  Result<Buffer> Allocate(int64_t bytes) override {
    ++counts_.allocations;
    return driver_->Allocate(bytes);
  }
  Result<Buffer> AllocatePinned(int64_t bytes) override {
    ++counts_.allocations;
    return driver_->AllocatePinned(bytes);
  }
  void Upload(std::byte* to, const void* from, int64_t bytes) override {
    ++counts_.uploads;
    driver_->Upload(to, from, bytes);
  }
  void Download(void* to, const std::byte* from, int64_t bytes) override {
    ++counts_.downloads;
    counts_.downloaded_bytes += bytes;
    driver_->Download(to, from, bytes);
  }
  void Copy(std::byte* to, const std::byte* from, int64_t bytes) override { driver_->Copy(to, from, bytes); }
  void UploadLater(std::byte* to, const std::byte* pinned, int64_t bytes) override {
    ++counts_.uploads;
    driver_->UploadLater(to, pinned, bytes);
  }
  void DownloadLater(std::byte* pinned, const std::byte* from, int64_t bytes) override {
    ++counts_.downloads;
    counts_.downloaded_bytes += bytes;
    driver_->DownloadLater(pinned, from, bytes);
  }
  int64_t Mark() override { return driver_->Mark(); }
  void WaitFor(int64_t mark) override { driver_->WaitFor(mark); }
  void Launch(const CudaLaunch& launch, const void* params) override {
    ++counts_.kernels;
    driver_->Launch(launch, params);
  }
  std::unique_ptr<CudaGraph> MakeGraph(std::span<const CudaGraphNode> nodes) override {
    return driver_->MakeGraph(nodes);
  }
  void Launch(const CudaGraph& graph) override {
    ++counts_.graphs;
    driver_->Launch(graph);
  }

 private:
  const std::unique_ptr<CudaDriver> driver_;
  CudaCounts& counts_;
};

}  // namespace ingot::ops
