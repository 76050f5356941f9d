// Which tokens go through the model in the next step: a pure function of integers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ingot::engine {

struct SlotState {
  bool live = false;
  int64_t admission = 0;     // counts up; the smallest is the oldest
  int64_t num_tokens = 0;    // known: prompt and answer
  int64_t num_computed = 0;  // of them in the cache; less than num_tokens
  int64_t held_blocks = 0;
  int64_t max_blocks = 0;  // what it may come to hold
};
struct WaitingState {
  int64_t num_tokens = 0;
  int64_t max_blocks = 0;
};

struct SchedulerState {
  std::span<const SlotState> slots;       // [max_batch_size]
  std::span<const WaitingState> waiting;  // the head of the queue, oldest first
  int64_t free_blocks = 0;
};

// Tokens [begin, begin + count) of a slot's sequence; `sample` when they reach its last known token.
struct Work {
  int32_t slot = 0;
  int64_t begin = 0, count = 0;
  bool sample = false;
};

// Reused from step to step; allocates memory only in its constructor.
struct StepPlan {
  explicit StepPlan(int max_batch_size);
  std::vector<int32_t> admitted_slots;  // slot of the i-th waiting request that gets in
  std::vector<Work> work;               // decodes, then prefills; each oldest first
  std::vector<int32_t> order;           // scratch: live slots by age
};

// Admission: in order of arrival, while a slot is free and the blocks that nobody holds or was promised cover all that
// the request may come to hold. So whoever runs can run to its end, the queue's head is next, and nothing deadlocks.
// Work: one token of every sequence that needs only one (decodes), then chunks of prefills, oldest first, of
// max_prefill_tokens together. A step has at most max_batch_size + max_prefill_tokens tokens, and is empty only when
// there is nothing to do.
void Plan(const SchedulerState& state, int64_t max_prefill_tokens, StepPlan* plan);

}  // namespace ingot::engine
