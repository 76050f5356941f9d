// ingot bench roofline
#include <atomic>
#include <chrono>

#include "base/json_writer.h"
#include "base/thread_pool.h"
#include "base/topology.h"
#include "bench.h"
#include "ops/isa_info.h"
#include "ops/limits.h"
#include "tensor/tensor.h"

namespace ingot::cli {
namespace {

constexpr double kMaxSeconds = 60;
constexpr int64_t kMinBytes = 16 << 10;

struct RooflineFlags {
  int64_t threads = 0, repeats = 5, max_bytes = int64_t{1} << 30;
  double seconds = 0.05;
  bool json = false;
};

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Per second, over all repeats: of work that `run` does `amount` of each time.
bench::Summary Rate(const RooflineFlags& flags, double amount, const std::function<void()>& run) {
  std::vector<double> rates;
  for (int64_t i = 0; i < flags.repeats; ++i) {
    int64_t count = 0;
    const double begin = Now();
    do {
      run();
      ++count;
    } while (Now() - begin < flags.seconds);
    rates.push_back(amount * static_cast<double>(count) / (Now() - begin));
  }
  return bench::Summarize(rates, {});
}

// What one line of the report says.
struct Row {
  std::string name, unit;
  JsonObject json;  // its first members
  int threads;
  bench::Summary rate;  // in units of 10^9 a second
};

void Print(const Row& row) {
  fmt::print("{:<34}{:>8}{:>12.1f}{:>18}  {}\n", row.name, row.threads, row.rate.median,
             fmt::format("{:.1f}…{:.1f}", row.rate.min, row.rate.max), row.unit);
  std::fflush(stdout);
}
std::string ToJson(const Row& row) {
  return JsonObject(row.json)
      .Add("threads", row.threads)
      .Add("median", row.rate.median)
      .Add("min", row.rate.min)
      .Add("max", row.rate.max)
      .Text();
}

// All threads multiply at once, each for about a millisecond at a time.
Row Multiply(const RooflineFlags& flags, ThreadPool& pool, const ops::MultiplyLimit& limit) {
  constexpr int64_t kRounds = 200;
  const double products = limit.products * kRounds * pool.num_threads() / 1e9;
  const auto run = [&] { pool.ParallelFor(pool.num_threads(), [&](int64_t) { limit.run(kRounds); }); };
  run();
  return {.name = fmt::format("{} ({})", limit.name, limit.instruction),
          .unit = "G multiply-adds/s",
          .json = JsonObject().Add("name", limit.name).Add("instruction", limit.instruction),
          .threads = pool.num_threads(),
          .rate = Rate(flags, products, run)};
}

// `bytes` in all, each thread its own part, in pieces of up to 1 MiB.
Row Read(const RooflineFlags& flags, ThreadPool& pool, const Buffer& buffer, int64_t bytes) {
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
  run();
  const int64_t read = (times * each + piece - 1) / piece * piece * pool.num_threads();
  return {.name = fmt::format("read {} KiB", bytes >> 10),
          .unit = "GB/s",
          .json = JsonObject().Add("bytes", bytes),
          .threads = pool.num_threads(),
          .rate = Rate(flags, static_cast<double>(read) / 1e9, run)};
}

Status Roofline(const RooflineFlags& flags) {
  const int threads = flags.threads > 0 ? static_cast<int>(flags.threads) : GetCpuAllowance().usable_threads;
  if (flags.max_bytes < threads * kMinBytes) {
    return InvalidArgument("--max-bytes {} is less than {} ({} for each of {} threads)", flags.max_bytes,
                           threads * kMinBytes, kMinBytes, threads);
  }
  INGOT_ASSIGN_OR_RETURN(const Buffer buffer, Buffer::Allocate(flags.max_bytes));
  for (int64_t at = 0; at < buffer.size(); at += 4096) buffer.data()[at] = std::byte{1};  // pages of their own
  std::vector<Row> multiply, read;
  const auto add = [&](std::vector<Row>& rows, Row row) {
    if (!flags.json) Print(row);
    rows.push_back(std::move(row));
  };
  if (!flags.json) fmt::print("{:<34}{:>8}{:>12}{:>18}\n", "", "threads", "median", "min…max");
  for (int count = 1; count <= threads; count = count < threads ? threads : threads + 1) {
    ThreadPool pool(count);
    for (const ops::MultiplyLimit& limit : ops::MultiplyLimits()) add(multiply, Multiply(flags, pool, limit));
    for (int64_t bytes = count * kMinBytes; bytes < flags.max_bytes; bytes *= 8) {
      add(read, Read(flags, pool, buffer, bytes));
    }
    add(read, Read(flags, pool, buffer, flags.max_bytes));
  }
  if (flags.json) {
    fmt::print("{}\n", JsonObject()
                           .Add("benchmark", "roofline")
                           .Add("isa", ops::GetIsaInfo().chosen)
                           .Add("threads", threads)
                           .AddJson("gmac_per_s", JsonList(multiply, ToJson))
                           .AddJson("read_gbyte_per_s", JsonList(read, ToJson))
                           .Text());
  }
  return {};
}

}  // namespace

void DeclareBenchRoofline(Flags& bench) {
  Flags& command = bench.Command("roofline", "What this machine multiplies and reads at most");
  const auto flags = std::make_shared<RooflineFlags>();
  command.Add("-t,--threads", &flags->threads, "threads; 0: all that this process may use", {0, 1023});
  command.Add("--num-iters", &flags->repeats, "measurements of each figure", {1, 1e6});
  command.Add("--seconds", &flags->seconds, "how long each measurement lasts", {0, kMaxSeconds});
  command.AddBytes("--max-bytes", &flags->max_bytes,
                   "the largest piece of memory that is read, by all threads together");
  command.Add("--json", &flags->json, "one JSON object");
  command.Example("ingot bench roofline --threads 2");
  command.OnRun([flags] { return Roofline(*flags); });
}

}  // namespace ingot::cli
