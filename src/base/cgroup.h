// The limits of the control groups (v1, v2, or both mounted side by side) that a process lives in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/topology.h"

namespace ingot {

struct CgroupLimits {
  std::optional<double> cpu_quota;          // CPUs, the least of this group and every ancestor
  std::optional<int64_t> memory_limit;      // bytes, the least likewise
  std::optional<int64_t> memory_available;  // bytes, the least of limit - current + inactive file cache likewise
};

// `root` holds proc/ and sys/: "/" in earnest, a made-up tree in tests. What is missing or unreadable limits nothing.
CgroupLimits ReadCgroupLimits(const std::string& root);
// GetMemoryAllowance and the core count of GetCpuAllowance, read below `root`.
MemoryAllowance ReadMemoryAllowance(const std::string& root);
int CountPhysicalCores(const std::string& root, const std::vector<int>& cpus);

}  // namespace ingot
