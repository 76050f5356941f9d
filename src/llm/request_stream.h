// A request that runs: n answers, fed by the engine's thread, reported from the text threads.
#pragma once

#include <memory>
#include <vector>

#include "base/mutex.h"
#include "base/task_pool.h"
#include "engine/engine.h"
#include "llm/answer_stream.h"
#include "llm/llm.h"

namespace ingot::llm {

// The way to an engine that may go before the handles of its requests do.
class EngineGate {
 public:
  explicit EngineGate(engine::Engine* engine) : engine_(engine) {}
  void Cancel(engine::RequestId id) {
    const MutexLock lock(mutex_);
    if (engine_ != nullptr) engine_->Cancel(id);
  }
  void Close() {
    const MutexLock lock(mutex_);
    engine_ = nullptr;
  }

 private:
  Mutex mutex_;
  engine::Engine* engine_ INGOT_GUARDED_BY(mutex_);
};

// Thread safety: all methods from any thread. Events are passed on one at a time, in the engine's order.
class RequestStream : public Handle, public std::enable_shared_from_this<RequestStream> {
 public:
  struct Parts {
    const tokenizer::Tokenizer* tokenizer;
    TaskPool* text_pool;
    std::shared_ptr<EngineGate> gate;
  };
  RequestStream(Parts parts, std::vector<AnswerOptions> answers, EventFn on_event);

  // The engine's end of answer `index`. Keeps this alive.
  engine::EventFn Feed(size_t index);
  void SetIds(std::vector<engine::RequestId> ids);

  void Cancel() override;
  void Fail(Status why) override;
  void Wait() override;
  int64_t prompt_tokens() const override { return prompt_tokens_; }

 private:
  struct Item {
    size_t answer;
    engine::Event event;
  };
  void Enqueue(Item item);
  void Drain();

  const Parts parts_;
  const int64_t prompt_tokens_;
  std::vector<AnswerStream> answers_;  // of the draining thread
  EventFn on_event_;                   // of the draining thread; freed after the last event
  std::vector<Item> taken_;            // of the draining thread

  Mutex mutex_;
  CondVar over_;
  std::vector<Item> inbox_ INGOT_GUARDED_BY(mutex_);
  bool draining_ INGOT_GUARDED_BY(mutex_) = false;  // a task is posted or runs
  std::vector<engine::RequestId> ids_ INGOT_GUARDED_BY(mutex_);
  Status failure_ INGOT_GUARDED_BY(mutex_);  // why what was cancelled is an error
  size_t unfinished_ INGOT_GUARDED_BY(mutex_);
};

}  // namespace ingot::llm
