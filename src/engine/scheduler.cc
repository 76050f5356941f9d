#include "engine/scheduler.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.h"

namespace ingot::engine {
namespace {

// A chunk adds at most this share of the time that the decodes take: 2 would be the promise broken, less leaves room
// for what the table does not know.
constexpr int64_t kChunkPercent = 75;
// Or it fills the step up to this: ten tokens a second are as fast as people read.
constexpr int64_t kReadableStepUs = 100'000;
constexpr int64_t kMinChunk = 4;     // a prompt makes progress, however slow the machine is
constexpr int64_t kFirstChunk = 64;  // while nothing is known
constexpr int64_t kSmoothing = 8;    // an observation counts an eighth

int64_t Smoothed(int64_t old, int64_t value) {
  return old == 0 ? std::max<int64_t>(1, value) : std::max<int64_t>(1, old + (value - old) / kSmoothing);
}

size_t BucketOf(int64_t decodes) {
  return std::min<size_t>(std::bit_width(static_cast<uint64_t>(decodes)), CostTable::kBuckets - 1);
}

// What a plan in the making has left.
class Planner {
 public:
  Planner(const SchedulerState& state, int64_t budget, StepPlan* plan)
      : state_(state), plan_(*plan), available_(state.available), budget_(budget) {}

  void Run() {
    OrderSlots();
    for (size_t i = 0; i < plan_.order.size(); ++i) {
      const SlotState& slot = Slot(i);
      if (slot.num_tokens == slot.num_computed) continue;
      if (slot.num_tokens - slot.num_computed == 1) {
        if (MakeRoom(i, 1)) AddDecode(i);
      } else if (budget_ > 0) {
        // The first preempts others for room; later ones take what there is.
        if (i == 0 && !MakeRoom(i, 1)) continue;
        const int64_t wanted = WithRows(slot.wants_rows, std::min(budget_, slot.num_tokens - slot.num_computed));
        const int64_t count = std::min(wanted, RoomFor(i));
        if (count <= 0) continue;
        if (slot.wants_rows) rows_ -= count;
        budget_ -= Add(i, count, &plan_.prefills);
      }
    }
    if (plan_.preempted.empty()) Admit();
    plan_.work.insert(plan_.work.end(), plan_.prefills.begin(), plan_.prefills.end());
  }

 private:
  int64_t WithRows(bool wants_rows, int64_t count) const { return wants_rows ? std::min(count, rows_) : count; }
  const SlotState& Slot(size_t i) const { return state_.slots[static_cast<size_t>(plan_.order[i])]; }

  void OrderSlots() {
    for (size_t slot = 0; slot < state_.slots.size(); ++slot) {
      if (state_.slots[slot].live) plan_.order.push_back(static_cast<int32_t>(slot));
    }
    std::ranges::sort(plan_.order, {}, [&](int32_t slot) {
      const SlotState& s = state_.slots[static_cast<size_t>(slot)];
      return std::pair(s.rank, s.id);
    });
  }

  // Tokens that the sequence's tables and what is available can take.
  int64_t RoomFor(size_t i) const {
    int64_t room = std::numeric_limits<int64_t>::max();
    for (size_t g = 0; g < static_cast<size_t>(state_.num_groups); ++g) {
      room = std::min(room, (Slot(i).table_blocks[g] + available_[g]) * state_.block_len - Slot(i).num_computed);
    }
    return room;
  }

  // Room for `count` tokens of the i-th, by preempting those that rank last. False: it was preempted itself.
  bool MakeRoom(size_t i, int64_t count) {
    while (RoomFor(i) < count) {
      const size_t last = plan_.order.size() - 1;
      INGOT_CHECK(last > 0);  // one alone has room for its longest answer
      const SlotState& victim = Slot(last);
      for (size_t g = 0; g < static_cast<size_t>(state_.num_groups); ++g) available_[g] += victim.exclusive[g];
      plan_.preempted.push_back(plan_.order[last]);
      plan_.order.pop_back();
      if (last == i) return false;
      if (last == 1) HaveAllButOwn();
    }
    return true;
  }

  // Only the first is left, before any work is planned. What the preempted ones shared among themselves had no holder
  // exclusively, and is available now.
  void HaveAllButOwn() {
    for (size_t g = 0; g < static_cast<size_t>(state_.num_groups); ++g) {
      available_[g] = state_.total[g] - Slot(0).held[g];
    }
  }

  // Its last token, and as many drafts as fit into its last block and complete no tile.
  void AddDecode(size_t i) {
    Add(i, 1, &plan_.work);
    const int64_t used = Slot(i).num_tokens % state_.block_len, tile = state_.granularity;
    int64_t drafts = used == 0 ? 0 : std::min(Slot(i).num_drafts, state_.block_len - used);
    if (tile > 1) drafts = std::min(drafts, tile - 1 - used % tile);
    plan_.work.back().count += drafts;
    plan_.work.back().num_drafts = static_cast<int32_t>(drafts);
  }

  int64_t Add(size_t i, int64_t count, std::vector<Work>* work) {
    const SlotState& slot = Slot(i);
    const int64_t end = slot.num_computed + count;
    for (size_t g = 0; g < static_cast<size_t>(state_.num_groups); ++g) {
      available_[g] -= std::max<int64_t>(0, kv::BlocksFor(end, state_.block_len) - slot.table_blocks[g]);
    }
    work->push_back({plan_.order[i], slot.num_computed, count, end == slot.num_tokens});
    return count;
  }

  // No sequence was preempted in this step, so that what running ones take in it is within what is kept for them.
  void Admit() {
    const auto num_groups = static_cast<size_t>(state_.num_groups);
    kv::PerGroup left = state_.available;
    for (size_t i = 0; i < plan_.order.size(); ++i) {
      for (size_t g = 0; g < num_groups; ++g) left[g] -= Slot(i).expected[g];
    }
    size_t slot = 0;
    for (const WaitingState& request : state_.waiting) {
      while (slot < state_.slots.size() && state_.slots[slot].live) ++slot;
      if (slot == state_.slots.size()) return;
      for (size_t g = 0; g < num_groups; ++g) {
        if (request.needed[g] > left[g]) return;
      }
      for (size_t g = 0; g < num_groups; ++g) left[g] -= request.needed[g] + 1;
      const int64_t count = WithRows(request.wants_rows, std::min(budget_, request.num_tokens - request.num_cached));
      if (request.wants_rows) rows_ -= count;
      plan_.admitted_slots.push_back(static_cast<int32_t>(slot));
      if (count > 0) {
        const bool sample = request.num_cached + count == request.num_tokens;
        plan_.prefills.push_back({static_cast<int32_t>(slot), request.num_cached, count, sample});
      }
      budget_ -= count;
      ++slot;
    }
  }

  const SchedulerState& state_;
  StepPlan& plan_;
  kv::PerGroup available_;
  int64_t budget_;
  int64_t rows_ = kMaxPromptRows;
};

}  // namespace

void CostTable::Observe(int64_t decodes, int64_t prefill_tokens, int64_t step_us) {
  if (prefill_tokens == 0) {
    int64_t& known = decode_us[BucketOf(decodes)];
    known = Smoothed(known, step_us);
    return;
  }
  const int64_t added = std::max<int64_t>(0, step_us - (decodes > 0 ? DecodeUs(decodes) : 0));
  prefill_ns = Smoothed(prefill_ns, added * 1000 / prefill_tokens);
}

int64_t CostTable::DecodeUs(int64_t decodes) const {
  const size_t bucket = BucketOf(decodes);
  for (size_t distance = 0; distance < kBuckets; ++distance) {
    if (bucket + distance < kBuckets && decode_us[bucket + distance] > 0) return decode_us[bucket + distance];
    if (distance <= bucket && decode_us[bucket - distance] > 0) return decode_us[bucket - distance];
  }
  return 0;
}

int64_t PrefillBudget(const CostTable& cost, StepDemand demand, int64_t max_prefill_tokens) {
  if (demand.decodes == 0) return max_prefill_tokens;
  const int64_t alone = cost.DecodeUs(demand.decodes);
  if (alone == 0 || cost.prefill_ns == 0) return std::min(kFirstChunk, max_prefill_tokens);
  const int64_t delayed = std::max(demand.decodes, demand.prompts);
  const int64_t spare_us = std::max(alone * kChunkPercent / 100 * delayed / demand.decodes, kReadableStepUs - alone);
  const int64_t fits = spare_us * 1000 / cost.prefill_ns;
  return std::clamp(fits, std::min(kMinChunk, max_prefill_tokens), max_prefill_tokens);
}

StepPlan::StepPlan(int max_batch_size) {
  const auto size = static_cast<size_t>(max_batch_size);
  for (auto* slots : {&preempted, &admitted_slots, &order}) slots->reserve(size);
  for (auto* works : {&work, &prefills}) works->reserve(size);
}

void Plan(const SchedulerState& state, int64_t prefill_budget, StepPlan* plan) {
  plan->preempted.clear();
  plan->admitted_slots.clear();
  plan->work.clear();
  plan->prefills.clear();
  plan->order.clear();
  Planner(state, prefill_budget, plan).Run();
}

}  // namespace ingot::engine
