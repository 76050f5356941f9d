// For the sources of CudaBackend.
#pragma once

#include "base/check.h"
#include "ops/cuda/backend.h"

namespace ingot::ops {

// Blocks that cover `count` items, `each` to a block.
inline uint32_t Blocks(int64_t count, int64_t each = 1) { return static_cast<uint32_t>((count + each - 1) / each); }

template <typename Params>
void CudaBackend::Launch(const CudaLaunch& launch, const Params& params) {
  INGOT_CHECK(sizeof(Params) == kernels::cuda::InfoOf(launch.kernel).params_bytes);
  constexpr uint32_t kMaxGridYZ = 65535;
  const auto& grid = launch.grid;
  INGOT_CHECK(grid.y <= kMaxGridYZ && grid.z <= kMaxGridYZ);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  is_recording_ ? graphs_.Add(launch, &params) : driver_->Launch(launch, &params);
}

}  // namespace ingot::ops
