// How fast requests are refused.
#pragma once

#include <algorithm>
#include <chrono>

namespace ingot::server {

// Clients that ask again at once, by the hundred, would take the time of those who are served. Some refusals are told
// at once, more only at a rate; the rest waits, which slows down the clients, but nobody waits for long.
class RefusalPace {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kBurst = 200, kPerSecond = 200;
  static constexpr std::chrono::seconds kLongest{5};

  // How long to wait before the next one.
  Clock::duration Next(Clock::time_point now) {
    constexpr auto kEach = std::chrono::duration_cast<Clock::duration>(std::chrono::seconds(1)) / kPerSecond;
    due_ = std::clamp(due_, now - kBurst * kEach, now + kLongest);
    const Clock::duration wait = std::max(Clock::duration(0), due_ - now);
    due_ += kEach;
    return wait;
  }

 private:
  Clock::time_point due_{};  // of the next one
};

}  // namespace ingot::server
