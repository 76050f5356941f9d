// Which tokens go through the model in the next step, which requests are admitted and which preempted: a pure function
// of integers.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kv/cache.h"

namespace ingot::engine {

// What steps have cost so far: from it follows how large a chunk of a prompt may be.
// Invariants: all zero before the first observation.
struct CostTable {
  static constexpr size_t kBuckets = 16;
  std::array<int64_t, kBuckets> decode_us{};  // [i]: a step of 2^(i-1) … 2^i - 1 decodes and nothing else; 0: unknown
  int64_t prefill_ns = 0;                     // what each token of a prompt adds; 0: unknown

  void Observe(int64_t decodes, int64_t prefill_tokens, int64_t step_us);
  // Of the nearest number of decodes that is known; 0 when none is.
  int64_t DecodeUs(int64_t decodes) const;
};

// Sequences that a step can compute: those that decode, and those whose prompts are still to be read.
struct StepDemand {
  int64_t decodes, prompts;
};
// Tokens of prompts that a step may have. While no more prompts wait than sequences decode, the step takes at most 100
// ms or less than twice the time with them, so that readers do not notice a prefill; where more wait, as many times
// more.
int64_t PrefillBudget(const CostTable& cost, StepDemand demand, int64_t max_prefill_tokens);

// A class of priority counts as much as this time of waiting (aging), so that no request starves.
inline constexpr int64_t kClassUs = 10'000'000;
constexpr int64_t RankOf(int64_t submitted_us, int32_t priority) { return submitted_us + priority * kClassUs; }

// Logits of a prompt's own tokens that a step computes at most: they are many numbers.
inline constexpr int64_t kMaxPromptRows = 32;

struct SlotState {
  bool live = false;
  int64_t rank = 0, id = 0;     // lower ranks first, then lower ids
  int64_t num_tokens = 0;       // known or being drawn: prompt and answer, except a last one that is not computed
  int64_t num_computed = 0;     // of them in the cache; all of them only while its last token is being drawn
  int64_t num_drafts = 0;       // guesses at the tokens after these
  bool wants_rows = false;      // the logits of its prompt's tokens are wanted
  kv::PerGroup table_blocks{};  // entries of its block tables
  kv::PerGroup held{};          // blocks that it holds, with others or alone
  kv::PerGroup exclusive{};     // blocks that would become available if it were preempted
  kv::PerGroup expected{};      // further blocks that its known tokens, and a block of tokens after them, will take
};
struct WaitingState {
  int64_t num_tokens = 0;
  int64_t num_cached = 0;  // a hit in the prefix cache
  bool wants_rows = false;
  kv::PerGroup needed{};  // blocks that become unavailable when all its known tokens are in the cache
};

struct SchedulerState {
  std::span<const SlotState> slots;       // [max_batch_size]
  std::span<const WaitingState> waiting;  // the head of the queue, lowest rank first
  kv::PerGroup available{};               // free blocks and cached ones
  kv::PerGroup total{};                   // all blocks
  int num_groups = 1;
  int block_len = 64;
  int granularity = 1;  // kv::CacheOptions: tokens that the cache stores as one
};

// Tokens [begin, begin + count) of a slot's sequence, the last num_drafts of them guesses; `sample` when the others
// reach its last token: then one token is drawn after it, and one after each draft.
struct Work {
  int32_t slot = 0;
  int64_t begin = 0, count = 0;
  bool sample = false;
  int32_t num_drafts = 0;

  bool is_decode() const { return sample && count == 1 + num_drafts; }
};

// Reused from step to step; allocates memory only in its constructor.
struct StepPlan {
  explicit StepPlan(int max_batch_size);
  std::vector<int32_t> preempted;       // slots whose sequences give back their blocks and wait again; recomputed later
  std::vector<int32_t> admitted_slots;  // slot of the i-th waiting request that is admitted
  std::vector<Work> work;               // decodes, then prefills; each by rank
  std::vector<Work> prefills;           // scratch
  std::vector<int32_t> order;           // scratch: live slots by rank
};

// Blocks are taken as they are needed. By rank: one token of every sequence that needs only one (a decode), a chunk of
// every other (a prefill), prefill_budget tokens of prompts together. When blocks run out, a decode, and
// the first of all in any case, preempts the sequence that ranks last; other prefills wait. Admission is by rank too:
// while a slot is free, none was preempted in this step, and the blocks suffice for all known tokens of the request and
// of those that run, and a block of tokens more for each of these. Drafts get what is left of their sequence's last
// block, never a block, and complete nothing that the cache stores as one (an int4 tile). The plan has no work only
// when there is nothing to do, or the head of the queue does not fit with an empty batch.
//
// So no request starves: the first makes progress in every step, is not preempted, and is first for at most
// (1 + o) · t steps, where t are its tokens and o those that came after it but rank before it; so a request ends
// after at most the sum of that over itself and those that rank before it, and the tokens of those behind it that had
// slots when it came; and it is preempted only in steps in which one before it is first, at most once for each
// block that answers begin meanwhile.
void Plan(const SchedulerState& state, int64_t prefill_budget, StepPlan* plan);

}  // namespace ingot::engine
