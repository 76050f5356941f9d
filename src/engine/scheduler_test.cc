#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <random>

#include "kv/block_table.h"

namespace ingot::engine {
namespace {

constexpr int kBlockLen = 32;

TEST(Plan, DecodesComeFirstThenPrefillsOldestFirstWithinTheBudget) {
  const std::vector<SlotState> slots = {
      {.live = true, .admission = 2, .num_tokens = 90, .num_computed = 0, .held_blocks = 3, .max_blocks = 3},
      {.live = true, .admission = 3, .num_tokens = 50, .num_computed = 49, .held_blocks = 2, .max_blocks = 3},
      {},
      {.live = true, .admission = 1, .num_tokens = 40, .num_computed = 10, .held_blocks = 2, .max_blocks = 2},
  };
  StepPlan plan(4);
  Plan({.slots = slots, .waiting = {}, .free_blocks = 10}, 64, &plan);
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

TEST(Plan, AdmitsInOrderWhileSlotsAndUnpromisedBlocksLast) {
  const std::vector<SlotState> slots = {
      {.live = true, .admission = 0, .num_tokens = 33, .num_computed = 32, .held_blocks = 1, .max_blocks = 4},
      {},
      {},
      {}};
  const std::vector<WaitingState> waiting = {
      {.num_tokens = 5, .max_blocks = 2}, {.num_tokens = 5, .max_blocks = 4}, {.num_tokens = 5, .max_blocks = 1}};
  StepPlan plan(4);
  // 8 free, 3 of them promised: the first gets in with 2, the second needs 4 of the 3 left, the third does not
  // overtake.
  Plan({.slots = slots, .waiting = waiting, .free_blocks = 8}, 64, &plan);
  EXPECT_EQ(plan.admitted_slots, std::vector<int32_t>{1});
  Plan({.slots = slots, .waiting = waiting, .free_blocks = 10}, 64, &plan);
  EXPECT_EQ(plan.admitted_slots, (std::vector<int32_t>{1, 2, 3}));
  ASSERT_EQ(plan.work.size(), 4u);
  EXPECT_EQ(plan.work[3].slot, 3);
}

TEST(Plan, NothingToDoIsAnEmptyPlan) {
  const std::vector<SlotState> slots(2);
  StepPlan plan(2);
  Plan({.slots = slots, .waiting = {}, .free_blocks = 1}, 64, &plan);
  EXPECT_TRUE(plan.work.empty());
}

// A world that holds blocks by counting only.
struct PlainRequest {
  int64_t number, prompt, answer;  // tokens
  int64_t known = 0, computed = 0, held = 0;
  int64_t max_blocks() const { return kv::BlocksFor(prompt + answer - 1, kBlockLen); }
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed), slots_(1 + random_() % 12), states_(slots_.size()), plan_(static_cast<int>(slots_.size())) {
    total_ = 4 + static_cast<int64_t>(random_() % 60);
    budget_ = 1 + static_cast<int64_t>(random_() % 100);
  }

  void Step() {
    if (random_() % 3 == 0 && waiting_.size() < 30) Arrive();
    if (random_() % 40 == 0) CancelSomeone();
    MakePlan();
    Admit();
    if (::testing::Test::HasFatalFailure()) return;
    CheckWork();
    Apply();
  }
  // Nobody new: everybody must get to the end.
  void Drain() {
    int64_t steps = 0;
    while (!waiting_.empty() || LiveCount() > 0) {
      MakePlan();
      Admit();
      ASSERT_FALSE(plan_.work.empty()) << "no progress";
      CheckWork();
      Apply();
      ASSERT_LT(++steps, 1'000'000);
    }
    ASSERT_EQ(held_, 0);
    ASSERT_EQ(finished_ + cancelled_, arrived_);
  }

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

  void MakePlan() {
    for (size_t i = 0; i < slots_.size(); ++i) {
      states_[i] = {};
      if (const auto& s = slots_[i]) states_[i] = {true, s->number, s->known, s->computed, s->held, s->max_blocks()};
    }
    std::vector<WaitingState> head;
    for (const PlainRequest& r : waiting_) head.push_back({r.prompt, r.max_blocks()});
    Plan({.slots = states_, .waiting = head, .free_blocks = total_ - held_}, budget_, &plan_);
  }
  void Admit() {
    for (const int32_t slot : plan_.admitted_slots) {
      ASSERT_FALSE(slots_[static_cast<size_t>(slot)].has_value());
      ASSERT_FALSE(waiting_.empty());
      slots_[static_cast<size_t>(slot)] = waiting_.front();
      waiting_.pop_front();
    }
    // Whoever is live can come to its end.
    int64_t promised = 0;
    for (const auto& s : slots_) promised += s ? s->max_blocks() : 0;
    ASSERT_LE(promised, total_);
    // The head waits only for a slot or for blocks.
    if (!waiting_.empty() && LiveCount() < std::ssize(slots_)) {
      ASSERT_GT(promised + waiting_.front().max_blocks(), total_);
    }
  }
  void CheckWork() {
    std::vector<int> seen(slots_.size());
    int64_t prefill = 0;
    bool prefills_began = false;
    for (const Work& work : plan_.work) {
      const auto& s = slots_[static_cast<size_t>(work.slot)];
      ASSERT_TRUE(s.has_value());
      ASSERT_EQ(++seen[static_cast<size_t>(work.slot)], 1);
      ASSERT_EQ(work.begin, s->computed);
      ASSERT_GE(work.count, 1);
      ASSERT_LE(work.begin + work.count, s->known);
      ASSERT_EQ(work.sample, work.begin + work.count == s->known);
      const bool decode = s->known - s->computed == 1 && s->computed > 0;
      if (s->known - s->computed > 1) prefills_began = true;
      if (decode) {
        ASSERT_FALSE(prefills_began);
      }
      if (s->known - s->computed > 1) prefill += work.count;
    }
    ASSERT_LE(prefill, budget_);
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i] && slots_[i]->computed > 0 && slots_[i]->known - slots_[i]->computed == 1) {
        ASSERT_EQ(seen[i], 1);  // decoders never wait
      }
    }
    if (LiveCount() > 0) {
      ASSERT_FALSE(plan_.work.empty());
    }
  }
  void Apply() {
    for (const Work& work : plan_.work) {
      auto& s = slots_[static_cast<size_t>(work.slot)];
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
  std::deque<PlainRequest> waiting_;
  int64_t total_, budget_, held_ = 0, arrived_ = 0, finished_ = 0, cancelled_ = 0;
};

TEST(Plan, RandomSimulationLosesNobodyAndAlwaysProgresses) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed);
    for (int step = 0; step < 5000; ++step) {
      simulation.Step();
      if (HasFatalFailure()) return;
    }
    simulation.Drain();
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace ingot::engine
