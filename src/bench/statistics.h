// Percentiles and what else sums up a row of measurements.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ingot::bench {

// The value below which `percent` (0…100) of `sorted` (ascending, not empty) lie: linear between the two nearest ranks,
// type 7 of Hyndman & Fan 1996, which is numpy.percentile's default.
double Percentile(std::span<const double> sorted, double percent);

struct Summary {
  int64_t count = 0;                                          // 0: all others are 0
  double mean = 0, stddev = 0, min = 0, median = 0, max = 0;  // stddev: of the population, as numpy.std
  std::vector<double> percentiles;                            // one for each percent that was asked for
};
Summary Summarize(std::vector<double> values, std::span<const double> percents);

}  // namespace ingot::bench
