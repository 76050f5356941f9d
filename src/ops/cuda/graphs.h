// Launches that come again are started as one CUDA graph: a step of decodes takes a few hundred, and each costs the
// host some microseconds.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/cuda/driver.h"

namespace ingot::ops {

// What is launched is always what was added: a graph is taken only where kernels, grids and all parameters are the
// same. What differs from step to step must therefore lie in the device's memory. Thread safety: none.
class CudaGraphs {
 public:
  explicit CudaGraphs(CudaDriver& driver) : driver_(driver) {}

  void Add(const CudaLaunch& launch, const void* params);
  // Launches what was added since the last call.
  void Launch();

  int64_t made() const { return made_; }
  int64_t launched() const { return launched_; }

 private:
  struct Recording {
    std::vector<CudaLaunch> launches;
    std::vector<size_t> begins;  // of each one's parameters
    std::vector<std::byte> params;
    bool operator==(const Recording& other) const;
  };
  struct Entry {
    Recording recording;
    std::unique_ptr<CudaGraph> graph;
    int64_t last_used = 0;
  };
  Entry& Make();

  CudaDriver& driver_;
  Recording added_;
  std::vector<Entry> entries_;
  int64_t made_ = 0, launched_ = 0;
};

}  // namespace ingot::ops
