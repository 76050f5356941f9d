// For tests that bound work: how busy the machine is does not count.
#pragma once

#include <ctime>

namespace ingot {

// That this thread has computed for.
inline double CpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace ingot
