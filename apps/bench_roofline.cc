// ingot bench roofline
#include "base/json_writer.h"
#include "base/thread_pool.h"
#include "base/topology.h"
#include "bench.h"
#include "bench_limits.h"
#include "ops/isa_info.h"

namespace ingot::cli {
namespace {

constexpr double kMaxSeconds = 60;
constexpr int64_t kMinBytes = 16 << 10;

struct RooflineFlags {
  int64_t threads = 0, repeats = 5, max_bytes = int64_t{1} << 30;
  double seconds = 0.05;
  bool json = false;
};

// In units of 10^9 a second, over all repeats, after one that warms up.
bench::Summary Repeat(const RooflineFlags& flags, const std::function<double()>& rate) {
  rate();
  std::vector<double> rates;
  for (int64_t i = 0; i < flags.repeats; ++i) rates.push_back(rate() / 1e9);
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

Row Multiply(const RooflineFlags& flags, ThreadPool& pool, const ops::MultiplyLimit& limit) {
  return {.name = fmt::format("{} ({})", limit.name, limit.instruction),
          .unit = "G multiply-adds/s",
          .json = JsonObject().Add("name", limit.name).Add("instruction", limit.instruction),
          .threads = pool.num_threads(),
          .rate = Repeat(flags, [&] { return MultiplyRate(pool, limit, flags.seconds); })};
}

Row Read(const RooflineFlags& flags, ThreadPool& pool, const Buffer& buffer, int64_t bytes) {
  return {.name = fmt::format("read {} KiB", bytes >> 10),
          .unit = "GB/s",
          .json = JsonObject().Add("bytes", bytes),
          .threads = pool.num_threads(),
          .rate = Repeat(flags, [&] { return ReadRate(pool, buffer, bytes, flags.seconds); })};
}

Status Roofline(const RooflineFlags& flags) {
  const int threads = flags.threads > 0 ? static_cast<int>(flags.threads) : GetCpuAllowance().usable_threads;
  if (flags.max_bytes < threads * kMinBytes) {
    return InvalidArgument("--max-bytes {} is less than {} ({} for each of {} threads)", flags.max_bytes,
                           threads * kMinBytes, kMinBytes, threads);
  }
  INGOT_ASSIGN_OR_RETURN(const Buffer buffer, TouchedBuffer(flags.max_bytes));
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
