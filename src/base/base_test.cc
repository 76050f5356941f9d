#include <gmock/gmock.h>

#include <atomic>
#include <vector>

#include "base/json.h"
#include "base/thread_pool.h"
#include "base/topology.h"

namespace ingot {
namespace {

TEST(JsonTest, Parses) {
  const auto value = ParseJson(R"({"a": {"b": [1, 2.0]}})", "f.json");
  ASSERT_TRUE(value);
  const JsonView view(*value, "f.json");
  EXPECT_EQ(view.Find("a")->Find("b")->At(1).AsInt(), 2);
  EXPECT_EQ(view.Find("a")->Find("b")->At(1).path(), "f.json: a.b[1]");
}

TEST(ThreadPoolTest, RunsEachIndexOnce) {
  ThreadPool pool(3);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::atomic<int>> counts(17);
    pool.ParallelForWorker(17, [&](int64_t i, int) { counts[static_cast<size_t>(i)].fetch_add(1); });
    for (const auto& count : counts) ASSERT_EQ(count.load(), 1);
  }
}

TEST(TopologyTest, ThisMachine) {
  EXPECT_GE(GetCpuAllowance().usable_threads, 1);
  EXPECT_GT(GetMemoryAllowance().available_bytes, 0);
  EXPECT_GT(ResidentBytes(), 0);
  EXPECT_GT(PeakResidentBytes(), 0);
}

}  // namespace
}  // namespace ingot
