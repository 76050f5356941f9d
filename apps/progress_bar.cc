#include "progress_bar.h"

#include <fmt/format.h>

#include "common.h"
#include "text/bytes.h"

namespace ingot::cli {

namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

bool ProgressBar::IsDue(int64_t done, int64_t total) {
  if (!StderrIsTerminal() || SecondsSince(start_) < 1 || total <= 0 || done * 100 / total == percent_) return false;
  percent_ = done * 100 / total;
  return true;
}

double ProgressBar::SecondsLeft(int64_t done, int64_t total) const {
  return done > 0 ? SecondsSince(start_) * static_cast<double>(total - done) / static_cast<double>(done) : 0.0;
}

void ProgressBar::Draw(const std::string& done, const std::string& total, double seconds_left) {
  drawn_ = true;
  const std::string bar(static_cast<size_t>(percent_ * 30 / 100), '=');
  Say("\r{} [{:<30}] {:3}%  {} of {}  {:.0f} s left\033[K", what_, bar, percent_, done, total, seconds_left);
}

void ProgressBar::Update(int64_t done, int64_t total) {
  if (IsDue(done, total)) Draw(FormatBytes(done), FormatBytes(total), SecondsLeft(done, total));
}

void ProgressBar::UpdateCount(int64_t done, int64_t total) {
  if (IsDue(done, total)) Draw(std::to_string(done), std::to_string(total), SecondsLeft(done, total));
}

void ProgressBar::UpdatePart(int64_t step, double done, const std::string& what, double seconds_left) {
  percent_ = static_cast<int64_t>(done * 100);
  const std::string left = seconds_left > 0 ? fmt::format("  {:.0f} s left", seconds_left) : "";
  if (StderrIsTerminal()) {
    if (SecondsSince(start_) < 1) return;
    drawn_ = true;
    const std::string bar(static_cast<size_t>(percent_ * 30 / 100), '=');
    Say("\r{} [{:<30}] {:3}%  {}{}\033[K", what_, bar, percent_, what, left);
  } else if (step != step_) {
    Say("{} {}%  {}{}\n", what_, percent_, what, left);
  }
  step_ = step;
}

void ProgressBar::Clear() {
  if (drawn_) SayText("\r\033[K");
  drawn_ = false;
}

}  // namespace ingot::cli
