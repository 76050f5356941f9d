#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

#include "base/env.h"

namespace ingot::engine {
namespace {

constexpr int kBlockLen = 32;

SlotState Live(int64_t rank, int64_t num_tokens, int64_t num_computed) {
  SlotState state{.live = true, .rank = rank, .num_tokens = num_tokens, .num_computed = num_computed};
  state.table_blocks[0] = state.held[0] = state.exclusive[0] = kv::BlocksFor(num_computed, kBlockLen);
  state.expected[0] = kv::BlocksFor(num_tokens, kBlockLen) - state.table_blocks[0];
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
  EXPECT_EQ(PrefillBudget(cost, 0, 512), 512);
  EXPECT_LE(PrefillBudget(cost, 3, 512), 64);
  for (int i = 0; i < 50; ++i) {
    cost.Observe(16, 0, 40'000);
    cost.Observe(0, 100, 50'000);
  }
  EXPECT_EQ(PrefillBudget(cost, 0, 512), 512);
  const int64_t budget = PrefillBudget(cost, 16, 4096);
  EXPECT_GT(budget * 500, 20'000);
  EXPECT_LT(budget * 500 + 40'000, 80'000);
  for (int i = 0; i < 100; ++i) cost.Observe(0, 1, 10'000'000);
  EXPECT_EQ(PrefillBudget(cost, 16, 4096), 4);  // a prompt goes on all the same
  EXPECT_EQ(PrefillBudget(cost, 16, 3), 3);
}

// A world that holds blocks by counting only.
struct PlainRequest {
  int64_t number, prompt, answer;  // tokens
  int64_t known = 0, computed = 0, held = 0;
  int64_t steps_as_first = 0;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed), slots_(1 + random_() % 12), states_(slots_.size()), plan_(static_cast<int>(slots_.size())) {
    total_ = 12 + static_cast<int64_t>(random_() % 60);
    budget_ = 1 + static_cast<int64_t>(random_() % 100);
  }

  void Step() {
    if (random_() % 3 == 0 && waiting_.size() < 30) Arrive();
    if (random_() % 40 == 0) CancelSomeone();
    PlanAndApply();
  }
  // Nobody new: everybody must get to the end.
  void Drain() {
    int64_t steps = 0;
    while (!waiting_.empty() || LiveCount() > 0) {
      PlanAndApply();
      if (testing::Test::HasFatalFailure()) return;
      ASSERT_TRUE(!plan_.work.empty() || !plan_.preempted.empty()) << "no progress";
      ASSERT_LT(++steps, 1'000'000);
    }
    ASSERT_EQ(held_, 0);
    ASSERT_EQ(finished_ + cancelled_, arrived_);
  }
  int64_t preemptions() const { return preemptions_; }

 private:
  void Arrive() {
    const int64_t most = total_ * kBlockLen;
    PlainRequest request{.number = arrived_++,
                         .prompt = 1 + static_cast<int64_t>(random_() % 300),
                         .answer = 1 + static_cast<int64_t>(random_() % 60)};
    request.prompt = std::min(request.prompt, most - request.answer + 1);
    request.known = request.prompt;
    waiting_.push_back(request);
  }
  void CancelSomeone() {
    auto& slot = slots_[random_() % slots_.size()];
    if (slot) {
      held_ -= slot->held;
      slot.reset();
      ++cancelled_;
    } else if (!waiting_.empty()) {
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(random_() % waiting_.size()));
      ++cancelled_;
    }
  }
  int64_t LiveCount() const {
    return std::ranges::count_if(slots_, [](const auto& s) { return s.has_value(); });
  }
  std::optional<PlainRequest>& At(int32_t slot) { return slots_[static_cast<size_t>(slot)]; }

  void PlanAndApply() {
    std::vector<WaitingState> head;
    for (size_t i = 0; i < slots_.size(); ++i) {
      const auto& s = slots_[i];
      states_[i] = s ? Live(s->number, s->known, s->computed) : SlotState{};
      if (s) states_[i].table_blocks[0] = states_[i].held[0] = states_[i].exclusive[0] = s->held;
    }
    for (const PlainRequest& r : waiting_) head.push_back(Waits(r.known));
    Plan(State(states_, head, total_ - held_), budget_, &plan_);
    Preempt();
    Admit();
    if (testing::Test::HasFatalFailure()) return;
    CheckWork();
    if (testing::Test::HasFatalFailure()) return;
    Apply();
  }
  void Preempt() {
    for (const int32_t slot : plan_.preempted) {
      ASSERT_TRUE(At(slot).has_value());
      for (const auto& other : slots_) {
        // Whoever keeps its slot ranks before it.
        const bool stays = other && std::ranges::none_of(plan_.preempted, [&](int32_t p) { return &At(p) == &other; });
        if (stays) ASSERT_LT(other->number, At(slot)->number);
      }
    }
    for (const int32_t slot : plan_.preempted) {
      PlainRequest request = *At(slot);
      held_ -= request.held;
      request.held = request.computed = 0;
      At(slot).reset();
      const auto at = std::ranges::upper_bound(waiting_, request.number, {}, &PlainRequest::number);
      waiting_.insert(at, request);
      ++preemptions_;
    }
  }
  void Admit() {
    for (const int32_t slot : plan_.admitted_slots) {
      ASSERT_FALSE(At(slot).has_value());
      ASSERT_FALSE(waiting_.empty());
      At(slot) = waiting_.front();
      waiting_.erase(waiting_.begin());
    }
  }
  void CheckWork() {
    std::vector<int> seen(slots_.size());
    int64_t prefill = 0;
    bool prefills_began = false;
    for (const Work& work : plan_.work) {
      const auto& s = At(work.slot);
      ASSERT_TRUE(s.has_value());
      ASSERT_EQ(++seen[static_cast<size_t>(work.slot)], 1);
      ASSERT_EQ(work.begin, s->computed);
      ASSERT_GE(work.count, 1);
      ASSERT_LE(work.begin + work.count, s->known);
      ASSERT_EQ(work.sample, work.begin + work.count == s->known);
      const bool decode = s->known - s->computed == 1 && s->computed > 0;
      if (s->known - s->computed > 1) prefills_began = true;
      if (decode) ASSERT_FALSE(prefills_began);
      if (s->known - s->computed > 1) prefill += work.count;
    }
    ASSERT_LE(prefill, budget_);
    const PlainRequest* first = nullptr;
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (!slots_[i]) continue;
      if (slots_[i]->computed > 0 && slots_[i]->known - slots_[i]->computed == 1) ASSERT_EQ(seen[i], 1);
      if (first == nullptr || slots_[i]->number < first->number) first = &*slots_[i];
    }
    // The first of all goes on in every step.
    if (first != nullptr) ASSERT_EQ(seen[static_cast<size_t>(IndexOf(first))], 1);
  }
  std::ptrdiff_t IndexOf(const PlainRequest* request) const {
    const auto at = std::ranges::find_if(slots_, [&](const auto& s) { return s && &*s == request; });
    return at - slots_.begin();
  }
  void Apply() {
    for (const Work& work : plan_.work) {
      auto& s = At(work.slot);
      s->computed = work.begin + work.count;
      const int64_t wanted = kv::BlocksFor(s->computed, kBlockLen);
      held_ += wanted - s->held;
      s->held = wanted;
      ASSERT_LE(held_, total_);
      if (!work.sample) continue;
      ++s->known;
      if (s->known - s->prompt < s->answer && random_() % 200 != 0) continue;
      held_ -= s->held;
      s.reset();
      ++finished_;
    }
  }

  std::mt19937_64 random_;
  std::vector<std::optional<PlainRequest>> slots_;
  std::vector<SlotState> states_;
  StepPlan plan_;
  std::vector<PlainRequest> waiting_;  // by number
  int64_t total_, budget_, held_ = 0, arrived_ = 0, finished_ = 0, cancelled_ = 0, preemptions_ = 0;
};

// A million steps at night, a twentieth of that otherwise.
TEST(Plan, RandomSimulationLosesNobodyAndAlwaysProgresses) {
  const uint64_t worlds = GetEnv("INGOT_NIGHTLY") ? 240 : 12;
  int64_t preemptions = 0;
  for (uint64_t seed = 0; seed < worlds; ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed);
    for (int step = 0; step < 5000; ++step) {
      simulation.Step();
      if (HasFatalFailure()) return;
    }
    simulation.Drain();
    if (HasFatalFailure()) return;
    preemptions += simulation.preemptions();
  }
  EXPECT_GT(preemptions, static_cast<int64_t>(worlds));
}

}  // namespace
}  // namespace ingot::engine
