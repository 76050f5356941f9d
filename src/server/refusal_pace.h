// How fast requests are refused.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

namespace ingot::server {

// Clients that ask again at once, by the hundred, would take the time of those who are served. Some refusals are told
// at once, more only at a rate; the rest waits, which slows down the clients, but none for long. What waits is told in
// groups: one refusal alone costs several times as much, as its thread is woken for it and finds its caches cold. The
// clients of a group also ask again together.
class RefusalPace {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kBurst = 200, kPerSecond = 200;
  static constexpr std::chrono::seconds kLongest{5};
  static constexpr std::chrono::milliseconds kBetweenGroups{100};

  // How long to wait before the next one.
  Clock::duration Next(Clock::time_point now) {
    constexpr auto kEach = std::chrono::duration_cast<Clock::duration>(std::chrono::seconds(1)) / kPerSecond;
    due_ = std::clamp(due_, now - kBurst * kEach, now + kLongest);
    const Clock::time_point due = std::exchange(due_, due_ + kEach);
    return due <= now ? Clock::duration(0) : std::chrono::ceil<Group>(due.time_since_epoch()) - now.time_since_epoch();
  }

 private:
  using Group = std::chrono::duration<int64_t, std::ratio<kBetweenGroups.count(), 1000>>;

  Clock::time_point due_{};  // of the next one
};

}  // namespace ingot::server
