#include "engine/core.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <new>

#include "base/env.h"
#include "engine/test_support.h"

// Counts the allocations of the whole binary, where no sanitizer brings its own operators.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define INGOT_SANITIZED 1
#endif
#endif
#ifndef INGOT_SANITIZED
static std::atomic<int64_t> g_allocations{0};
void* operator new(size_t size) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
void* operator new(size_t size, std::align_val_t alignment) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  const auto align = static_cast<size_t>(alignment);
  if (void* p = std::aligned_alloc(align, (size + align - 1) / align * align)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
#endif

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 300;

TEST(Core, AnswersInAnyMixAreThoseGivenAlone) {
  const auto backend = ops::MakeCpuBackend(2);
  std::mt19937_64 random(11);
  int64_t preemptions = 0, hits = 0, drafts = 0, accepted_drafts = 0;
  const int rounds = GetEnv("INGOT_NIGHTLY") ? 600 : 30;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(round);
    const int window = round % 3 == 0 ? 0 : static_cast<int>(1 + random() % 100);
    const auto states = static_cast<FakeModel::States>(round % 5 == 0 ? 1 + random() % 2 : 0);
    FakeModel model(kVocab, 4096, window, states);
    const ExecutorOptions options{
        .max_batch_size = static_cast<int>(1 + random() % 14),
        .max_prefill_tokens = static_cast<int64_t>(1 + random() % 200),
        .max_context = 256,
        .max_drafts = static_cast<int>(random() % 5),
        .block_len = random() % 2 == 0 ? 32 : 64,
        .num_blocks = std::vector<int32_t>(model.kv_groups().size(), static_cast<int32_t>(8 + random() % 5)),
        .prefix_caching = random() % 5 != 0,
        .kv_format = round % 2 == 0 ? ops::KvFormat::kF16 : ops::KvFormat::kI4};
    const std::vector<Request> requests = RequestsWithCommonBeginnings(random, kVocab, 40);
    std::vector<Told> alone;
    for (const Request& request : requests) alone.push_back(Alone(model, request, *backend));
    auto core = MakeCore(model, options, *backend, kDevices[round / 2 % 3],
                         std::make_unique<OracleDrafter>(requests, alone, /*wrong_of=*/random() % 5));
    std::deque<Told> told(requests.size());
    size_t added = 0;
    while (added < requests.size() || core->num_running() + core->num_waiting() > 0) {
      for (uint64_t n = random() % 3; n > 0 && added < requests.size(); --n, ++added) {
        Request request = requests[added];
        request.on_event = Record(&told[added]);
        ASSERT_TRUE(core->Check(request).ok()) << core->Check(request).ToString();
        core->Add(added, std::move(request), Clock::now());
      }
      core->Step();
      ASSERT_TRUE(core->cache().CheckIntegrity());
      if (random() % 40 == 0) core->PreemptAll();
    }
    while (core->Step()) {
    }
    EXPECT_EQ(InUse(*core), 0);
    preemptions += core->stats().preemptions;
    hits += core->stats().prefix_hits;
    drafts += core->stats().draft_tokens;
    accepted_drafts += core->stats().accepted_draft_tokens;
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(told[i].finals, 1);
      EXPECT_EQ(told[i].after_final, 0);
      EXPECT_TRUE(told[i] == alone[i]) << "request " << i;
    }
  }
  EXPECT_GT(preemptions, 0);
  EXPECT_GT(hits, 1000);
  EXPECT_GT(accepted_drafts, 1000);
  EXPECT_GT(drafts - accepted_drafts, 1000);
}

struct Keeps {
  int window;  // 0: no layer has one
  FakeModel::States states;
};

TEST(Core, ANextTurnComputesOnlyWhatIsNew) {
  using States = FakeModel::States;
  for (const Keeps keeps : {Keeps{0, States::kNone}, Keeps{40, States::kNone}, Keeps{0, States::kToo},
                            Keeps{40, States::kToo}, Keeps{0, States::kOnly}}) {
    SCOPED_TRACE(fmt::format("window {}, states {}", keeps.window, static_cast<int>(keeps.states)));
    FakeModel model(kVocab, 4096, keeps.window, keeps.states);
    const auto backend = ops::MakeCpuBackend(1);
    int64_t computed = 0;
    auto core = MakeCore(model,
                         {.max_batch_size = 2,
                          .max_prefill_tokens = 64,
                          .max_context = 2000,
                          .block_len = 32,
                          .num_blocks = std::vector<int32_t>(model.kv_groups().size(), 70)},
                         *backend);
    RequestId id = 0;
    // A turn of 13 tokens after the history, to which it adds them and the answer.
    const auto take_turn = [&](std::vector<int32_t>* history) {
      Request request{.prompt = *history, .max_tokens = 10, .sampling = {.temperature = 0}};
      for (int i = 0; i < 13; ++i) request.prompt.push_back(20 + static_cast<int32_t>(id) + i);
      *history = request.prompt;
      Told told;
      request.on_event = Record(&told);
      computed = 0;
      model.on_forward = [&](const ops::StepBatch& batch) { computed += batch.num_tokens(); };
      core->Add(++id, request, Clock::now());
      while (core->Step()) {
      }
      model.on_forward = nullptr;
      EXPECT_TRUE(told == Alone(model, request, *backend));
      history->insert(history->end(), told.tokens.begin(), told.tokens.end());
    };
    std::vector<int32_t> history, earlier;
    for (int turn = 0; turn < 20; ++turn) {
      if (turn == 12) earlier = history;
      take_turn(&history);
      // The turn, the one token never forwarded before, and the answer but for its last token.
      EXPECT_EQ(computed, 13 + (turn > 0 ? 1 : 0) + 9) << "turn " << turn;
    }
    // Back to the end of a turn, and to the middle of an answer: a state has advanced beyond that.
    std::vector<int32_t> middle(earlier.begin(), earlier.end() - 5);
    take_turn(&earlier);
    // The turn after it has forwarded the token, but left no state there.
    EXPECT_EQ(computed, 13 + (keeps.states == States::kNone ? 0 : 1) + 9);
    take_turn(&middle);
    EXPECT_GE(computed, 13 + 9);
    EXPECT_LT(computed, 13 + 9 + 32);
  }
}

// An int4 cache has whole tiles of 32 tokens only: up to 31 more are computed.
TEST(Core, WithAnInt4CacheANextTurnComputesWhatIsNewAndAPartOfATile) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(model,
                       {.max_batch_size = 2,
                        .max_prefill_tokens = 50,
                        .max_context = 2000,
                        .block_len = 64,
                        .num_blocks = {40},
                        .kv_format = ops::KvFormat::kI4},
                       *backend);
  std::vector<int32_t> history;
  for (int turn = 0; turn < 20; ++turn) {
    Request request{.prompt = history, .max_tokens = 10, .sampling = {.temperature = 0}};
    for (int i = 0; i < 13; ++i) request.prompt.push_back(20 + turn + i);
    Told told;
    int64_t cached = -1;
    request.on_event = [&, record = Record(&told)](Event&& event) {
      cached = event.cached_tokens;
      record(std::move(event));
    };
    core->Add(static_cast<RequestId>(turn), request, Clock::now());
    while (core->Step()) {
    }
    const int64_t forwarded = std::max<int64_t>(0, std::ssize(history) - 1);
    EXPECT_EQ(cached, forwarded / 32 * 32) << "turn " << turn;
    EXPECT_TRUE(told == Alone(model, request, *backend));
    history = request.prompt;
    history.insert(history.end(), told.tokens.begin(), told.tokens.end());
  }
}

TEST(Core, WithoutPrefixCachingOnlyThoseThatAskForItFindTheirBlocks) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(model,
                       {.max_batch_size = 2,
                        .max_prefill_tokens = 64,
                        .max_context = 256,
                        .block_len = 32,
                        .num_blocks = {30},
                        .prefix_caching = false},
                       *backend);
  const auto cached = [&](const std::string& salt, bool always) {
    Request request{.prompt = std::vector<int32_t>(100, 7), .max_tokens = 2};
    request.cache_salt = salt;
    request.caches_always = always;
    int64_t tokens = -1;
    request.on_event = [&](const Event& event) { tokens = event.cached_tokens; };
    core->Add(1, request, Clock::now());
    while (core->Step()) {
    }
    return tokens;
  };
  EXPECT_EQ(cached("", false), 0);
  EXPECT_EQ(core->cache().stats().cached, 0);  // nothing was kept
  EXPECT_EQ(cached("", false), 0);
  EXPECT_EQ(cached("mine", true), 0);
  EXPECT_EQ(cached("mine", true), 99);
  EXPECT_EQ(cached("yours", true), 0);
  EXPECT_EQ(cached("mine", false), 0);
  EXPECT_EQ(core->stats().prefix_hits, 99);
  EXPECT_EQ(core->stats().prefix_queries, 300);
}

TEST(Core, OnlyTheSameSaltSharesBlocks) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(
      model, {.max_batch_size = 2, .max_prefill_tokens = 64, .max_context = 256, .block_len = 32, .num_blocks = {30}},
      *backend);
  const auto cached = [&](const std::string& salt) {
    int64_t tokens = -1;
    Request request{.prompt = std::vector<int32_t>(100, 7), .max_tokens = 2, .cache_salt = salt};
    request.on_event = [&](const Event& event) { tokens = event.cached_tokens; };
    core->Add(1, std::move(request), Clock::now());
    while (core->Step()) {
    }
    return tokens;
  };
  EXPECT_EQ(cached("a"), 0);
  EXPECT_EQ(cached("b"), 0);
  EXPECT_EQ(cached("a"), 99);
  EXPECT_EQ(cached(""), 0);
}

TEST(Core, ADeadlineEndsWhoWaitsAndWhoRuns) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(
      model, {.max_batch_size = 1, .max_prefill_tokens = 64, .max_context = 256, .block_len = 32, .num_blocks = {30}},
      *backend);
  Told runs, waits, later;
  const Clock::time_point now = Clock::now();
  core->Add(1, {.prompt = {1}, .max_tokens = 200, .deadline = now + std::chrono::hours(1), .on_event = Record(&runs)},
            now);
  core->Add(2, {.prompt = {1}, .max_tokens = 200, .deadline = now, .on_event = Record(&waits)}, now);
  core->Add(3, {.prompt = {1}, .max_tokens = 5, .on_event = Record(&later)}, now);
  while (core->Step()) {
  }
  EXPECT_EQ(runs.finish, FinishReason::kLength);
  EXPECT_EQ(waits.finish, FinishReason::kError);
  EXPECT_EQ(waits.error.code(), Code::kDeadlineExceeded);
  EXPECT_EQ(later.finish, FinishReason::kLength);
}

TEST(Core, LowerPrioritiesGoFirstAndWaitingMakesUpForIt) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(
      model, {.max_batch_size = 1, .max_prefill_tokens = 64, .max_context = 256, .block_len = 32, .num_blocks = {30}},
      *backend);
  std::vector<RequestId> order;
  const Clock::time_point now = Clock::now();
  const auto add = [&](RequestId id, int32_t priority, Clock::time_point submitted) {
    core->Add(id,
              {.prompt = {1},
               .max_tokens = 1,
               .priority = priority,
               .on_event = [&](const Event& event) { order.push_back(event.id); }},
              submitted);
  };
  add(1, 1, now);
  add(2, 0, now);
  add(3, -1, now);
  add(4, 1, now - std::chrono::seconds(15));  // waited long enough to pass a class
  while (core->Step()) {
  }
  EXPECT_EQ(order, (std::vector<RequestId>{3, 4, 2, 1}));
}

class CoreOnDevice : public testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Devices, CoreOnDevice, testing::ValuesIn(kDevices));

TEST_P(CoreOnDevice, RandomCancelsLeakNothingAndTellEveryoneOnce) {
  FakeModel model(kVocab, 4096, 0, FakeModel::States::kToo);
  const auto backend = ops::MakeCpuBackend(1);
  std::mt19937_64 random(5);
  auto core = MakeCore(
      model,
      {.max_batch_size = 6, .max_prefill_tokens = 50, .max_context = 256, .block_len = 32, .num_blocks = {20, 20}},
      *backend, GetParam());
  std::deque<Told> told;
  const int steps = GetEnv("INGOT_NIGHTLY") ? 400'000 : 20'000;
  for (int step = 0; step < steps; ++step) {
    if (random() % 3 == 0 && core->num_waiting() < 10) {
      Request request = RandomRequest(random, kVocab, 100);
      if (random() % 50 == 0) request.prompt[0] = FakeModel::kNanToken;
      request.on_event = Record(&told.emplace_back());
      core->Add(told.size() - 1, std::move(request), Clock::now());
    }
    if (random() % 4 == 0 && !told.empty()) {
      const size_t who = told.size() - 1 - random() % std::min<size_t>(told.size(), 12);
      const bool was_over = told[who].finals > 0;
      core->Cancel(who);
      ASSERT_EQ(told[who].finals, 1);
      if (!was_over) {
        ASSERT_EQ(told[who].finish, FinishReason::kCancelled);
      }
    }
    core->Step();
    if (step % 16 == 0) {
      ASSERT_TRUE(core->cache().CheckIntegrity());
    }
  }
  core->CancelAll();
  EXPECT_EQ(InUse(*core), 0);
  EXPECT_EQ(core->num_running() + core->num_waiting(), 0);
  int errors = 0;
  for (const Told& t : told) {
    ASSERT_EQ(t.finals, 1);
    ASSERT_EQ(t.after_final, 0);
    if (t.finish == FinishReason::kError) ++errors;
  }
  EXPECT_GT(errors, 0);
}

TEST(Core, LogitsThatAreNoNumbersEndTheirOwnRequestOnly) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(
      model, {.max_batch_size = 4, .max_prefill_tokens = 64, .max_context = 128, .block_len = 32, .num_blocks = {16}},
      *backend);
  Request good{.prompt = {1, 2, 4}, .max_tokens = 20};
  Request bad{.prompt = {1, FakeModel::kNanToken}, .max_tokens = 20};
  Told told_good, told_bad;
  const Told alone = Alone(model, good, *backend);
  good.on_event = Record(&told_good);
  bad.on_event = Record(&told_bad);
  core->Add(1, bad, Clock::now());
  core->Add(2, good, Clock::now());
  while (core->Step()) {
  }
  EXPECT_EQ(told_bad.finish, FinishReason::kError);
  EXPECT_EQ(told_bad.error.code(), Code::kInternal);
  EXPECT_TRUE(told_bad.tokens.empty());
  EXPECT_TRUE(told_good == alone);
}

TEST(Core, MinTokensMasksTheEndAndMaxTokensStops) {
  FakeModel model(8);
  const auto backend = ops::MakeCpuBackend(1);
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const Told told = Alone(model,
                            {.prompt = {1},
                             .max_tokens = 50,
                             .min_tokens = 7,
                             .end_ids = {2, 6},
                             .sampling = {.seed = static_cast<int64_t>(seed)}},
                            *backend);
    ASSERT_GE(told.tokens.size(), 8u);
    for (size_t i = 0; i < 7; ++i) ASSERT_TRUE(told.tokens[i] != 2 && told.tokens[i] != 6);
    if (told.finish == FinishReason::kStop) {
      EXPECT_TRUE(told.tokens.back() == 2 || told.tokens.back() == 6);
    } else {
      EXPECT_EQ(told.tokens.size(), 50u);
    }
  }
  const Told told = Alone(model, {.prompt = {1}, .max_tokens = 50, .sampling = {.seed = 3}}, *backend);
  EXPECT_EQ(told.finish, FinishReason::kLength);
  EXPECT_EQ(told.tokens.size(), 50u);
}

TEST(Core, ChecksRequestsBeforeTheyEnter) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(
      model, {.max_batch_size = 1, .max_prefill_tokens = 64, .max_context = 100, .block_len = 32, .num_blocks = {2}},
      *backend);
  const auto check = [&](Request request) { return core->Check(request); };
  EXPECT_TRUE(check({.prompt = {1}, .max_tokens = 64}).ok());
  EXPECT_EQ(check({.prompt = {1}, .max_tokens = 65}).code(), Code::kTooLong);
  EXPECT_EQ(check({.prompt = {1}, .max_tokens = 100}).message(), "1 tokens of prompt and 100 of answer exceed 100");
  EXPECT_EQ(check({.prompt = {1}, .max_tokens = std::numeric_limits<int64_t>::max()}).code(), Code::kTooLong);
  EXPECT_EQ(check({.prompt = {}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(check({.prompt = {300}}).message(), "token id 300 is outside 0…299");
  EXPECT_EQ(check({.prompt = {-1}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(check({.prompt = {1}, .max_tokens = 0}).code(), Code::kInvalidArgument);
  EXPECT_EQ(check({.prompt = {1}, .adapter = 3}).message(), "adapter 3: the model has 3");
  EXPECT_TRUE(check({.prompt = {1}, .adapter = 2}).ok());
}

#ifndef INGOT_SANITIZED
TEST(Core, AStepThatNeitherAdmitsNorFinishesAllocatesNothing) {
  FakeModel model(20'000, 4096, 0, FakeModel::States::kToo);
  const auto backend = ops::MakeCpuBackend(2);
  auto core = MakeCore(model,
                       {.max_batch_size = 4,
                        .max_prefill_tokens = 40,
                        .max_context = 700,
                        .max_drafts = 2,
                        .block_len = 32,
                        .num_blocks = {80, 80}},
                       *backend);
  int64_t tokens = 0;
  std::mt19937_64 random(1);
  for (RequestId id = 0; id < 4; ++id) {
    Request request = RandomRequest(random, 20'000, 1);
    request.prompt.resize(90, 7);
    request.max_tokens = 400;
    request.end_ids.clear();
    request.sampling = {.seed = static_cast<int64_t>(id), .num_logprobs = static_cast<int>(id) - 1};
    if (id == 1) request.sampling.repetition_penalty = 1.2;
    if (id == 2) request.sampling.top_k = 50;
    if (id == 3) request.sampling.top_p = 0.9;
    request.on_event = [&tokens](const Event&) { ++tokens; };
    core->Add(id, std::move(request), Clock::now());
  }
  ASSERT_TRUE(core->Step());                           // admits all four
  for (int step = 0; step < 12; ++step) core->Step();  // prompts in
  const int64_t before = g_allocations.load();
  for (int step = 0; step < 290; ++step) ASSERT_TRUE(core->Step());
  EXPECT_EQ(g_allocations.load() - before, 0);
  EXPECT_GT(tokens, 1000);
}
#endif

TEST(Core, ScoringGivesTheSameLogitsForEveryChunk) {
  FakeModel model(50);
  const auto backend = ops::MakeCpuBackend(1);
  auto core = MakeCore(
      model, {.max_batch_size = 1, .max_prefill_tokens = 64, .max_context = 200, .block_len = 32, .num_blocks = {7}},
      *backend);
  std::vector<int32_t> ids(200);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7 % 50 == 13 ? 1 : i * 7 % 50);
  std::vector<float> expected;
  for (const int64_t chunk : {0, 1, 7, 64, 200}) {
    std::vector<float> all;
    int64_t next = 0;
    const Status status =
        core->executor().Score(ids, {.chunk = chunk}, core->cache(), [&](int64_t position, const float* logits) {
          EXPECT_EQ(position, next++);
          all.insert(all.end(), logits, logits + 50);
        });
    ASSERT_TRUE(status.ok());
    EXPECT_EQ(next, 200);
    if (expected.empty()) expected = all;
    EXPECT_EQ(all, expected);
  }
  int64_t first = -1;
  ASSERT_TRUE(core->executor()
                  .Score(ids, {.first_position = 150}, core->cache(),
                         [&](int64_t position, const float* logits) {
                           if (first < 0) first = position;
                           EXPECT_EQ(std::vector<float>(logits, logits + 50),
                                     std::vector<float>(expected.begin() + position * 50,
                                                        expected.begin() + position * 50 + 50));
                         })
                  .ok());
  EXPECT_EQ(first, 150);
  EXPECT_EQ(InUse(*core), 0);
  ids.resize(230, 1);
  EXPECT_EQ(core->executor().Score(ids, {}, core->cache(), [](int64_t, const float*) {}).code(),
            Code::kResourceExhausted);
}

}  // namespace
}  // namespace ingot::engine
