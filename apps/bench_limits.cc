#include "bench_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>

namespace ingot::cli {
namespace {

// Per second, of work that `run` does `amount` of each time.
double Rate(double seconds, double amount, const std::function<void()>& run) {
  int64_t count = 0;
  const double begin = Now();
  do {
    run();
    ++count;
  } while (Now() - begin < seconds);
  return amount * static_cast<double>(count) / (Now() - begin);
}

}  // namespace

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double MultiplyRate(ThreadPool& pool, const ops::MultiplyLimit& limit, double seconds) {
  constexpr int64_t kRounds = 200;  // about a millisecond
  return Rate(seconds, limit.products * kRounds * pool.num_threads(),
              [&] { pool.ParallelFor(pool.num_threads(), [&](int64_t) { limit.run(kRounds); }); });
}

double ReadRate(ThreadPool& pool, const Buffer& buffer, int64_t bytes, double seconds) {
  const int64_t each = bytes / pool.num_threads() / 1024 * 1024, piece = std::min<int64_t>(each, 1 << 20);
  const int64_t times = std::max<int64_t>(1, (1 << 20) / each);  // small ones again, or the clock would be measured
  std::atomic<uint64_t> sink = 0;
  const auto run = [&] {
    pool.ParallelFor(pool.num_threads(), [&](int64_t thread) {
      for (int64_t i = 0; i < times * each; i += piece) {
        sink += ops::ReadMemory(buffer.data() + thread * each + i % (each / piece * piece), piece);
      }
    });
  };
  const int64_t read = (times * each + piece - 1) / piece * piece * pool.num_threads();
  return Rate(seconds, static_cast<double>(read), run);
}

Result<Buffer> TouchedBuffer(int64_t bytes) {
  INGOT_ASSIGN_OR_RETURN(Buffer buffer, Buffer::Allocate(bytes));
  for (int64_t at = 0; at < buffer.size(); at += 4096) buffer.data()[at] = std::byte{1};
  return buffer;
}

}  // namespace ingot::cli
