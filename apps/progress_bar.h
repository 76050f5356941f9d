// A bar on stderr for what takes long.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace ingot::cli {

// Redraws one line of stderr; silent for the first second. Where stderr is no terminal only UpdatePart says something,
// a line a step: what it is for may take hours, and leaves a log.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what) : what_(std::move(what)) {}
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Update(int64_t done, int64_t total);       // bytes
  void UpdateCount(int64_t done, int64_t total);  // things
  // The step at work; done: of all, in [0, 1]; what is being done; seconds_left: 0 if not known
  void UpdatePart(int64_t step, double done, const std::string& what, double seconds_left);
  void Clear();

 private:
  bool IsDue(int64_t done, int64_t total);
  void Draw(const std::string& done, const std::string& total, double seconds_left);
  double SecondsLeft(int64_t done, int64_t total) const;

  const std::string what_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int64_t percent_ = -1, step_ = -1;
  bool drawn_ = false;
};

}  // namespace ingot::cli
