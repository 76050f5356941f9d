// A forward pass that fails: its requests end, and nothing of it stays.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>

#include "engine/test_support.h"

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 300;

class FailedPass : public testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Devices, FailedPass, testing::ValuesIn(kDevices));

// What it wrote, and what the step behind it made of that, is not found by the same prompts later.
TEST_P(FailedPass, EndsWhatRunsAndLeavesNothingInTheCache) {
  FakeModel model(kVocab, 4096, /*window=*/40);
  const auto backend = ops::MakeCpuBackend(1);
  std::mt19937_64 random(7);
  auto requests = RequestsWithCommonBeginnings(random, kVocab, 200);
  std::vector<Told> alone;
  for (Request& request : requests) {
    request.max_tokens = std::min<int64_t>(request.max_tokens, 20);  // so that most end between two failures
    alone.push_back(Alone(model, request, *backend));
  }
  auto core = MakeCore(
      model,
      {.max_batch_size = 6, .max_prefill_tokens = 50, .max_context = 256, .block_len = 32, .num_blocks = {24, 24}},
      *backend, GetParam());
  std::atomic<int> failures = 0;
  model.fails = [&, step = 0]() mutable {
    const bool now = ++step % 61 == 0;
    failures += now ? 1 : 0;
    return now;
  };
  std::deque<Told> told;
  std::vector<size_t> of_request;  // [told]
  std::deque<size_t> left;
  for (size_t i = 0; i < requests.size(); ++i) left.push_back(i);
  int64_t ended = 0;
  for (int step = 0; step < 20'000 && (!left.empty() || core->num_running() + core->num_waiting() > 0); ++step) {
    if (!left.empty() && core->num_waiting() < 4) {
      Request request = requests[left.front()];
      request.on_event = Record(&told.emplace_back());
      core->Add(told.size() - 1, std::move(request), Clock::now());
      of_request.push_back(left.front());
      left.pop_front();
    }
    if (random() % 30 == 0 && !told.empty())
      core->Cancel(told.size() - 1 - random() % std::min<size_t>(told.size(), 8));
    core->Step();
    ASSERT_TRUE(core->cache().CheckIntegrity());
    for (size_t i = 0; i < told.size(); ++i) {
      if (told[i].finals == 0 || of_request[i] == requests.size()) continue;
      const size_t request = std::exchange(of_request[i], requests.size());
      if (told[i].finish == FinishReason::kCancelled) {
        left.push_back(request);
      } else if (told[i].finish == FinishReason::kError) {
        EXPECT_EQ(told[i].error.message(), "the forward pass failed");
        left.push_back(request);
        ++ended;
      } else {
        EXPECT_TRUE(told[i] == alone[request]) << "request " << request;
      }
    }
  }
  while (core->Step()) {
  }
  EXPECT_TRUE(left.empty());
  EXPECT_EQ(InUse(*core), 0);
  EXPECT_GT(failures, 5);
  EXPECT_GT(ended, failures);
  EXPECT_GT(core->stats().prefix_hits, 500);
}

TEST(Score, SaysThatItsPassFailed) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(
      model, {.max_batch_size = 1, .max_prefill_tokens = 64, .max_context = 128, .block_len = 32, .num_blocks = {4}},
      *backend);
  model.fails = [] { return true; };
  const std::vector<int32_t> ids(100, 7);
  const Status status = core->executor().Score(ids, {}, core->cache(), [](int64_t, const float*) {});
  EXPECT_EQ(status.message(), "the forward pass failed");
  EXPECT_EQ(InUse(*core), 0);
}

}  // namespace
}  // namespace ingot::engine
