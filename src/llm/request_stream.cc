#include "llm/request_stream.h"

#include <algorithm>
#include <utility>

namespace ingot::llm {

RequestStream::RequestStream(Parts parts, std::vector<AnswerOptions> answers, EventFn on_event)
    : parts_(std::move(parts)),
      prompt_tokens_(answers.front().prompt_tokens),
      on_event_(std::move(on_event)),
      unfinished_(answers.size()) {
  answers_.reserve(answers.size());
  for (AnswerOptions& options : answers) answers_.emplace_back(*parts_.tokenizer, std::move(options));
}

engine::EventFn RequestStream::Feed(size_t index) {
  return [self = shared_from_this(), index](engine::Event&& event) { self->Enqueue({index, std::move(event)}); };
}

void RequestStream::SetIds(std::vector<engine::RequestId> ids) {
  const MutexLock lock(mutex_);
  ids_ = std::move(ids);
}

void RequestStream::Enqueue(Item item) {
  {
    const MutexLock lock(mutex_);
    inbox_.push_back(std::move(item));
    if (std::exchange(draining_, true)) return;
  }
  parts_.text_pool->Post([self = shared_from_this()] { self->Drain(); });
}

void RequestStream::Drain() {
  for (;;) {
    Status failure;
    {
      const MutexLock lock(mutex_);
      failure = failure_;
      taken_.clear();
      taken_.swap(inbox_);
      if (taken_.empty()) {
        draining_ = false;
        return;
      }
    }
    size_t ended = 0;
    for (Item& item : taken_) {
      if (!failure.ok() && item.event.finish == FinishReason::kCancelled) {
        item.event.finish = FinishReason::kError;
        item.event.error = failure;
      }
      AnswerStream& answer = answers_[item.answer];
      const bool was_finished = answer.finished();
      if (answer.Push(item.event, on_event_)) parts_.gate->Cancel(item.event.id);
      if (answer.finished() && !was_finished) ++ended;
    }
    if (ended == 0) continue;
    const bool all_ended = std::ranges::all_of(answers_, &AnswerStream::finished);
    if (all_ended) on_event_ = nullptr;  // it may hold a handle to this
    const MutexLock lock(mutex_);
    unfinished_ -= ended;
    if (all_ended) over_.NotifyAll();
  }
}

void RequestStream::Cancel() {
  std::vector<engine::RequestId> ids;
  {
    const MutexLock lock(mutex_);
    ids = ids_;
  }
  for (const engine::RequestId id : ids) parts_.gate->Cancel(id);
}

void RequestStream::Fail(Status why) {
  {
    const MutexLock lock(mutex_);
    failure_ = std::move(why);
  }
  Cancel();
}

void RequestStream::Wait() {
  const MutexLock lock(mutex_);
  while (unfinished_ > 0) over_.Wait(mutex_);
}

}  // namespace ingot::llm
