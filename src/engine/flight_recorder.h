// What the engine did last, to be read after something went wrong: the plans of the last steps, as text.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/signal_safe_writer.h"

namespace ingot::engine {

// Thread safety: Begin… and End belong to the engine's thread. Write may run on any thread at any moment, within a
// signal handler too: it takes no memory and no lock. If the engine continues meanwhile, the oldest steps may be
// missing, or mixed with newer ones.
// Memory is taken when made: for kSteps steps with at most kMaxEntries sequences each; further ones are only counted.
class FlightRecorder {
 public:
  static constexpr int64_t kSteps = 128, kMaxEntries = 192;

  struct Step {
    const StepPlan* plan;
    std::span<const RequestId> ids;  // [max_batch_size] the request that has the slot in this step, or is preempted
    int64_t running = 0, waiting = 0;
    int64_t prefill_budget = 0;  // tokens
    kv::PerGroup available{};    // blocks, before the step
    int num_groups = 1;
  };

  explicit FlightRecorder(int max_batch_size);

  // Each returns a number to pass to End. A step may begin before the one before it ends.
  int64_t BeginStep(const Step& step);  // before anything of it is done
  int64_t BeginTask();                  // of RunExclusive
  void End(int64_t number);

  // All that is known, the oldest first.
  void Write(SignalSafeWriter& out) const;

 private:
  using Word = std::atomic<int64_t>;
  Word* RecordOf(int64_t number) const { return words_.get() + number % kSteps * record_words_; }
  Word* Begin();
  int64_t Publish(Word* record);
  int64_t MicrosSinceStart() const;

  Clock::time_point start_;
  int64_t max_entries_, record_words_;
  std::unique_ptr<Word[]> words_;  // [kSteps, record_words_] a header, then the entries
  Word next_{0};                   // number of the record to come
};

}  // namespace ingot::engine
