// The scheduler against a plain model of everything around it: requests, slots, and blocks that are shared, cached and
// given back behind windows, all by counting.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/env.h"
#include "engine/plain_world.h"
#include "engine/scheduler.h"

namespace ingot::engine {
namespace {

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed),
        slots_(1 + Below(Below(2) == 0 ? 4 : 24), kNone),
        states_(slots_.size()),
        plan_(static_cast<int>(slots_.size())) {
    max_chunk_ = static_cast<int64_t>(1 + Below(Below(2) == 0 ? 8 : 100));
    longest_prompt_ = 1 + Below(Below(2) == 0 ? 30 : 300);
    longest_answer_ = 1 + Below(Below(2) == 0 ? 60 : 600);
    sharing_ = static_cast<Sharing>(Below(3));
    if (Below(2) == 0) longest_prompt_ = kBlockLen * (1 + Below(4)) + 1;  // hits leave a single token
    groups_.resize(1 + Below(kMaxGroupsHere));
    for (size_t g = 0; g < groups_.size(); ++g) {
      groups_[g].window = g == 0 ? 0 : static_cast<int>(1 + Below(150));
      groups_[g].is_state = Below(4) == 0;
      if (groups_[g].is_state) groups_[g].window = kv::kStateWindow;
      groups_[g].blocks.resize(6 + Below(Below(2) == 0 ? 8 : 40));
    }
  }

  void Step() {
    if (Below(3) == 0 && waiting_.size() < 30) Arrive();
    if (Below(80) == 0) CancelSomeone();
    PlanAndApply();
  }
  // No new requests: all must finish.
  void Drain() {
    while (IsAnyoneThere() && !testing::Test::HasFatalFailure()) PlanAndApply();
    for (const PlainGroup& group : groups_) ASSERT_EQ(group.Available(), std::ssize(group.blocks));
    for (const PlainRequest& request : all_) ASSERT_TRUE(request.state == PlainRequest::State::kOver);
  }
  int64_t steps() const { return step_; }
  int64_t preemptions() const { return preemptions_; }
  int64_t hit_tokens() const { return hit_tokens_; }

 private:
  enum class Sharing : uint8_t { kNone, kSome, kAll };
  size_t Below(size_t n) { return random_() % n; }
  PlainRequest& Of(size_t request) { return all_[request]; }
  PlainRequest& Live(int32_t slot) { return all_[static_cast<size_t>(slots_[static_cast<size_t>(slot)])]; }
  bool IsAnyoneThere() const {
    return !waiting_.empty() || std::ranges::any_of(slots_, [](int64_t r) { return r != kNone; });
  }
  bool Fits(const PlainRequest& r) const {
    return std::ranges::all_of(
        groups_, [&](const PlainGroup& g) { return g.Most(r.num_tokens(), max_chunk_) <= std::ssize(g.blocks); });
  }

  void Arrive() {
    PlainRequest r{.number = std::ssize(all_), .came = step_, .begun_when_it_came = begun_};
    r.prompt = static_cast<int64_t>(sharing_ == Sharing::kAll ? longest_prompt_ : 1 + Below(longest_prompt_));
    r.answer = static_cast<int64_t>(1 + Below(longest_answer_));
    while (!Fits(r)) --(r.prompt > 1 ? r.prompt : r.answer);
    r.known = r.prompt;
    r.rank = RankOf(now_us_, Below(4) == 0 ? static_cast<int32_t>(Below(4)) - 1 : 0);
    r.family = Below(kFamilies);
    r.common = sharing_ == Sharing::kAll ? r.num_tokens() : 0;
    if (sharing_ == Sharing::kSome) r.common = static_cast<int64_t>(Below(300));
    r.has_rows = Below(8) == 0;
    for (PlainRequest& other : all_) {
      if (other.state == PlainRequest::State::kOver) continue;
      const bool overtakes = r.RanksBefore(other);
      if (overtakes) ++other.overtakers;
      if (overtakes && other.state == PlainRequest::State::kLive) r.tokens_behind += other.num_tokens();
    }
    all_.push_back(r);
    Enqueue(all_.size() - 1);
  }
  void Enqueue(size_t request) {
    Of(request).state = PlainRequest::State::kWaiting;
    const auto before = [&](size_t a, size_t b) { return Of(a).RanksBefore(Of(b)); };
    waiting_.insert(std::ranges::upper_bound(waiting_, request, before), request);
  }
  void CancelSomeone() {
    const auto slot = static_cast<int32_t>(Below(slots_.size()));
    if (slots_[static_cast<size_t>(slot)] != kNone) {
      End(TakeSlot(slot));
    } else if (!waiting_.empty()) {
      const size_t i = Below(waiting_.size());
      End(waiting_[i]);
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  size_t TakeSlot(int32_t slot) {
    const auto request = static_cast<size_t>(std::exchange(slots_[static_cast<size_t>(slot)], kNone));
    PlainRequest& r = Of(request);
    for (size_t g = 0; g < groups_.size(); ++g) {
      for (const int block : r.tables[g]) {
        if (block != kNone) --groups_[g].At(block).holders;
      }
      r.tables[g].clear();
    }
    r.computed = 0;
    return request;
  }

  // How often it was held up, and for how long, by what Plan promises.
  void End(size_t request) {
    PlainRequest& r = Of(request);
    r.state = PlainRequest::State::kOver;
    r.ended = step_;
    const int64_t stay = r.steps_as_first + r.steps_after_first + r.steps_before_first;
    ASSERT_EQ(stay, step_ - r.came);
    ASSERT_LE(r.steps_as_first, (1 + r.overtakers) * r.num_tokens());
    ASSERT_LE(r.steps_before_first, r.tokens_behind);
    ASSERT_LE(r.preemptions, r.steps_after_first);
    ASSERT_LE(r.preemptions, begun_ - r.begun_when_it_came);
    int64_t longest = r.tokens_behind;
    for (const PlainRequest& other : all_) {
      const bool was_there = other.state != PlainRequest::State::kOver || other.ended >= r.came;
      if (was_there && !r.RanksBefore(other)) longest += (1 + other.overtakers) * other.num_tokens();
    }
    ASSERT_LE(stay, longest);
  }

  SlotState StateOf(const PlainRequest& r) const {
    SlotState state{.live = true,
                    .rank = r.rank,
                    .id = r.number,
                    .num_tokens = r.known,
                    .num_computed = r.computed,
                    .wants_rows = r.wants_rows()};
    for (size_t g = 0; g < groups_.size(); ++g) {
      for (const int block : r.tables[g]) {
        if (block == kNone) continue;
        ++state.held[g];
        if (groups_[g].At(block).holders == 1) ++state.exclusive[g];
      }
      state.table_blocks[g] = std::ssize(r.tables[g]);
      const int64_t most = groups_[g].Most(std::min(r.known + kBlockLen, r.num_tokens()), max_chunk_);
      state.expected[g] = most - state.held[g];
    }
    return state;
  }

  // The longest beginning whose blocks are cached, as far as windows see them.
  Hit Find(const PlainRequest& r) const {
    const int64_t limit = std::min(r.common, r.known - 1);
    if (r.wants_rows()) return {};
    const auto is_there = [&](int64_t num_tokens) {
      for (const PlainGroup& group : groups_) {
        const auto end = static_cast<size_t>(kv::BlocksFor(num_tokens, kBlockLen));
        for (size_t i = group.FirstSeen(num_tokens); i < end; ++i) {
          if (group.CachedAt(r.family, i) == kNone) return false;
        }
      }
      return true;
    };
    // A part of a block is none of its state.
    const bool has_states = std::ranges::any_of(groups_, &PlainGroup::is_state);
    if (is_there(limit) && !(has_states && limit % kBlockLen != 0)) return {limit};
    int64_t num_tokens = limit / kBlockLen * kBlockLen;
    while (!is_there(num_tokens)) num_tokens -= kBlockLen;
    return {num_tokens};
  }
  WaitingState LookUp(size_t request, bool use_hits) {
    const PlainRequest& r = Of(request);
    const Hit hit = use_hits ? Find(r) : Hit{};
    hits_.push_back(hit);
    WaitingState state{.num_tokens = r.known, .num_cached = hit.num_tokens, .wants_rows = r.wants_rows()};
    for (size_t g = 0; g < groups_.size(); ++g) {
      const PlainGroup& group = groups_[g];
      const auto is_idle = [&](size_t i) { return group.At(group.CachedAt(r.family, i)).holders == 0 ? 1 : 0; };
      for (size_t i = group.FirstSeen(hit.num_tokens); i < hit.whole(); ++i) state.needed[g] += is_idle(i);
      if (hit.has_part()) state.needed[g] += 1 + is_idle(hit.whole());  // the copy, and what it is made of
      const int64_t rest = kv::BlocksFor(r.known, kBlockLen) - kv::BlocksFor(hit.num_tokens, kBlockLen);
      state.needed[g] += std::min(group.Most(r.known, max_chunk_), rest);
    }
    return state;
  }

  void MakePlan(bool use_hits) {
    first_ = kNone;
    for (size_t i = 0; i < slots_.size(); ++i) {
      states_[i] = {};
      if (slots_[i] == kNone) continue;
      const PlainRequest& r = Live(static_cast<int32_t>(i));
      states_[i] = StateOf(r);
      if (first_ == kNone || r.RanksBefore(Of(static_cast<size_t>(first_)))) first_ = r.number;
    }
    head_.clear();
    hits_.clear();
    for (const size_t request : waiting_) head_.push_back(LookUp(request, use_hits));
    // The engine may hold back some, while others are there before them.
    if (first_ != kNone && !waiting_.empty() && Below(8) == 0) {
      const bool is_first = Of(waiting_[0]).RanksBefore(Of(static_cast<size_t>(first_)));
      head_.resize(std::min(head_.size(), (is_first ? 1 : 0) + Below(3)));
    }
    SchedulerState state{
        .slots = states_, .waiting = head_, .num_groups = static_cast<int>(groups_.size()), .block_len = kBlockLen};
    for (size_t g = 0; g < groups_.size(); ++g) {
      state.available[g] = groups_[g].Available();
      state.total[g] = std::ssize(groups_[g].blocks);
    }
    budget_ = Below(2) == 0 ? max_chunk_ : 1 + static_cast<int64_t>(Below(static_cast<size_t>(max_chunk_)));
    Plan(state, budget_, &plan_);
  }

  void PlanAndApply() {
    now_us_ += static_cast<int64_t>(Below(5)) * 100'000;
    MakePlan(true);
    if (first_ == kNone && plan_.work.empty()) MakePlan(false);
    if (!IsAnyoneThere()) return;
    Preempt();
    Admit();
    if (testing::Test::HasFatalFailure()) return;
    CheckWork();
    if (testing::Test::HasFatalFailure()) return;
    CountStep();
    Apply();
    if (step_ % 16 == 0) Recount();
  }

  // Whether blocks are lacking for the work, and for the token of the last to be preempted, without those of the
  // latter.
  bool LastHadToGo() const {
    const int32_t last = plan_.preempted.back();
    for (size_t g = 0; g < groups_.size(); ++g) {
      const auto lacking = [&](int32_t slot, int64_t count) {
        const SlotState& state = states_[static_cast<size_t>(slot)];
        return std::max<int64_t>(0, kv::BlocksFor(state.num_computed + count, kBlockLen) - state.table_blocks[g]);
      };
      int64_t left = groups_[g].Available() - lacking(last, 1);
      for (const int32_t slot : plan_.preempted)
        left += slot == last ? 0 : states_[static_cast<size_t>(slot)].exclusive[g];
      for (const Work& work : plan_.work) left -= lacking(work.slot, work.count);
      if (left < 0) return true;
    }
    return false;
  }
  void Preempt() {
    for (const int32_t slot : plan_.preempted) {
      ASSERT_NE(slots_[static_cast<size_t>(slot)], kNone);
      PlainRequest& r = Live(slot);
      ASSERT_NE(r.number, first_);
      ASSERT_GT(begun_, r.begun_when_admitted);
      for (size_t other = 0; other < slots_.size(); ++other) {
        // Those that keep their slots rank before it.
        const bool stays = slots_[other] != kNone && std::ranges::count(plan_.preempted, other) == 0;
        if (stays) ASSERT_TRUE(Live(static_cast<int32_t>(other)).RanksBefore(r));
      }
      ++r.preemptions;
      ++preemptions_;
    }
    if (!plan_.preempted.empty()) ASSERT_TRUE(LastHadToGo());
    for (const int32_t slot : plan_.preempted) Enqueue(TakeSlot(slot));
  }

  // Of the head of the queue: those whose known tokens fit beside those of all that run, and a block of tokens more of
  // each.
  size_t NumThatFit() const {
    if (!plan_.preempted.empty()) return 0;
    size_t fit = 0;
    auto free_slots = static_cast<size_t>(std::ranges::count(slots_, kNone));
    kv::PerGroup kept{};
    for (size_t g = 0; g < groups_.size(); ++g) {
      for (const SlotState& state : states_) kept[g] += state.live ? state.expected[g] : 0;
    }
    for (; fit < std::min(free_slots, head_.size()); ++fit) {
      for (size_t g = 0; g < groups_.size(); ++g) {
        kept[g] += head_[fit].needed[g];
        if (kept[g]++ > groups_[g].Available()) return fit;
      }
    }
    return fit;
  }
  void Admit() {
    ASSERT_EQ(plan_.admitted_slots.size(), NumThatFit());
    for (size_t i = 0; i < plan_.admitted_slots.size(); ++i) {
      int64_t& slot = slots_[static_cast<size_t>(plan_.admitted_slots[i])];
      ASSERT_EQ(slot, kNone);
      slot = static_cast<int64_t>(waiting_[i]);
      PlainRequest& r = Of(waiting_[i]);
      r.state = PlainRequest::State::kLive;
      r.begun_when_admitted = begun_;
      r.computed = hits_[i].num_tokens;
      hit_tokens_ += r.computed;
      if (first_ == kNone) first_ = r.number;
      // All hold what they found before anybody takes more. What a part is copied from comes last.
      for (size_t g = 0; g < groups_.size(); ++g) {
        PlainGroup& group = groups_[g];
        const auto end = static_cast<size_t>(kv::BlocksFor(r.computed, kBlockLen));
        for (size_t index = 0; index < end; ++index) {
          const bool is_seen = index >= group.FirstSeen(r.computed);
          r.tables[g].push_back(is_seen ? group.CachedAt(r.family, index) : kNone);
          if (is_seen) ++group.At(r.tables[g].back()).holders;
        }
      }
    }
    for (size_t i = 0; i < plan_.admitted_slots.size(); ++i) {
      for (size_t g = 0; hits_[i].has_part() && g < groups_.size(); ++g) {
        int& last = Of(waiting_[i]).tables[g].back();
        const int copy = groups_[g].Take();
        ASSERT_NE(copy, kNone);
        --groups_[g].At(std::exchange(last, copy)).holders;
      }
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + std::ssize(plan_.admitted_slots));
  }

  void CheckWork() {
    std::vector<int64_t> counts(slots_.size());
    int64_t prefill = 0, rows = 0;
    for (const Work& work : plan_.work) {
      ASSERT_NE(slots_[static_cast<size_t>(work.slot)], kNone);
      const PlainRequest& r = Live(work.slot);
      int64_t& count = counts[static_cast<size_t>(work.slot)];
      ASSERT_EQ(count, 0);
      count = work.count;
      ASSERT_EQ(work.begin, r.computed);
      ASSERT_GE(work.count, 1);
      ASSERT_LE(work.begin + work.count, r.known);
      ASSERT_EQ(work.sample, work.begin + work.count == r.known);
      if (r.known - r.computed == 1) continue;
      prefill += work.count;
      if (r.wants_rows()) rows += work.count;
    }
    ASSERT_LE(prefill, budget_);
    ASSERT_LE(rows, kMaxPromptRows);
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i] == kNone) continue;
      const PlainRequest& r = Live(static_cast<int32_t>(i));
      const bool was_admitted_now = std::ranges::count(plan_.admitted_slots, i) > 0;
      // The first, and those that decode, make progress in every step.
      const bool has_to = r.number == first_ || (r.known - r.computed == 1 && !was_admitted_now);
      if (has_to) ASSERT_GE(counts[i], 1);
    }
    ASSERT_NE(first_, kNone) << "no progress";
  }
  void CountStep() {
    ++step_;
    const PlainRequest& first = Of(static_cast<size_t>(first_));
    for (PlainRequest& r : all_) {
      if (r.state == PlainRequest::State::kOver) continue;
      ++(r.number == first_ ? r.steps_as_first : first.RanksBefore(r) ? r.steps_after_first : r.steps_before_first);
    }
  }

  void Apply() {
    for (const Work& work : plan_.work) {
      for (size_t g = 0; g < groups_.size(); ++g) {
        std::vector<int>& table = Live(work.slot).tables[g];
        while (std::ssize(table) < kv::BlocksFor(work.begin + work.count, kBlockLen)) {
          table.push_back(groups_[g].Take());
          ASSERT_NE(table.back(), kNone) << "the plan took more blocks than there are";
        }
        const auto held = std::ssize(table) - std::ranges::count(table, kNone);
        ASSERT_LE(held, groups_[g].Most(Live(work.slot).known, max_chunk_));
      }
    }
    for (const Work& work : plan_.work) {
      PlainRequest& r = Live(work.slot);
      r.computed = work.begin + work.count;
      r.rows_known = std::max(r.rows_known, std::min(r.computed, r.prompt - 1));
      Commit(&r);
      if (!work.sample) continue;
      if (r.known++ % kBlockLen == 0) ++begun_;
      if (r.known - r.prompt == r.answer || Below(500) == 0) End(TakeSlot(work.slot));
    }
  }
  // Whole blocks of its family are cached, and what no window sees goes back, but for the last whole block.
  void Commit(PlainRequest* r) {
    for (size_t g = 0; g < groups_.size(); ++g) {
      std::vector<int>& table = r->tables[g];
      const auto whole = static_cast<size_t>(std::min(r->common, r->computed) / kBlockLen);
      for (size_t i = 0; i < whole; ++i) {
        if (table[i] != kNone) groups_[g].Cache(r->family, i, &table[i]);
      }
      if (r->computed < kBlockLen) continue;
      const size_t end = std::min(groups_[g].FirstSeen(r->computed), static_cast<size_t>(r->computed / kBlockLen) - 1);
      for (size_t i = 0; i < end; ++i) {
        if (table[i] != kNone) --groups_[g].At(std::exchange(table[i], kNone)).holders;
      }
    }
  }
  // Holders are those whose tables have a block, and cached blocks are where the cache has them.
  void Recount() {
    for (size_t g = 0; g < groups_.size(); ++g) {
      std::vector<int> holders(groups_[g].blocks.size());
      for (const int64_t request : slots_) {
        if (request == kNone) continue;
        for (const int block : Of(static_cast<size_t>(request)).tables[g]) {
          if (block != kNone) ++holders[static_cast<size_t>(block)];
        }
      }
      for (size_t i = 0; i < holders.size(); ++i) {
        const PlainBlock& block = groups_[g].blocks[i];
        ASSERT_EQ(block.holders, holders[i]);
        if (block.cached) ASSERT_EQ(groups_[g].CachedAt(block.family, block.index), static_cast<int>(i));
      }
    }
  }

  std::mt19937_64 random_;
  std::vector<int64_t> slots_;  // numbers of requests, or kNone
  std::vector<SlotState> states_;
  std::vector<WaitingState> head_;
  std::vector<Hit> hits_;  // of head_
  StepPlan plan_;
  std::vector<PlainGroup> groups_;
  std::vector<PlainRequest> all_;  // by number
  std::vector<size_t> waiting_;    // by rank
  int64_t first_ = kNone;          // of those with a slot when the plan was made; the first that is admitted otherwise
  Sharing sharing_ = Sharing::kNone;
  size_t longest_prompt_ = 1, longest_answer_ = 1;
  int64_t max_chunk_ = 1, budget_ = 0, now_us_ = 0, step_ = 0;
  int64_t begun_ = 0;  // blocks that answers have begun
  int64_t preemptions_ = 0, hit_tokens_ = 0;
};

// Some nine million steps at night, a fifteenth of that otherwise.
TEST(PlanSimulation, NoRequestIsLostOrStarvedAndNoBlockLeaks) {
  const uint64_t worlds = GetEnv("INGOT_NIGHTLY") ? 1500 : 100;
  int64_t steps = 0, preemptions = 0, hit_tokens = 0;
  for (uint64_t seed = 0; seed < worlds; ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed);
    for (int step = 0; step < 5000; ++step) {
      simulation.Step();
      if (HasFatalFailure()) return;
    }
    simulation.Drain();
    if (HasFatalFailure()) return;
    steps += simulation.steps();
    preemptions += simulation.preemptions();
    hit_tokens += simulation.hit_tokens();
  }
  RecordProperty("steps", std::to_string(steps));
  RecordProperty("preemptions", std::to_string(preemptions));
  RecordProperty("hit_tokens", std::to_string(hit_tokens));
  EXPECT_GT(steps, static_cast<int64_t>(worlds) * 4500);
  EXPECT_GT(preemptions, static_cast<int64_t>(worlds) * 10);
  EXPECT_GT(hit_tokens, static_cast<int64_t>(worlds) * 1000);
}

}  // namespace
}  // namespace ingot::engine
