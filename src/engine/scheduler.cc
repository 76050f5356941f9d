#include "engine/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace ingot::engine {
namespace {

void PlanAdmission(const SchedulerState& state, StepPlan* plan) {
  int64_t unpromised = state.free_blocks;
  for (const SlotState& slot : state.slots) {
    if (slot.live) unpromised -= slot.max_blocks - slot.held_blocks;
  }
  INGOT_CHECK(unpromised >= 0);
  size_t slot = 0;
  for (const WaitingState& request : state.waiting) {
    while (slot < state.slots.size() && state.slots[slot].live) ++slot;
    if (slot == state.slots.size() || request.max_blocks > unpromised) return;
    unpromised -= request.max_blocks;
    plan->admitted_slots.push_back(static_cast<int32_t>(slot++));
  }
}

}  // namespace

StepPlan::StepPlan(int max_batch_size) {
  admitted_slots.reserve(static_cast<size_t>(max_batch_size));
  work.reserve(static_cast<size_t>(max_batch_size));
  order.reserve(static_cast<size_t>(max_batch_size));
}

void Plan(const SchedulerState& state, int64_t max_prefill_tokens, StepPlan* plan) {
  plan->admitted_slots.clear();
  plan->work.clear();
  plan->order.clear();
  PlanAdmission(state, plan);

  for (size_t slot = 0; slot < state.slots.size(); ++slot) {
    if (state.slots[slot].live) plan->order.push_back(static_cast<int32_t>(slot));
  }
  const auto slot_of = [&](int32_t slot) -> const SlotState& { return state.slots[static_cast<size_t>(slot)]; };
  std::sort(plan->order.begin(), plan->order.end(),
            [&](int32_t a, int32_t b) { return slot_of(a).admission < slot_of(b).admission; });

  const auto is_decode = [](const SlotState& s) { return s.num_tokens - s.num_computed == 1; };
  for (const int32_t slot : plan->order) {
    const SlotState& s = slot_of(slot);
    if (is_decode(s)) plan->work.push_back({slot, s.num_computed, 1, true});
  }
  int64_t budget = max_prefill_tokens;
  const auto prefill = [&](int32_t slot, int64_t begin, int64_t end) {
    const int64_t count = std::min(budget, end - begin);
    if (count == 0) return;
    plan->work.push_back({slot, begin, count, begin + count == end});
    budget -= count;
  };
  for (const int32_t slot : plan->order) {
    const SlotState& s = slot_of(slot);
    if (!is_decode(s)) prefill(slot, s.num_computed, s.num_tokens);
  }
  for (size_t i = 0; i < plan->admitted_slots.size(); ++i) {
    prefill(plan->admitted_slots[i], 0, state.waiting[i].num_tokens);
  }
}

}  // namespace ingot::engine
