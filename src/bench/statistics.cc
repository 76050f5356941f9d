#include "bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace ingot::bench {

double Percentile(std::span<const double> sorted, double percent) {
  INGOT_CHECK(!sorted.empty() && percent >= 0 && percent <= 100);
  const double rank = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Summary Summarize(std::vector<double> values, std::span<const double> percents) {
  Summary summary{.count = static_cast<int64_t>(values.size())};
  if (values.empty()) {
    summary.percentiles.resize(percents.size());
    return summary;
  }
  std::ranges::sort(values);
  const auto count = static_cast<double>(values.size());
  summary.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - summary.mean) * (value - summary.mean);
  summary.stddev = std::sqrt(squares / count);
  summary.min = values.front();
  summary.median = Percentile(values, 50);
  summary.max = values.back();
  for (const double percent : percents) summary.percentiles.push_back(Percentile(values, percent));
  return summary;
}

}  // namespace ingot::bench
