#include "engine/scheduler.h"

#include <gtest/gtest.h>

namespace ingot::engine {
namespace {

constexpr int kBlockLen = 32;

SlotState Live(int64_t rank, int64_t num_tokens, int64_t num_computed) {
  SlotState state{.live = true, .rank = rank, .num_tokens = num_tokens, .num_computed = num_computed};
  state.table_blocks[0] = state.held[0] = state.exclusive[0] = kv::BlocksFor(num_computed, kBlockLen);
  state.expected[0] = kv::BlocksFor(num_tokens + kBlockLen, kBlockLen) - state.table_blocks[0];
  return state;
}
WaitingState Waits(int64_t num_tokens, int64_t num_cached = 0) {
  return {.num_tokens = num_tokens, .num_cached = num_cached, .needed = {kv::BlocksFor(num_tokens, kBlockLen)}};
}
SchedulerState State(const std::vector<SlotState>& slots, const std::vector<WaitingState>& waiting, int64_t available) {
  SchedulerState state{
      .slots = slots, .waiting = waiting, .available = {available}, .num_groups = 1, .block_len = kBlockLen};
  state.total[0] = available;
  for (const SlotState& slot : slots) state.total[0] += slot.held[0];
  return state;
}

TEST(Plan, DecodesComeFirstThenPrefillsByRankWithinTheBudget) {
  const std::vector<SlotState> slots = {Live(2, 90, 0), Live(3, 50, 49), {}, Live(1, 40, 10)};
  StepPlan plan(4);
  Plan(State(slots, {}, 10), 64, &plan);
  ASSERT_EQ(plan.work.size(), 3u);
  EXPECT_EQ(plan.work[0].slot, 1);
  EXPECT_EQ(plan.work[0].count, 1);
  EXPECT_TRUE(plan.work[0].sample);
  EXPECT_EQ(plan.work[1].slot, 3);
  EXPECT_EQ(plan.work[1].begin, 10);
  EXPECT_EQ(plan.work[1].count, 30);
  EXPECT_TRUE(plan.work[1].sample);
  EXPECT_EQ(plan.work[2].slot, 0);
  EXPECT_EQ(plan.work[2].count, 34);
  EXPECT_FALSE(plan.work[2].sample);
}

TEST(Plan, AdmitsInOrderWhileSlotsAndBlocksLast) {
  const std::vector<SlotState> slots = {Live(0, 33, 32), {}, {}, {}};
  StepPlan plan(4);
  // 3 can be had; one is taken and one promised to who runs: the first fits, the second does not, the third does not
  // overtake.
  const std::vector<WaitingState> waiting = {Waits(5), Waits(70), Waits(5)};
  Plan(State(slots, waiting, 3), 64, &plan);
  EXPECT_EQ(plan.admitted_slots, std::vector<int32_t>{1});
  Plan(State(slots, waiting, 12), 200, &plan);
  EXPECT_EQ(plan.admitted_slots, (std::vector<int32_t>{1, 2, 3}));
  ASSERT_EQ(plan.work.size(), 4u);
  EXPECT_EQ(plan.work[3].slot, 3);
}

TEST(Plan, AHitIsNotComputedAgain) {
  StepPlan plan(1);
  Plan(State({SlotState{}}, {Waits(100, 90)}, 10), 64, &plan);
  ASSERT_EQ(plan.work.size(), 1u);
  EXPECT_EQ(plan.work[0].begin, 90);
  EXPECT_EQ(plan.work[0].count, 10);
  EXPECT_TRUE(plan.work[0].sample);
}

TEST(Plan, DraftsGetTheRestOfABlockAndCompleteNoTile) {
  StepPlan plan(1);
  const auto drafts = [&](int64_t num_tokens, int granularity) {
    SlotState slot = Live(1, num_tokens, num_tokens - 1);
    slot.num_drafts = 4;
    const std::vector<SlotState> slots = {slot};
    SchedulerState state = State(slots, {}, 9);
    state.block_len = 64;
    state.granularity = granularity;
    Plan(state, 64, &plan);
    EXPECT_EQ(plan.work.at(0).count, 1 + plan.work[0].num_drafts);
    EXPECT_TRUE(plan.work[0].is_decode());
    return plan.work[0].num_drafts;
  };
  EXPECT_EQ(drafts(20, 1), 4);
  EXPECT_EQ(drafts(30, 1), 4);
  EXPECT_EQ(drafts(62, 1), 2);
  EXPECT_EQ(drafts(63, 1), 1);
  EXPECT_EQ(drafts(64, 1), 0);
  EXPECT_EQ(drafts(65, 1), 4);
  EXPECT_EQ(drafts(27, 32), 4);
  EXPECT_EQ(drafts(28, 32), 3);
  EXPECT_EQ(drafts(30, 32), 1);
  EXPECT_EQ(drafts(31, 32), 0);
  EXPECT_EQ(drafts(32, 32), 4);
  EXPECT_EQ(drafts(63, 32), 0);
  EXPECT_EQ(drafts(64, 32), 0);
}

TEST(Plan, WhoRanksLastGivesWay) {
  StepPlan plan(3);
  // All three decode at a block's border and nothing is left: the last gives two blocks to the others.
  Plan(State({Live(7, 65, 64), Live(9, 65, 64), Live(8, 65, 64)}, {Waits(5)}, 0), 64, &plan);
  EXPECT_EQ(plan.preempted, std::vector<int32_t>{1});
  EXPECT_TRUE(plan.admitted_slots.empty());
  ASSERT_EQ(plan.work.size(), 2u);
  EXPECT_EQ(plan.work[0].slot, 0);
  EXPECT_EQ(plan.work[1].slot, 2);
}

TEST(Plan, TheFirstGetsRoomForItsPromptAndOthersTakeWhatThereIs) {
  StepPlan plan(2);
  Plan(State({Live(1, 200, 64), Live(2, 200, 32)}, {}, 0), 64, &plan);
  EXPECT_EQ(plan.preempted, std::vector<int32_t>{1});
  ASSERT_EQ(plan.work.size(), 1u);
  EXPECT_EQ(plan.work[0].count, 32);  // the one block that there is now
  Plan(State({Live(1, 200, 64), Live(2, 200, 40)}, {}, 1), 64, &plan);
  EXPECT_TRUE(plan.preempted.empty());
  ASSERT_EQ(plan.work.size(), 2u);
  EXPECT_EQ(plan.work[1].count, 24);  // what is left of its own block
}

TEST(Plan, WhatOthersShareAmongThemselvesIsAvailableOnceTheyAreAllGone) {
  std::vector<SlotState> slots = {Live(1, 65, 64), Live(2, 97, 96), Live(3, 97, 96)};
  slots[1].exclusive[0] = slots[2].exclusive[0] = 0;  // three blocks, held by both
  SchedulerState state = State(slots, {}, 0);
  state.total[0] = 5;
  StepPlan plan(3);
  Plan(state, 64, &plan);
  EXPECT_EQ(plan.preempted, (std::vector<int32_t>{2, 1}));
  ASSERT_EQ(plan.work.size(), 1u);
  EXPECT_EQ(plan.work[0].slot, 0);
}

TEST(Plan, NothingToDoIsAnEmptyPlan) {
  StepPlan plan(2);
  Plan(State(std::vector<SlotState>(2), {}, 1), 64, &plan);
  EXPECT_TRUE(plan.work.empty());
}

TEST(PrefillBudget, KeepsAStepBelowTwiceWhatTheDecodesTake) {
  CostTable cost;
  EXPECT_EQ(PrefillBudget(cost, {0, 1}, 512), 512);
  EXPECT_LE(PrefillBudget(cost, {3, 1}, 512), 64);
  for (int i = 0; i < 50; ++i) {
    cost.Observe(16, 0, 400'000);
    cost.Observe(0, 100, 50'000);
  }
  EXPECT_EQ(PrefillBudget(cost, {0, 1}, 512), 512);
  const int64_t budget = PrefillBudget(cost, {16, 1}, 4096);
  EXPECT_GT(budget * 500, 200'000);
  EXPECT_LT(budget * 500 + 400'000, 800'000);
  EXPECT_EQ(PrefillBudget(cost, {16, 16}, 4096), budget);
  for (int i = 0; i < 100; ++i) cost.Observe(0, 1, 10'000'000);
  EXPECT_EQ(PrefillBudget(cost, {16, 1}, 4096), 4);  // a prompt makes progress all the same
  EXPECT_EQ(PrefillBudget(cost, {16, 1}, 3), 3);
}

TEST(PrefillBudget, FillsAShortStepUpToWhatReadersDoNotNotice) {
  CostTable cost;
  for (int i = 0; i < 50; ++i) {
    cost.Observe(16, 0, 20'000);
    cost.Observe(0, 100, 50'000);
  }
  EXPECT_EQ(PrefillBudget(cost, {16, 1}, 4096), 160);  // 80 ms beside 20 ms of decodes
}

TEST(PrefillBudget, GrowsWhereMorePromptsWaitThanDecode) {
  CostTable cost;
  for (int i = 0; i < 50; ++i) {
    cost.Observe(2, 0, 80'000);
    cost.Observe(0, 100, 50'000);
  }
  const int64_t budget = PrefillBudget(cost, {2, 1}, 4096);
  EXPECT_NEAR(static_cast<double>(PrefillBudget(cost, {2, 30}, 4096)), 15.0 * static_cast<double>(budget), 15);
  EXPECT_EQ(PrefillBudget(cost, {2, 30}, 512), 512);
}

}  // namespace
}  // namespace ingot::engine
