// The persistent batch without its thread: a queue, slots, and one step at a time.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "engine/executor.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "kv/block_pool.h"

namespace ingot::engine {

// Thread safety: none but where said; the engine thread owns it. Events come from within Step, Cancel and CancelAll.
// Invariants: 1. Every request that was added ends in exactly one event with `finish`. 2. A slot's blocks go back to
// the pool before that event is told. 3. A step that neither admits nor finishes a request allocates nothing.
class Core {
 public:
  explicit Core(std::unique_ptr<Executor> executor);
  ~Core();

  // REQUIRES: Check(request).ok().
  void Add(RequestId id, Request request, Clock::time_point submitted);
  // Whether a request can ever run here: tokens of the model, lengths within the context and the cache. Thread-safe.
  Status Check(const Request& request) const;
  // Ends it with kCancelled; nothing happens where it has ended.
  void Cancel(RequestId id);
  void CancelAll();
  // Plans, takes blocks, runs the model and tells what came of it. false: there was nothing to do. Without `admit` the
  // queue waits.
  bool Step(bool admit = true);

  // From any thread.
  int num_running() const { return num_running_.load(std::memory_order_relaxed); }
  int num_waiting() const { return num_waiting_.load(std::memory_order_relaxed); }
  Executor& executor() { return *executor_; }
  kv::BlockPool& blocks() { return blocks_; }
  const kv::BlockPool& blocks() const { return blocks_; }

 private:
  struct Waiting {
    RequestId id;
    Request request;
    Clock::time_point submitted;
  };
  void MakePlan(bool admit);
  void Admit(size_t slot);
  void Commit(size_t slot, int64_t end);
  void Accept(size_t slot, const StepResult& result);
  void Retire(size_t slot, const sampling::Sampled* token, Finish finish, Status error);
  void RetireWaiting(const Waiting& waiting);

  std::unique_ptr<Executor> executor_;
  kv::BlockPool blocks_;
  std::deque<Waiting> queue_;
  std::vector<std::unique_ptr<Sequence>> sequences_;  // [max_batch_size], null where the slot is free
  std::vector<Sequence*> slots_;                      // the same, as the executor wants them
  std::atomic<int> num_running_{0}, num_waiting_{0};
  int64_t num_admitted_ = 0;
  // Rebuilt by every step within their capacity.
  std::vector<SlotState> slot_states_;
  std::vector<WaitingState> waiting_states_;
  std::vector<StepResult> results_;
  StepPlan plan_;
};

}  // namespace ingot::engine
