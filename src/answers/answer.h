// What a request asks and what comes of it, whatever carries the two: one or several prompts, each with n choices.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "llm/llm.h"

namespace ingot::answers {

struct Question {
  std::vector<llm::Request> requests;   // one a prompt
  std::string prompt_field = "prompt";  // what errors call the prompt
  // How a request is submitted; empty: to the model.
  std::function<Result<std::shared_ptr<llm::Handle>>(const llm::Request&, llm::EventFn)> submit;
  // Deadlines count from here.
  std::chrono::steady_clock::time_point received = std::chrono::steady_clock::now();
};

// What has come of one choice. Of what only pieces are wanted, its text.
struct Choice {
  int index = 0;  // prompt · n + which of n
  llm::Choice choice;
  bool is_first = true;   // nothing has come
  llm::Usage usage = {};  // once it has ended
  llm::Timings timings = {};
};

// Called with one thing at a time, by any thread. The last is Ended or Failed.
class Listener {
 public:
  virtual ~Listener() = default;
  // False: pieces are enough, and Ended need not have the logprobs and ids again.
  virtual bool wants_whole() const = 0;
  virtual void Began() {}  // every prompt was accepted
  // What the event adds; event.index is choice.index, and `choice` what came before.
  virtual void Piece(const Choice& choice, const llm::Event& event) = 0;
  virtual void Ended(const std::vector<Choice>& choices, const llm::Usage& usage) = 0;
  // Before Began: it was refused. status.field() is the request's field.
  virtual void Failed(const Status& status) = 0;
};

// Thread safety: all methods from any thread. Lives until its last event.
class Answer : public std::enable_shared_from_this<Answer> {
 public:
  explicit Answer(std::shared_ptr<Listener> listener) : listener_(std::move(listener)) {}

  // Once. Submits all prompts or none; renders and tokenizes on the calling thread.
  void Begin(llm::Llm& llm, Question question);
  // It is not wanted any more. It ends soon, each choice that was not over as kCancelled.
  void Cancel();
  // Ends it with this error, unless it is over.
  void Fail(const Status& why);

 private:
  void OnEvent(size_t prompt, const llm::Event& event);
  void TakeLocked(size_t prompt, const llm::Event& from_model) INGOT_REQUIRES(mutex_);
  void CountLocked(size_t prompt, const llm::Event& event) INGOT_REQUIRES(mutex_);
  void Refuse(const Status& status);
  void FailLocked(const Status& why) INGOT_REQUIRES(mutex_);
  bool is_cancelled();
  std::vector<std::shared_ptr<llm::Handle>> handles();

  const std::shared_ptr<Listener> listener_;
  std::vector<int> first_choice_;  // [prompts]

  Mutex mutex_;  // held while the listener is called
  bool has_begun_ INGOT_GUARDED_BY(mutex_) = false, is_over_ INGOT_GUARDED_BY(mutex_) = false;
  // Events from before it has begun, with their prompts.
  std::vector<std::pair<size_t, llm::Event>> early_ INGOT_GUARDED_BY(mutex_);
  std::vector<Choice> choices_ INGOT_GUARDED_BY(mutex_);
  size_t num_finished_ INGOT_GUARDED_BY(mutex_) = 0, num_logprobs_ INGOT_GUARDED_BY(mutex_) = 0;
  llm::Usage usage_ INGOT_GUARDED_BY(mutex_);

  Mutex handles_mutex_;  // a listener may cancel while it is called
  bool is_cancelled_ INGOT_GUARDED_BY(handles_mutex_) = false;
  std::vector<std::shared_ptr<llm::Handle>> handles_ INGOT_GUARDED_BY(handles_mutex_);  // [prompts]
};

}  // namespace ingot::answers
