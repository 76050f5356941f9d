// Arrival times of requests in an open loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ingot::bench {

// A Poisson process: seconds from the start, the first at 0, with exponential gaps of 1 / rate on average.
// REQUIRES: rate > 0. Infinite: all at 0.
std::vector<double> PoissonArrivals(size_t count, double rate, uint64_t seed);

}  // namespace ingot::bench
