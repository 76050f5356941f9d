#include "base/topology.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/cgroup.h"
#include "base/memory_limit.h"

namespace ingot {
namespace {

// The CPUs of our affinity mask; {0} where the system does not say.
std::vector<int> AllowedCpus() {
  // The kernel refuses a mask that is shorter than its own; its own has as many bits as CPUs are possible.
  for (size_t capacity = 1024; capacity <= (size_t{1} << 20); capacity *= 2) {
    std::vector<cpu_set_t> mask(capacity / (8 * sizeof(cpu_set_t)));
    const size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) != 0) continue;
    std::vector<int> cpus;
    for (size_t cpu = 0; cpu < capacity; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, mask.data())) cpus.push_back(static_cast<int>(cpu));
    }
    if (!cpus.empty()) return cpus;
  }
  return {0};
}

// "VmHWM:   1234 kB" of /proc/self/status
int64_t StatusBytes(const char* key) {
  std::FILE* file = std::fopen("/proc/self/status", "re");
  if (file == nullptr) return 0;
  int64_t bytes = 0;
  char line[256];
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    long long kib = 0;
    if (std::strncmp(line, key, std::strlen(key)) == 0 && std::sscanf(line + std::strlen(key), "%lld", &kib) == 1) {
      bytes = kib * 1024;
      break;
    }
  }
  std::fclose(file);
  return bytes;
}

// What a limit of this process leaves beside what counts against it now, for more than threads and small things;
// nullopt: it has none.
std::optional<int64_t> LeftOf(int resource, const char* used_key) {
  constexpr int64_t kSmallThings = int64_t{128} << 20;
  constexpr int64_t kOtherThreads = 16;  // I/O, text, the engine, its watchdog
  constexpr int64_t kDefaultStack = int64_t{8} << 20;
  rlimit limit{}, stack{};
  if (getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return std::nullopt;
  const bool is_known = getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur != RLIM_INFINITY;
  const int64_t of_thread = is_known ? static_cast<int64_t>(stack.rlim_cur) : kDefaultStack;
  const int64_t threads = std::ssize(AllowedCpus()) + kOtherThreads;
  return std::max<int64_t>(
      0, static_cast<int64_t>(limit.rlim_cur) - StatusBytes(used_key) - threads * of_thread - kSmallThings);
}

}  // namespace

CpuAllowance GetCpuAllowance() {
  const std::vector<int> cpus = AllowedCpus();
  CpuAllowance allowance{};
  allowance.hardware_threads = static_cast<int>(cpus.size());
  allowance.physical_cores = CountPhysicalCores("", cpus);
  allowance.quota = ReadCgroupLimits("").cpu_quota;
  const double quota = allowance.quota.value_or(allowance.hardware_threads);
  const double usable = std::min<double>(allowance.hardware_threads, std::ceil(quota));
  allowance.usable_threads = std::max(1, static_cast<int>(usable));
  return allowance;
}

MemoryAllowance GetMemoryAllowance() {
  MemoryAllowance allowance = ReadMemoryAllowance("");
  if (allowance.total_bytes == 0) {  // no /proc
    allowance.total_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
    allowance.available_bytes = static_cast<int64_t>(sysconf(_SC_AVPHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  }
  if (const auto left = MemoryLeftByLimits()) allowance.available_bytes = std::min(allowance.available_bytes, *left);
  return allowance;
}

std::optional<int64_t> MemoryLeftByLimits() {
  const auto addresses = LeftOf(RLIMIT_AS, "VmSize:"), data = LeftOf(RLIMIT_DATA, "VmData:");
  return addresses && data ? std::min(*addresses, *data) : addresses ? addresses : data;
}

int64_t PeakResidentBytes() { return StatusBytes("VmHWM:"); }
int64_t ResidentBytes() { return StatusBytes("VmRSS:"); }

}  // namespace ingot
