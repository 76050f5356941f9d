// What this process may use, as its cgroup (v2 or v1), its affinity and its limits say; the host's figures only where
// nothing narrows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ingot {

struct CpuAllowance {
  int hardware_threads;         // in our affinity mask (sched_getaffinity, which holds cpuset.cpus)
  int physical_cores;           // distinct cores among them
  std::optional<double> quota;  // cpu.max or cfs quota, in CPUs
  int usable_threads;           // max(1, min(hardware_threads, ceil(quota)))
};
CpuAllowance GetCpuAllowance();

struct MemoryAllowance {
  int64_t total_bytes;      // min(host, cgroup limit of this and every ancestor)
  int64_t available_bytes;  // what can still be taken: min(MemAvailable, limit - current + reclaimable file cache)
  std::optional<int64_t> cgroup_limit;  // memory.max where it is lower than the host's memory
};
MemoryAllowance GetMemoryAllowance();

// VmHWM and VmRSS of this process, bytes; 0 where /proc is not there.
int64_t PeakResidentBytes();
int64_t ResidentBytes();

}  // namespace ingot
