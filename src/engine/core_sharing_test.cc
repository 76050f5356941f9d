// What requests with the same tokens share: that it saves work, and that it is counted rightly when blocks are lacking.
#include <gtest/gtest.h>

#include <deque>

#include "base/env.h"
#include "engine/test_support.h"

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 300;

// Two that hold exactly the same blocks, none exclusively, and a third that ranks before them: all come to the end of
// their blocks at once, or nearly.
TEST(CoreSharing, TwinsGiveUpWhatTheyShareToWhoIsBeforeThem) {
  FakeModel model(kVocab);
  const auto backend = ops::MakeCpuBackend(1);
  int64_t preemptions = 0;
  for (int length = 25; length <= 70; ++length) {
    for (int32_t num_blocks = 5; num_blocks <= 9; ++num_blocks) {
      SCOPED_TRACE(fmt::format("{} tokens, {} blocks", length, num_blocks));
      auto core = MakeCore(model,
                           {.max_batch_size = 3,
                            .max_prefill_tokens = 512,
                            .max_context = 160,
                            .block_len = 32,
                            .num_blocks = {num_blocks}},
                           *backend);
      Request first{.prompt = std::vector<int32_t>(static_cast<size_t>(length), 7), .max_tokens = 90};
      Request twin{.prompt = std::vector<int32_t>(60, 8), .max_tokens = 90};
      for (Request* request : {&first, &twin}) request->sampling.temperature = 0;
      std::deque<Told> told(3);
      for (size_t i = 0; i < told.size(); ++i) {
        Request request = i == 0 ? first : twin;
        request.on_event = Record(&told[i]);
        core->Add(i, std::move(request), Clock::time_point(std::chrono::seconds(i)));
      }
      while (core->Step()) ASSERT_TRUE(core->cache().CheckIntegrity());
      EXPECT_EQ(InUse(*core), 0);
      for (size_t i = 0; i < told.size(); ++i) EXPECT_TRUE(told[i] == Alone(model, i == 0 ? first : twin, *backend));
      preemptions += core->stats().preemptions;
    }
  }
  EXPECT_GT(preemptions, 0);
}

TEST(CoreSharing, OneOfSeveralAnswersReadsThePromptForAll) {
  for (const int window : {0, 50}) {
    SCOPED_TRACE(window);
    FakeModel model(kVocab, 4096, window);
    const auto backend = ops::MakeCpuBackend(1);
    auto core = MakeCore(model,
                         {.max_batch_size = 8,
                          .max_prefill_tokens = 100,
                          .max_context = 1000,
                          .block_len = 32,
                          .num_blocks = std::vector<int32_t>(model.kv_groups().size(), 60)},
                         *backend);
    Request request{.max_tokens = 5};
    for (int32_t i = 0; i < 700; ++i) request.prompt.push_back(20 + i % 200);
    std::deque<Told> told(7);
    std::deque<Request> requests(told.size(), request);
    requests[5].prompt[400] = 1;  // parts from them in a block in the middle
    int64_t computed = 0;
    model.on_forward = [&](const ops::StepBatch& batch) { computed += batch.num_tokens(); };
    for (size_t i = 0; i < told.size(); ++i) {
      requests[i].sampling.seed = static_cast<int64_t>(i);
      Request one = requests[i];
      one.on_event = Record(&told[i]);
      core->Add(i, std::move(one), Clock::now());
    }
    while (core->Step()) {
    }
    model.on_forward = nullptr;
    for (size_t i = 0; i < told.size(); ++i) EXPECT_TRUE(told[i] == Alone(model, requests[i], *backend)) << i;
    // One whole prompt; of the others what is behind the last whole block they share, and the answers.
    EXPECT_LE(computed, 700 + 5 * 32 + 300 + 32 + 7 * 4);
    EXPECT_EQ(InUse(*core), 0);
  }
}

// Crowds of few different requests in caches that hardly hold one of them.
TEST(CoreSharing, CopiesOfFewRequestsInTinyCachesAnswerAsAlone) {
  const auto backend = ops::MakeCpuBackend(1);
  std::mt19937_64 random(17);
  const int rounds = GetEnv("INGOT_NIGHTLY") ? 600 : 30;
  int64_t preemptions = 0, hits = 0;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(round);
    FakeModel model(kVocab, 4096, round % 2 == 0 ? 0 : static_cast<int>(1 + random() % 80),
                    round % 4 < 3 ? FakeModel::States::kNone : FakeModel::States::kToo);
    std::vector<Request> kinds;
    for (int i = 0; i < 3; ++i) {
      Request& kind = kinds.emplace_back(RandomRequest(random, kVocab, 150));
      kind.max_tokens = 1 + static_cast<int64_t>(random() % 90);
      if (i > 0 && random() % 2 == 0) kind.prompt = kinds[0].prompt;
      if (random() % 2 == 0) kind.end_ids.clear();
    }
    const ExecutorOptions options{
        .max_batch_size = static_cast<int>(2 + random() % 10),
        .max_prefill_tokens = static_cast<int64_t>(1 + random() % 200),
        .max_context = 256,
        .block_len = 32,
        .num_blocks = std::vector<int32_t>(model.kv_groups().size(), static_cast<int32_t>(8 + random() % 8)),
        .kv_format = random() % 3 == 0 ? ops::KvFormat::kI4 : ops::KvFormat::kF16};
    std::vector<Told> alone;
    for (const Request& kind : kinds) alone.push_back(Alone(model, kind, *backend, options.kv_format));
    auto core = MakeCore(model, options, *backend, kDevices[round % 3]);
    std::deque<Told> told;
    std::vector<size_t> kind_of;
    while (told.size() < 60 || core->num_running() + core->num_waiting() > 0) {
      for (uint64_t n = random() % 4; n > 0 && told.size() < 60; --n) {
        kind_of.push_back(random() % kinds.size());
        Request request = kinds[kind_of.back()];
        request.priority = static_cast<int32_t>(random() % 3);
        request.on_event = Record(&told.emplace_back());
        if (!core->Check(request).ok()) continue;
        core->Add(told.size() - 1, std::move(request), Clock::now());
      }
      if (random() % 20 == 0 && !told.empty()) core->Cancel(random() % told.size());
      core->Step();
      ASSERT_TRUE(core->cache().CheckIntegrity());
    }
    EXPECT_EQ(InUse(*core), 0);
    preemptions += core->stats().preemptions;
    hits += core->stats().prefix_hits;
    for (size_t i = 0; i < told.size(); ++i) {
      ASSERT_LE(told[i].finals, 1);
      if (told[i].finals == 0 || told[i].finish == FinishReason::kCancelled) continue;
      EXPECT_TRUE(told[i] == alone[kind_of[i]]) << "request " << i;
    }
  }
  // How many depends on the time that steps take: prefill has a budget of it.
  EXPECT_GT(preemptions, 0);
  EXPECT_GT(hits, rounds);
}

}  // namespace
}  // namespace ingot::engine
