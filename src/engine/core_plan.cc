// The scheduler's input from the core's sequences, and which of its plans is taken.
#include <algorithm>

#include "base/check.h"
#include "engine/core.h"

namespace ingot::engine {

// Whether every sequence that continues after the step in flight can do so before its token is collected.
bool Core::MayPlanAhead() const {
  const auto can_go_on = [&](const Flight::Draws& draws) {
    const SequencePtr& sequence = sequences_[draws.slot];
    if (sequence.get() != draws.sequence) return true;
    if (draws.num_drafts > 0) return false;
    const bool needs_last = executor_->options().max_drafts > 0 || sequence->NeedsLastToken();
    return !needs_last || sequence->num_answered() + 1 == sequence->request.max_tokens;
  };
  return std::ranges::all_of(flights_[0].draws, can_go_on);
}

// False: there is nothing to launch, or nothing before the step in flight is collected.
bool Core::MakeNextPlan(bool admit) {
  if (in_flight() && !MayPlanAhead()) return false;
  MakePlan(admit, true);
  if (in_flight()) return !plan_.work.empty() && plan_.preempted.empty();
  // A hit's copy may be what makes the only request too large: then it goes without.
  if (admit && num_live_ == 0 && plan_.work.empty() && plan_.admitted_slots.empty() && !queue_.empty()) {
    MakePlan(admit, false);
  }
  return !(plan_.work.empty() && plan_.preempted.empty() && plan_.admitted_slots.empty());
}

SlotState Core::StateOf(const Sequence& sequence) const {
  SlotState state{.live = true,
                  .rank = sequence.rank,
                  .id = static_cast<int64_t>(sequence.id),
                  .num_tokens = std::min(sequence.num_tokens() + sequence.num_drawing, sequence.most_cached_tokens()),
                  .num_computed = sequence.num_computed,
                  .num_drafts = std::ssize(sequence.drafts),
                  .wants_rows = sequence.wants_prompt_logprobs()};
  for (int g = 0; g < cache_.num_groups(); ++g) {
    const kv::BlockTable& table = sequence.blocks.tables[static_cast<size_t>(g)];
    const int64_t held = table.size() - table.begin();
    const int64_t soon = std::min(state.num_tokens + cache_.block_len(), sequence.most_cached_tokens());
    const int64_t most = cache_.MostHeld(g, soon, executor_->options().max_prefill_tokens);
    state.table_blocks[static_cast<size_t>(g)] = table.size();
    state.held[static_cast<size_t>(g)] = held;
    state.exclusive[static_cast<size_t>(g)] = table.CountExclusive(cache_.pool(g));
    state.expected[static_cast<size_t>(g)] = std::max<int64_t>(0, most - held);
  }
  return state;
}

bool Core::SharesBlocks(const Request& request) const {
  return executor_->options().prefix_caching || request.caches_always;
}

// What the waiting request at `index` would find in the cache, and what it would need of it.
WaitingState Core::LookUp(size_t index, bool use_hits) {
  const Sequence& sequence = *queue_[index];
  kv::PrefixMatch match;
  // Where the prompt's own logits are wanted, it is computed whole.
  const bool looks = SharesBlocks(sequence.request) && sequence.request.uses_cached_blocks;
  if (use_hits && looks && !sequence.wants_prompt_logprobs()) {
    // The last token's logits are wanted: it is always computed.
    match = cache_.Find(*sequence.scope, sequence.tokens, sequence.num_tokens() - 1);
  }
  WaitingState state{.num_tokens = sequence.num_tokens(),
                     .num_cached = match.num_tokens,
                     .wants_rows = sequence.wants_prompt_logprobs()};
  const kv::PerGroup taken = cache_.BlocksOfMatch(match);
  for (int g = 0; g < cache_.num_groups(); ++g) {
    const int64_t most = cache_.MostHeld(g, state.num_tokens, executor_->options().max_prefill_tokens);
    const int64_t rest =
        kv::BlocksFor(state.num_tokens, cache_.block_len()) - kv::BlocksFor(match.num_tokens, cache_.block_len());
    state.needed[static_cast<size_t>(g)] = taken[static_cast<size_t>(g)] + std::min(most, rest);
  }
  matches_.push_back(match);
  return state;
}

// Whether one that ranks before the waiting request at `index`, and runs or would be admitted with it, is about to
// compute the next whole block of both. It is worth waiting for: of several answers to one prompt, the first reads it.
bool Core::IsJustBeingComputed(size_t index, int64_t num_cached) const {
  const Sequence& sequence = *queue_[index];
  if (!SharesBlocks(sequence.request) || !sequence.request.uses_cached_blocks) return false;
  if (sequence.wants_prompt_logprobs()) return false;
  const auto is_computing = [&](const SequencePtr& other) {
    if (!other || *other->scope != *sequence.scope) return false;
    if (!SharesBlocks(other->request) || other->wants_prompt_logprobs()) return false;
    if (std::pair(other->rank, other->id) > std::pair(sequence.rank, sequence.id)) return false;
    const int64_t known = std::max(num_cached, other->num_computed);
    const int64_t wanted = (known / cache_.block_len() + 1) * cache_.block_len();
    return wanted <= std::min(other->num_tokens(), sequence.num_tokens() - 1) &&
           std::equal(sequence.tokens.begin(), sequence.tokens.begin() + wanted, other->tokens.begin());
  };
  return std::ranges::any_of(sequences_, is_computing) ||
         std::any_of(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(index), is_computing);
}

// For a sequence whose next step is a decode. Not where a draw depends on the tokens before it otherwise than through
// the model: then each draw needs those on the host.
void Core::ProposeDrafts(Sequence* sequence) {
  sequence->drafts.clear();
  const Sequence& s = *sequence;
  const int64_t limit = std::min<int64_t>(executor_->options().max_drafts, s.request.max_tokens - s.num_answered() - 1);
  if (limit <= 0 || s.num_drawing > 0 || s.NeedsLastToken() || s.num_tokens() - s.num_computed != 1) return;
  drafter_->Propose(s.tokens, limit, &sequence->drafts);
  INGOT_CHECK(std::ssize(sequence->drafts) <= limit);
}

void Core::MakePlan(bool admit, bool use_hits) {
  int64_t decodes = 0;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    if (sequences_[i]) ProposeDrafts(sequences_[i].get());
    slot_states_[i] = sequences_[i] ? StateOf(*sequences_[i]) : SlotState{};
    if (slot_states_[i].live && slot_states_[i].num_tokens - slot_states_[i].num_computed == 1) ++decodes;
  }
  waiting_states_.clear();
  matches_.clear();
  const size_t free_slots = sequences_.size() - static_cast<size_t>(num_live_);
  for (size_t i = 0; admit && i < std::min(free_slots, queue_.size()); ++i) {
    waiting_states_.push_back(LookUp(i, use_hits));
    if (!use_hits || !IsJustBeingComputed(i, waiting_states_.back().num_cached)) continue;
    // So do those behind it: the budget is not theirs before that prompt has been read.
    waiting_states_.pop_back();
    break;
  }
  SchedulerState state{.slots = slot_states_,
                       .waiting = waiting_states_,
                       .num_groups = cache_.num_groups(),
                       .block_len = cache_.block_len(),
                       .granularity = cache_.granularity()};
  for (int g = 0; g < cache_.num_groups(); ++g) {
    state.available[static_cast<size_t>(g)] = cache_.Available(g);
    state.total[static_cast<size_t>(g)] = cache_.group(g).num_blocks;
  }
  const StepDemand demand{.decodes = decodes, .prompts = num_live_ - decodes + std::ssize(waiting_states_)};
  prefill_budget_ = PrefillBudget(cost_, demand, executor_->options().max_prefill_tokens);
  Plan(state, prefill_budget_, &plan_);
}

int64_t Core::RecordPlan() {
  for (size_t slot = 0; slot < sequences_.size(); ++slot) slot_ids_[slot] = sequences_[slot] ? sequences_[slot]->id : 0;
  for (size_t i = 0; i < plan_.admitted_slots.size(); ++i) {
    slot_ids_[static_cast<size_t>(plan_.admitted_slots[i])] = queue_[i]->id;
  }
  FlightRecorder::Step step{.plan = &plan_,
                            .ids = slot_ids_,
                            .running = num_live_,
                            .waiting = static_cast<int64_t>(queue_.size()),
                            .prefill_budget = prefill_budget_,
                            .num_groups = cache_.num_groups()};
  for (int g = 0; g < step.num_groups; ++g) step.available[static_cast<size_t>(g)] = cache_.Available(g);
  return recorder_.BeginStep(step);
}

}  // namespace ingot::engine
