// How many tokens steps compute, as a histogram. Programs include it by llm.h, in C++17 too.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ingot::engine {

struct StepTokens {
  static constexpr std::array<int64_t, 14> kUpTo = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
  std::array<int64_t, kUpTo.size() + 1> steps{};  // [i]: that computed more than kUpTo[i - 1] and up to kUpTo[i] tokens
  int64_t tokens = 0;                             // of all steps
};

// Thread safety: Add by one thread, Read by any.
class StepTokenCounts {
 public:
  void Add(int64_t tokens) {
    const auto& up_to = StepTokens::kUpTo;
    const auto bucket = static_cast<size_t>(std::lower_bound(up_to.begin(), up_to.end(), tokens) - up_to.begin());
    Count(steps_[bucket], 1);
    Count(tokens_, tokens);
  }
  StepTokens Read() const {
    StepTokens counts;
    counts.tokens = tokens_.load(std::memory_order_relaxed);
    for (size_t i = 0; i < steps_.size(); ++i) counts.steps[i] = steps_[i].load(std::memory_order_relaxed);
    return counts;
  }

 private:
  static void Count(std::atomic<int64_t>& counter, int64_t by) {
    counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  std::array<std::atomic<int64_t>, StepTokens::kUpTo.size() + 1> steps_{};
  std::atomic<int64_t> tokens_{0};
};

}  // namespace ingot::engine
