// Steps that are planned and launched while the one before them runs: what of it is seen, and what is dropped.
#include <gtest/gtest.h>

#include <deque>

#include "engine/engine.h"
#include "engine/test_support.h"

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 300;
const ExecutorOptions kOptions{
    .max_batch_size = 4, .max_prefill_tokens = 64, .max_context = 256, .block_len = 32, .num_blocks = {24}};

// How many steps took a token from the device that the host did not know.
struct AheadCount {
  explicit AheadCount(FakeModel* model) {
    model->on_forward = [this](const ops::StepBatch& batch) {
      ++steps;
      if (std::ranges::any_of(batch.token_ids, [](int32_t id) { return id < 0; })) ++ahead;
    };
  }
  int steps = 0, ahead = 0;
};

TEST(LookAhead, EveryDecodeButThoseThatNeedTheLastTokenIsPlannedAhead) {
  const auto backend = ops::MakeCpuBackend(1);
  const auto count = [&](const Request& request, Device device) {
    FakeModel model(kVocab);
    const Told alone = Alone(model, request, *backend);
    const AheadCount count(&model);
    auto core = MakeCore(model, kOptions, *backend, device);
    Told told;
    Request copy = request;
    copy.on_event = Record(&told);
    core->Add(1, std::move(copy), Clock::now());
    while (core->Step()) {
    }
    EXPECT_TRUE(told == alone);
    EXPECT_EQ(InUse(*core), 0);
    EXPECT_EQ(count.steps, core->stats().steps);
    return std::pair(count.steps, count.ahead);
  };
  const Request plain{.prompt = {1, 2, 4}, .max_tokens = 50};
  EXPECT_EQ(count(plain, Device::kInline), std::pair(50, 0));
  EXPECT_EQ(count(plain, Device::kLazy), std::pair(50, 49));
  EXPECT_EQ(count(plain, Device::kThread), std::pair(50, 49));
  Request penalized = plain;
  penalized.sampling.presence_penalty = 1;
  EXPECT_EQ(count(penalized, Device::kLazy), std::pair(50, 0));
  Request with_minimum = plain;
  with_minimum.min_tokens = 20;
  with_minimum.end_ids = {299};
  EXPECT_EQ(count(with_minimum, Device::kLazy), std::pair(50, 29));
}

TEST(LookAhead, ATokenComputedAheadOfAnEndIsDropped) {
  const auto backend = ops::MakeCpuBackend(1);
  for (uint64_t seed = 0; seed < 40; ++seed) {
    FakeModel model(12);
    const Request request{.prompt = {1, 2}, .max_tokens = 60, .end_ids = {3, 5}, .sampling = {.seed = seed}};
    const Told alone = Alone(model, request, *backend);
    const AheadCount count(&model);
    auto core = MakeCore(model, kOptions, *backend, Device::kLazy);
    Told told;
    Request copy = request;
    copy.on_event = Record(&told);
    core->Add(1, copy, Clock::now());
    while (core->Step()) ASSERT_TRUE(core->cache().CheckIntegrity());
    EXPECT_TRUE(told == alone);
    EXPECT_EQ(told.after_final, 0);
    EXPECT_EQ(InUse(*core), 0);
    EXPECT_EQ(count.steps, std::ssize(told.tokens) + (told.finish == FinishReason::kStop ? 1 : 0));
  }
}

TEST(LookAhead, ACancelFreesBlocksAtOnceAndTheSlotServesTheNext) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  ExecutorOptions options = kOptions;
  options.max_batch_size = 1;
  const Request next{.prompt = {9, 8, 7, 6}, .max_tokens = 40};
  const Told alone = Alone(model, next, *backend);
  for (int steps = 1; steps < 12; ++steps) {
    auto core = MakeCore(model, options, *backend, Device::kLazy);
    Told cancelled, told;
    core->Add(1, {.prompt = std::vector<int32_t>(100, 7), .max_tokens = 100, .on_event = Record(&cancelled)},
              Clock::now());
    for (int i = 0; i < steps; ++i) ASSERT_TRUE(core->Step());
    ASSERT_TRUE(core->in_flight());
    core->Cancel(1);
    EXPECT_EQ(cancelled.finish, FinishReason::kCancelled);
    EXPECT_EQ(InUse(*core), 0);
    Request copy = next;
    copy.on_event = Record(&told);
    core->Add(2, std::move(copy), Clock::now());
    while (core->Step()) ASSERT_TRUE(core->cache().CheckIntegrity());
    EXPECT_EQ(cancelled.after_final, 0);
    EXPECT_TRUE(told == alone);
  }
}

TEST(LookAhead, ADeadlineEndsWhoIsInFlight) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(model, kOptions, *backend, Device::kLazy);
  Told told;
  Request request{.prompt = {1}, .max_tokens = 200, .on_event = Record(&told)};
  request.deadline = Clock::now() + std::chrono::milliseconds(20);
  core->Add(1, std::move(request), Clock::now());
  while (core->Step()) {
    if (core->stats().steps == 20) std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  EXPECT_EQ(told.finish, FinishReason::kError);
  EXPECT_EQ(told.error.code(), Code::kDeadlineExceeded);
  EXPECT_LE(told.tokens.size(), 21u);
  EXPECT_EQ(InUse(*core), 0);
}

// A request that waits with the same prompt shares what a step in flight computes.
TEST(LookAhead, APromptInFlightIsSharedBeforeItIsCollected) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(model, kOptions, *backend, Device::kLazy);
  const Request request{.prompt = std::vector<int32_t>(60, 7), .max_tokens = 5};
  const Told alone = Alone(model, request, *backend);
  std::deque<Told> told(2);
  for (size_t i = 0; i < told.size(); ++i) {
    Request copy = request;
    copy.on_event = Record(&told[i]);
    core->Add(i, std::move(copy), Clock::now());
    ASSERT_TRUE(core->Step());
  }
  EXPECT_EQ(core->stats().steps, 1);
  EXPECT_EQ(core->stats().prefix_hits, 32);
  while (core->Step()) {
  }
  for (const Told& t : told) EXPECT_TRUE(t == alone);
}

TEST(LookAhead, AnEngineOverALateDeviceServesManyThreadsAndTasks) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1), own_backend = ops::MakeCpuBackend(1);
  auto engine = *Engine::Create(MakeExecutor(model, kOptions, *backend, Device::kThread), {.executor = kOptions});
  std::deque<Told> told(40);
  std::vector<Request> requests;
  std::mt19937_64 random(3);
  std::vector<RequestId> ids;
  for (Told& t : told) {
    Request& request = requests.emplace_back(RandomRequest(random, kVocab));
    Request copy = request;
    copy.on_event = Record(&t);
    ids.push_back(engine->Submit({std::move(copy)})->front());
  }
  engine->Cancel(ids[20]);
  int64_t scored = 0;
  const std::vector<int32_t> text(100, 9);
  ASSERT_TRUE(engine
                  ->RunExclusive([&](Core& core) {
                    EXPECT_FALSE(core.in_flight());
                    EXPECT_TRUE(
                        core.executor().Score(text, {}, core.cache(), [&](int64_t, const float*) { ++scored; }).ok());
                  })
                  .ok());
  EXPECT_EQ(scored, 100);
  engine->Cancel(ids[39]);
  while (engine->StalledSeconds() > 0) std::this_thread::yield();
  engine.reset();
  for (size_t i = 0; i < told.size(); ++i) {
    EXPECT_EQ(told[i].finals, 1);
    EXPECT_EQ(told[i].after_final, 0);
    if (told[i].finish == FinishReason::kCancelled) continue;
    EXPECT_TRUE(told[i] == Alone(model, requests[i], *own_backend)) << i;
  }
}

}  // namespace
}  // namespace ingot::engine
