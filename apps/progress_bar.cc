#include "progress_bar.h"

#include <fmt/format.h>

#include <cstdio>

#include "common.h"

namespace ingot::cli {

void ProgressBar::Update(int64_t done, int64_t total) {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  if (!StderrIsTerminal() || seconds < 1 || total <= 0 || done * 100 / total == percent_) return;
  percent_ = done * 100 / total;
  drawn_ = true;
  const std::string bar(static_cast<size_t>(percent_ * 30 / 100), '=');
  const double left = done > 0 ? seconds * static_cast<double>(total - done) / static_cast<double>(done) : 0.0;
  fmt::print(stderr, "\r{} [{:<30}] {:3}%  {} of {}  {:.0f} s left\033[K", what_, bar, percent_, HumanBytes(done),
             HumanBytes(total), left);
  std::fflush(stderr);
}

void ProgressBar::Clear() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

}  // namespace ingot::cli
