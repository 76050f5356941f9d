#include "llm/memory_plan.h"

#include <gtest/gtest.h>

#include "kv/cache.h"

namespace ingot::llm {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

LoadOptions Options() { return {.max_batch_size = 4}; }

MemoryNeeds Needs() {
  return {.weights = 100 * kMiB, .groups = {{0, kMiB}}, .max_position = 6400, .workspace = [](int64_t session_len) {
            return 10 * kMiB + session_len * 100;
          }};
}

TEST(MemoryPlan, TakesWhatTheSlotsCanUse) {
  const auto plan = PlanMemory(Options(), Needs(), 10'000 * kMiB);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->session_len, 6400);
  EXPECT_EQ(plan->num_blocks[0], 400);
  EXPECT_EQ(plan->kv, 400 * kMiB);
  EXPECT_EQ(plan->workspace, 10 * kMiB + 640'000);
}

TEST(MemoryPlan, TakesItsFractionOfAGpu) {
  LoadOptions options = Options();
  options.device = "cuda";
  const auto plan = PlanMemory(options, Needs(), 10'000 * kMiB);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->num_blocks[0], (10'000 * kMiB - plan->workspace) / 10 * 8 / kMiB);
}

TEST(MemoryPlan, TakesItsFractionWhereThatIsLess) {
  const auto plan = PlanMemory(Options(), Needs(), 211 * kMiB);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->num_blocks[0], 160);
}

TEST(MemoryPlan, ShortensSessionsOfDefaultLength) {
  const auto plan = PlanMemory(Options(), Needs(), 61 * kMiB);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->num_blocks[0], 40);
  EXPECT_EQ(plan->session_len, 40 * 64);
}

TEST(MemoryPlan, TheLedgerSaysThatWeightsAreMapped) {
  MemoryNeeds needs = Needs();
  const LoadOptions options = Options();
  const auto ledger = [&] { return FormatLedger(PlanMemory(options, needs, 1000 * kMiB).value(), options, {}); };
  EXPECT_NE(ledger().find("weights     100.00 MiB\n"), std::string::npos) << ledger();
  needs.mapped_weights = needs.weights;
  EXPECT_NE(ledger().find("weights     100.00 MiB, mapped from the weights cache"), std::string::npos) << ledger();
}

TEST(MemoryPlan, RefusesWithTheValueThatFits) {
  LoadOptions options = Options();
  options.session_len = 6400;
  const auto plan = PlanMemory(options, Needs(), 61 * kMiB);
  ASSERT_FALSE(plan.has_value());
  EXPECT_EQ(plan.error().code(), Code::kResourceExhausted);
  EXPECT_NE(plan.error().message().find("--session-len 2560 fits"), std::string::npos) << plan.error().message();
  options.session_len = 2560;
  EXPECT_TRUE(PlanMemory(options, Needs(), 61 * kMiB).has_value());

  options = Options();
  options.kv_cache_bytes = 60 * kMiB;
  const auto refused = PlanMemory(options, Needs(), 61 * kMiB);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message().find("--kv-cache-memory 50.3MiB fits"), std::string::npos)
      << refused.error().message();
  EXPECT_EQ(PlanMemory(Options(), Needs(), 5 * kMiB).error().code(), Code::kResourceExhausted);
}

TEST(MemoryPlan, GivesTheCacheTheBytesItWasTold) {
  LoadOptions options = Options();
  options.kv_cache_bytes = 777 * kMiB;
  const auto plan = PlanMemory(options, Needs(), 10'000 * kMiB);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->num_blocks[0], 777);
}

TEST(MemoryPlan, SlotsStayWithinInt32) {
  MemoryNeeds needs = Needs();
  needs.groups = {{0, 1}};
  needs.max_position = int64_t{1} << 30;
  LoadOptions options = Options();
  options.max_batch_size = 4096;
  needs.workspace = [](int64_t) { return 0; };
  const auto plan = PlanMemory(options, needs, int64_t{1} << 50);
  ASSERT_TRUE(plan.has_value());
  EXPECT_LE(int64_t{plan->num_blocks[0]} * 64, int64_t{1} << 31);
}

TEST(MemoryPlan, GivesLayersWithAWindowWhatTheWindowNeeds) {
  MemoryNeeds needs = Needs();
  needs.groups = {{0, kMiB}, {640, 4 * kMiB}};
  const auto plan = PlanMemory(Options(), needs, 10'000 * kMiB);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->num_blocks[0], 400);
  // Window and chunk: 18 blocks, and 2 at the borders; for four slots, twice.
  EXPECT_EQ(plan->num_blocks[1], 160);
  EXPECT_EQ(plan->kv, (400 + 4 * 160) * kMiB);
  // Where no layer sees everything, a session needs no more than the window, however long it is.
  needs.groups = {{640, kMiB}};
  EXPECT_EQ(PlanMemory(Options(), needs, 10'000 * kMiB)->num_blocks[0], 4 * 20);
  EXPECT_EQ(PlanMemory(Options(), needs, 40 * kMiB)->session_len, 6400);
}

TEST(MemoryPlan, GivesLayersWithStatesWhatTheSlotsCanHold) {
  MemoryNeeds needs = Needs();
  needs.groups = {{0, kMiB}, {kv::kStateWindow, 3 * kMiB, true}};
  const auto plan = PlanMemory(Options(), needs, 10'000 * kMiB);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->num_blocks[0], 400);
  // A chunk of 512 tokens leaves eight snapshots, and 3 at its borders; for four slots, twice.
  EXPECT_EQ(plan->num_blocks[1], 88);
  EXPECT_EQ(plan->kv, (400 + 3 * 88) * kMiB);
  const std::string ledger = FormatLedger(*plan, Options(), {});
  EXPECT_NE(ledger.find(" 16384 bytes a token"), std::string::npos) << ledger;
  EXPECT_NE(ledger.find("states    88 of 3.00 MiB, one after each block of 64 tokens, 264.00 MiB"), std::string::npos)
      << ledger;
  // Where there are states only, a session needs no more, however long it is.
  needs.groups = {{kv::kStateWindow, kMiB, true}};
  EXPECT_EQ(PlanMemory(Options(), needs, 10'000 * kMiB)->num_blocks[0], 4 * 11);
  EXPECT_EQ(PlanMemory(Options(), needs, 40 * kMiB)->session_len, 6400);
}

TEST(MemoryPlan, TailsOfAnInt4CacheAreTakenAndTold) {
  MemoryNeeds needs = Needs();
  needs.kv_tails = 20 * kMiB;
  const auto plan = PlanMemory(Options(), needs, 231 * kMiB);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->num_blocks[0], 160);  // as many as without tails in 20 MiB less
  LoadOptions options = Options();
  options.quant_policy = 4;
  const std::string ledger = FormatLedger(*plan, options, {});
  EXPECT_NE(ledger.find("KV cache    160.00 MiB in int4"), std::string::npos) << ledger;
  EXPECT_NE(ledger.find("KV tails    20.00 MiB"), std::string::npos) << ledger;
  needs.kv_tails = 0;
  options.quant_policy = 8;
  const std::string int8 = FormatLedger(*PlanMemory(options, needs, 231 * kMiB), options, {});
  EXPECT_NE(int8.find(" in int8"), std::string::npos) << int8;
  EXPECT_NE(int8.find("int8 costs about"), std::string::npos) << int8;
  EXPECT_NE(ledger.find("LMDeploy 0.2 was int8"), std::string::npos) << ledger;
  EXPECT_EQ(int8.find("KV tails"), std::string::npos) << int8;
}

// What the ledger says of a plan for so much memory.
std::string LedgerOf(const LoadOptions& options, int64_t available) {
  const auto plan = PlanMemory(options, Needs(), available);
  return plan ? FormatLedger(*plan, options, {}) : plan.error().message();
}

TEST(MemoryPlan, TellsWhatTheCacheHoldsAtOnce) {
  LoadOptions options = Options();
  EXPECT_NE(LedgerOf(options, 10'000 * kMiB).find("sessions    4 at once of up to 6400 tokens\n"), std::string::npos);
  EXPECT_NE(LedgerOf(options, 300 * kMiB)
                .find("4 at once, each of up to 6400 tokens while the cache has room: it holds "
                      "2 of that length"),
            std::string::npos)
      << LedgerOf(options, 300 * kMiB);
  options.kv_cache_bytes = kMiB;
  EXPECT_NE(LedgerOf(options, 300 * kMiB).find("each of up to 64 tokens while the cache has room: it holds 1 of that"),
            std::string::npos);
  EXPECT_NE(LedgerOf(options, 300 * kMiB).find("1 block of 64 tokens"), std::string::npos);
}

TEST(MemoryPlan, WarnsOfAShortContextWithWhatHelps) {
  LoadOptions options = Options();
  const auto warning = [&](int64_t available) { return PlanMemory(options, Needs(), available)->shortened; };
  EXPECT_EQ(warning(10'000 * kMiB), "");
  options.kv_cache_bytes = 14 * kMiB;
  EXPECT_EQ(warning(10'000 * kMiB),
            "the KV cache holds a context of 896 tokens, and the model's is 6400: longer requests are refused. "
            "--kv-cache-memory 100MiB holds it all; --session-len 896 says that it is meant to be so");
  options.kv_cache_bytes = 100 * kMiB;
  EXPECT_EQ(warning(10'000 * kMiB), "");
  options.kv_cache_bytes = 0;
  options.cache_max_entry_count = 0.25;
  EXPECT_NE(warning(211 * kMiB).find("--cache-max-entry-count 0.50 holds it all"), std::string::npos)
      << warning(211 * kMiB);
  options.cache_max_entry_count = 0.50;
  EXPECT_EQ(warning(211 * kMiB), "");
  EXPECT_NE(warning(61 * kMiB).find("--quant-policy 8 or 4 holds more"), std::string::npos);
  options.quant_policy = 4;
  EXPECT_NE(warning(61 * kMiB).find("refused. --session-len"), std::string::npos);
}

TEST(MemoryPlan, RefusesACacheOfLessThanABlock) {
  LoadOptions options = Options();
  options.kv_cache_bytes = 1024;
  const auto plan = PlanMemory(options, Needs(), 10'000 * kMiB);
  ASSERT_FALSE(plan.has_value());
  EXPECT_EQ(plan.error().message(),
            "--kv-cache-memory 1KiB is less than a block of 64 tokens takes; --kv-cache-memory 1MiB is the least, and "
            "holds no more than that");
  options.kv_cache_bytes = kMiB;
  EXPECT_TRUE(PlanMemory(options, Needs(), 10'000 * kMiB).has_value());
}

}  // namespace
}  // namespace ingot::llm
