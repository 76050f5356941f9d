// Speculation: whatever the drafts are, answers stay what they are, and a draft leaves no trace before it is accepted.
#include <gtest/gtest.h>

#include <set>

#include "engine/test_support.h"

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 300;
constexpr int kMaxDrafts = 4;

std::vector<int32_t> Lookup(const std::vector<int32_t>& tokens, int64_t limit) {
  std::vector<int32_t> drafts;
  LookupDrafter().Propose(tokens, limit, &drafts);
  return drafts;
}

TEST(LookupDrafter, RepeatsWhatFollowedTheLastTokensBefore) {
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(Lookup({1, 2, 3, 4, 5, 1, 2}, 4), (Ids{3, 4, 5, 1}));
  EXPECT_EQ(Lookup({1, 2, 3, 4, 5, 1, 2}, 2), (Ids{3, 4}));
  EXPECT_EQ(Lookup({1, 2, 3, 1, 2, 4, 9, 1, 2}, 1), Ids{4});                          // the latest of two
  EXPECT_EQ(Lookup({7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2}, 1), Ids{3});                    // the longer of two
  EXPECT_EQ(Lookup({5, 1, 2, 3, 4, 6, 7, 1, 2, 3, 4, 8, 5, 1, 2, 3, 4}, 1), Ids{8});  // both of four tokens or more
  EXPECT_EQ(Lookup({6, 6, 6, 6}, 3), Ids{6});                                         // the end repeats itself
  EXPECT_EQ(Lookup({1, 2, 3, 9, 2}, 4), Ids{});                                       // a single token says nothing
  EXPECT_EQ(Lookup({1, 2}, 4), Ids{});
  EXPECT_EQ(Lookup({1}, 4), Ids{});
}

const ExecutorOptions kOptions{.max_batch_size = 2,
                               .max_prefill_tokens = 128,
                               .max_context = 256,
                               .max_drafts = kMaxDrafts,
                               .block_len = 64,
                               .num_blocks = {12}};

// How many steps a request takes, and what of it is drafted and accepted.
TEST(Drafts, GoodOnesSaveStepsAndBadOnesCostNone) {
  const auto backend = ops::MakeCpuBackend(1);
  FakeModel model(kVocab);
  const Request request{.prompt = {1, 2, 4}, .max_tokens = 21};
  const std::vector<Told> alone = {Alone(model, request, *backend)};
  for (const Device device : kDevices) {
    const auto run = [&](uint64_t wrong_of) {
      auto core = MakeCore(model, kOptions, *backend, device,
                           std::make_unique<OracleDrafter>(std::vector{request}, alone, wrong_of));
      Told told;
      Request copy = request;
      copy.on_event = Record(&told);
      core->Add(1, std::move(copy), Clock::now());
      while (core->Step()) EXPECT_TRUE(core->cache().CheckIntegrity());
      EXPECT_TRUE(told == alone[0]);
      EXPECT_EQ(InUse(*core), 0);
      return core->stats();
    };
    const Stats good = run(0);
    EXPECT_EQ(good.steps, 5);  // the prompt's, which draws one token, and four of five tokens each
    EXPECT_EQ(good.draft_tokens, 16);
    EXPECT_EQ(good.accepted_draft_tokens, 16);
    const Stats bad = run(1);
    EXPECT_EQ(bad.steps, 21);
    EXPECT_EQ(bad.accepted_draft_tokens, 0);
    const Stats mixed = run(3);
    EXPECT_GT(mixed.steps, 5);
    EXPECT_LT(mixed.steps, 21);
    EXPECT_EQ(mixed.steps, 21 - mixed.accepted_draft_tokens);
  }
}

// Requests whose draws depend on the tokens before them otherwise than through the model get no drafts.
TEST(Drafts, AreNotMadeWhereEachDrawNeedsTheLastToken) {
  const auto backend = ops::MakeCpuBackend(1);
  FakeModel model(kVocab);
  Request penalized{.prompt = {1, 2, 4}, .max_tokens = 20}, with_minimum = penalized;
  penalized.sampling.frequency_penalty = 0.5;
  with_minimum.min_tokens = 20;
  with_minimum.end_ids = {3};
  for (const Request& request : {penalized, with_minimum}) {
    const std::vector<Told> alone = {Alone(model, request, *backend)};
    auto core = MakeCore(model, kOptions, *backend, Device::kInline,
                         std::make_unique<OracleDrafter>(std::vector{request}, alone, 0));
    Told told;
    Request copy = request;
    copy.on_event = Record(&told);
    core->Add(1, std::move(copy), Clock::now());
    while (core->Step()) {
    }
    EXPECT_TRUE(told == alone[0]);
    EXPECT_EQ(core->stats().draft_tokens, 0);
  }
}

// A draft that would fill a block, while its step is in flight and afterwards.
TEST(Drafts, EnterTheIndexWhenTheyAreAccepted) {
  const auto backend = ops::MakeCpuBackend(1);
  FakeModel model(kVocab);
  const Request request{.prompt = std::vector<int32_t>(62, 9), .max_tokens = 20};
  const std::vector<Told> alone = {Alone(model, request, *backend)};
  for (const bool good : {true, false}) {
    auto core = MakeCore(model, kOptions, *backend, Device::kLazy,
                         std::make_unique<OracleDrafter>(std::vector{request}, alone, good ? 0 : 1));
    std::vector<int32_t> text = request.prompt;  // the first block with the draft, and a token more
    for (const int32_t id : {alone[0].tokens[0], good ? alone[0].tokens[1] : alone[0].tokens[1] ^ 1, 0})
      text.push_back(id);
    const auto indexed = [&] { return core->cache().Find(kv::PrefixScope{}, text, 65).num_tokens; };
    Told told;
    Request copy = request;
    copy.on_event = Record(&told);
    core->Add(1, std::move(copy), Clock::now());
    ASSERT_TRUE(core->Step());  // launches the prompt
    ASSERT_TRUE(core->Step());  // collects it
    ASSERT_TRUE(core->Step());  // launches a token and a draft
    ASSERT_TRUE(core->in_flight());
    ASSERT_EQ(core->last_plan().work[0].num_drafts, 1);
    EXPECT_EQ(indexed(), 0);
    ASSERT_TRUE(core->Step());
    EXPECT_EQ(indexed(), good ? 64 : 0);
    while (core->Step()) {
    }
    EXPECT_TRUE(told == alone[0]);
    EXPECT_EQ(indexed(), good ? 64 : 63);  // of the right block all but the draft
  }
}

// What is not known to stay must not be quantized: a tile of an int4 cache is closed by a token that was drawn.
TEST(Drafts, CloseNoTileOfAnInt4Cache) {
  const auto backend = ops::MakeCpuBackend(1);
  FakeModel model(kVocab);
  std::set<int32_t> offsets;  // of drafts in their tiles
  for (int length = 1; length <= 70; ++length) {
    const Request request{.prompt = std::vector<int32_t>(static_cast<size_t>(length), 9), .max_tokens = 70};
    const std::vector<Told> alone = {Alone(model, request, *backend)};
    ExecutorOptions options = kOptions;
    options.kv_format = ops::KvFormat::kI4;
    auto core =
        MakeCore(model, options, *backend, Device::kInline,
                 std::make_unique<OracleDrafter>(std::vector{request}, alone, static_cast<uint64_t>(length % 4)));
    Told told;
    Request copy = request;
    copy.on_event = Record(&told);
    core->Add(1, std::move(copy), Clock::now());
    while (core->Step()) {
      for (const Work& work : core->last_plan().work) {
        for (int64_t p = work.begin + work.count - work.num_drafts; p < work.begin + work.count; ++p)
          offsets.insert(static_cast<int32_t>(p % ops::kKvTile));
      }
    }
    EXPECT_TRUE(told == alone[0]) << length;
  }
  EXPECT_EQ(offsets.size(), 31u);
  EXPECT_FALSE(offsets.contains(31));
}

}  // namespace
}  // namespace ingot::engine
