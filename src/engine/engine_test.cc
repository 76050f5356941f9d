#include "engine/engine.h"

#include <gtest/gtest.h>

#include <deque>
#include <latch>

#include "base/mutex.h"
#include "engine/test_support.h"

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 200;

EngineOptions SmallOptions() {
  return {.executor = {
              .max_batch_size = 5, .max_prefill_tokens = 40, .max_context = 256, .block_len = 32, .num_blocks = {24}}};
}

// Lets many threads wait for an answer that is recorded on the engine's.
struct Pending {
  Told told;
  std::latch over{1};
  EventFn Fn() {
    return [this, record = Record(&told)](Event&& event) {
      const bool is_last = event.finish.has_value();
      record(std::move(event));
      if (is_last) over.count_down();
    };
  }
};

TEST(Engine, ManyThreadsGetTheAnswersTheyWouldGetAlone) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(2), own_backend = ops::MakeCpuBackend(1);
  auto engine = *Engine::Create(model, SmallOptions(), *backend);
  std::vector<std::thread> threads;
  Mutex alone;  // *own_backend runs one loop at a time
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 15; ++i) {
        Pending pending;
        Request request = RandomRequest(random, kVocab);
        const Request copy = request;
        request.on_event = pending.Fn();
        ASSERT_TRUE(engine->Submit({std::move(request)}).has_value());
        pending.over.wait();
        const MutexLock lock(alone);
        EXPECT_TRUE(pending.told == Alone(model, copy, *own_backend));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Engine, CancelEndsARequestAndFreesItsBlocks) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto engine = *Engine::Create(model, SmallOptions(), *backend);
  std::deque<Pending> pending(30);
  std::vector<RequestId> ids;
  for (Pending& p : pending) {
    ids.push_back(engine->Submit({{.prompt = {1, 2}, .max_tokens = 200, .on_event = p.Fn()}})->front());
  }
  for (const RequestId id : ids) engine->Cancel(id);
  engine->Cancel(ids[0]);
  engine->Cancel(12345);
  for (Pending& p : pending) p.over.wait();
  Pending last;
  ASSERT_TRUE(engine->Submit({{.prompt = {1}, .max_tokens = 1, .on_event = last.Fn()}}).has_value());
  last.over.wait();
  engine.reset();
  for (const Pending& p : pending) EXPECT_EQ(p.told.finals, 1);
}

TEST(Engine, TheQueueIsBoundedAndAGroupEntersWholeOrNotAtAll) {
  FakeModel model(kVocab);
  Mutex gate;
  model.on_forward = [&](const ops::StepBatch&) { const MutexLock lock(gate); };
  const auto backend = ops::MakeCpuBackend(1);
  EngineOptions options = SmallOptions();
  options.executor.max_batch_size = 1;
  options.max_queue = 4;
  auto engine = *Engine::Create(model, options, *backend);
  std::deque<Pending> pending(8);
  const auto request = [&](size_t i) { return Request{.prompt = {1}, .max_tokens = 3, .on_event = pending[i].Fn()}; };
  {
    const MutexLock lock(gate);
    ASSERT_TRUE(engine->Submit({request(0)}).has_value());
    while (engine->stats().waiting > 0) std::this_thread::yield();  // taken by the engine's thread, which is held
    ASSERT_TRUE(engine->Submit({request(1), request(2), request(3)}).has_value());
    EXPECT_EQ(engine->Submit({request(4), request(5)}).error().code(), Code::kResourceExhausted);
    ASSERT_TRUE(engine->Submit({request(4)}).has_value());
    EXPECT_EQ(engine->Submit({request(5)}).error().message(), "4 requests are waiting; the queue holds 4");
    EXPECT_EQ(engine->stats().running, 1);
  }
  for (size_t i = 0; i < 5; ++i) pending[i].over.wait();
}

TEST(Engine, ATaskRunsAloneAndRequestsGoOnAfterIt) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto engine = *Engine::Create(model, SmallOptions(), *backend);
  std::deque<Pending> pending(20);
  for (Pending& p : pending)
    ASSERT_TRUE(engine->Submit({{.prompt = {1, 2}, .max_tokens = 30, .on_event = p.Fn()}}).has_value());
  int in_use = -1;
  ASSERT_TRUE(engine->RunExclusive([&](Core& core) { in_use = InUse(core); }).ok());
  EXPECT_EQ(in_use, 0);
  for (Pending& p : pending) p.over.wait();
  for (Pending& p : pending) EXPECT_EQ(p.told.finish, FinishReason::kLength);
  while (engine->StalledSeconds() > 0) std::this_thread::yield();
  const Stats stats = engine->stats();
  EXPECT_EQ(stats.free_blocks + stats.cached_blocks, 24);
}

TEST(Engine, StepsAreCountedByTheirTokens) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto engine = *Engine::Create(model, SmallOptions(), *backend);
  Pending pending;
  ASSERT_TRUE(engine->Submit({{.prompt = {1, 2, 3}, .max_tokens = 5, .on_event = pending.Fn()}}).has_value());
  pending.over.wait();
  while (engine->StalledSeconds() > 0) std::this_thread::yield();
  const StepTokens counts = engine->stats().step_tokens;
  EXPECT_EQ(counts.tokens, 3 + 4);  // the answer's last is not computed any more
  EXPECT_EQ(counts.steps[0], 4);    // up to one token
  EXPECT_EQ(counts.steps[2], 1);    // up to four
}

TEST(Engine, StallIsSeenAndItsEndToo) {
  FakeModel model(kVocab);
  Mutex gate;
  model.on_forward = [&](const ops::StepBatch&) { const MutexLock lock(gate); };
  const auto backend = ops::MakeCpuBackend(1);
  auto engine = *Engine::Create(model, SmallOptions(), *backend);
  EXPECT_EQ(engine->StalledSeconds(), 0);
  Pending pending;
  {
    const MutexLock lock(gate);
    ASSERT_TRUE(engine->Submit({{.prompt = {1}, .on_event = pending.Fn()}}).has_value());
    while (engine->StalledSeconds() < 0.02) std::this_thread::yield();
  }
  pending.over.wait();
  while (engine->StalledSeconds() > 0) std::this_thread::yield();
}

TEST(Engine, StoppingTellsEveryone) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  std::deque<Pending> pending(50);
  {
    auto engine = *Engine::Create(model, SmallOptions(), *backend);
    for (Pending& p : pending)
      ASSERT_TRUE(engine->Submit({{.prompt = {1}, .max_tokens = 200, .on_event = p.Fn()}}).has_value());
  }
  for (Pending& p : pending) {
    EXPECT_EQ(p.told.finals, 1);
    EXPECT_EQ(p.told.after_final, 0);
  }
}

}  // namespace
}  // namespace ingot::engine
