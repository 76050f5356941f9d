// The persistent batch without its thread: a queue, slots, and one step at a time.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "engine/drafter.h"
#include "engine/executor.h"
#include "engine/flight_recorder.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "kv/cache.h"

namespace ingot::engine {

// Thread safety: none but where said; the engine thread owns it. Events come from within Step, Cancel, CancelAll and
// PreemptAll.
// Where the executor runs behind, a step is planned and launched while the one before it runs: its draws are collected
// afterwards, and what comes of a sequence that has ended meanwhile is dropped. Not ahead are planned: a step of a
// sequence whose next draw or drafts need the last token on the host, and one that would preempt a sequence.
// A forward pass that fails ends all that run with its error, and empties the cache: what it, or the step launched
// behind it, wrote serves no later request.
// Invariants: 1. Every request that was added ends in exactly one event with `finish`. 2. A slot's blocks are given
// back before that event is sent. 3. A step that neither admits nor finishes a request allocates nothing. 4. Between
// calls at most one step is launched and not collected.
class Core {
 public:
  // Where the executor has room for drafts, `drafter` makes them.
  explicit Core(std::unique_ptr<Executor> executor,
                std::unique_ptr<Drafter> drafter = std::make_unique<LookupDrafter>());
  ~Core();

  // REQUIRES: Check(request).ok().
  void Add(RequestId id, Request request, Clock::time_point submitted);
  // Whether a request can ever run here: tokens of the model, lengths within the context and the cache. Thread-safe.
  Status Check(const Request& request) const;
  // Ends it with kCancelled; nothing happens where it has ended.
  void Cancel(RequestId id);
  void CancelAll();
  // Plans, takes blocks, launches that, and collects and reports what may have come of it or of the step before. false:
  // there was nothing to do. Without `admit` the queue waits.
  bool Step(bool admit = true);
  // Gives up all slots: what ran waits again. Afterwards no block is in use, and no step is launched.
  void PreemptAll();
  // Whether a step is launched and not collected.
  bool in_flight() const { return num_flights_ > 0; }

  // From any thread.
  int num_running() const { return stats().running; }
  int num_waiting() const { return stats().waiting; }
  Stats stats() const;  // all but stalled_seconds; waits for no step
  const StepPlan& last_plan() const { return plan_; }
  Executor& executor() { return *executor_; }
  kv::Cache& cache() { return cache_; }
  FlightRecorder& flight_recorder() { return recorder_; }

 private:
  using SequencePtr = std::unique_ptr<Sequence>;
  // A step that is launched and not collected.
  struct Flight {
    struct Draws {
      size_t slot;
      const Sequence* sequence;  // who had it; not to be looked into
      int32_t num_drafts;
    };
    Executor::Ticket ticket = 0;
    std::vector<Draws> draws;           // in the order of its results
    std::vector<SequencePtr> departed;  // ended while it, or the one before it, was in flight
    Clock::time_point launched;
    int64_t decodes = 0, prefill_tokens = 0;
    int64_t record = 0;  // of the flight recorder
  };
  Status CheckPrompt(const Request& request) const;
  void EndOverdue();
  void ProposeDrafts(Sequence* sequence);
  void MakePlan(bool admit, bool use_hits);
  SlotState StateOf(const Sequence& sequence) const;
  bool SharesBlocks(const Request& request) const;
  WaitingState LookUp(size_t index, bool use_hits);
  bool IsJustBeingComputed(size_t index, int64_t num_cached) const;
  int64_t RecordPlan();
  void Preempt(size_t slot);
  void Admit(size_t slot, const kv::PrefixMatch& match);
  bool MayPlanAhead() const;
  bool MakeNextPlan(bool admit);
  void Launch(int64_t record);
  void Collect();
  void CollectAll();
  void AcceptResults(const Flight& flight, std::span<const StepResult> results);
  void AcceptDraws(const Flight::Draws& draws, std::span<const StepResult> results);
  void EndAllRunning(const Status& error);
  bool Accept(size_t slot, const StepResult& result);
  void Depart(SequencePtr sequence, const sampling::Sampled* token, FinishReason finish, Status error);
  void Retire(size_t slot, const sampling::Sampled* token, FinishReason finish, Status error);
  void RetireWaiting(size_t index, FinishReason finish, Status error);
  void Enqueue(SequencePtr sequence);
  SequencePtr TakeSlot(size_t slot);
  void Publish();

  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Drafter> drafter_;
  kv::Cache cache_;
  std::vector<SequencePtr> queue_;      // by rank, then id
  std::vector<SequencePtr> sequences_;  // [max_batch_size], null where the slot is free
  std::vector<Sequence*> slots_;        // the same, as the executor wants them
  Stats stats_;                         // the engine thread's
  mutable Mutex published_mutex_;
  Stats published_ INGOT_GUARDED_BY(published_mutex_);
  std::optional<Clock::time_point> oldest_ INGOT_GUARDED_BY(published_mutex_);  // when the oldest that waits came
  CostTable cost_;
  FlightRecorder recorder_;
  int64_t num_deadlines_ = 0;      // of sequences here
  int num_live_ = 0;               // slots that are taken
  std::array<Flight, 2> flights_;  // the oldest first
  size_t num_flights_ = 0;
  Clock::time_point collected_;  // the last step
  // Rebuilt by every step within their capacity.
  std::vector<SlotState> slot_states_;
  std::vector<WaitingState> waiting_states_;
  std::vector<kv::PrefixMatch> matches_;  // of waiting_states_
  std::vector<RequestId> slot_ids_;       // [max_batch_size] for the recorder
  int64_t prefill_budget_ = 0;
  StepPlan plan_;
};

}  // namespace ingot::engine
