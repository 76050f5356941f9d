#include "bench/arrivals.h"

#include <cmath>
#include <random>

#include "base/check.h"

namespace ingot::bench {

std::vector<double> PoissonArrivals(size_t count, double rate, uint64_t seed) {
  INGOT_CHECK(rate > 0);
  std::mt19937_64 random(seed);
  std::vector<double> times(count);
  for (size_t i = 1; i < count; ++i) {
    const double uniform = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;  // in (0, 1)
    times[i] = times[i - 1] - std::log(uniform) / rate;
  }
  return times;
}

}  // namespace ingot::bench
