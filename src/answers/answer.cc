#include "answers/answer.h"

#include <algorithm>

namespace ingot::answers {
namespace {

// Of an answer that is kept whole: each is some 100 bytes here and 40 in JSON.
constexpr size_t kMaxLogprobs = size_t{2} << 20;

Status TooManyAnswers(const Question& question, int64_t max_queue) {
  return Status(InvalidArgument("{} prompts with n {} make more answers than the {} that may wait here (--max-queue)",
                                question.requests.size(), question.requests.front().n, max_queue))
      .Of(question.requests.size() > 1 ? question.prompt_field : "n");
}

Status TooManyLogprobs() {
  return Status(InvalidArgument("the answer has more than {} logprobs; ask for fewer alternatives or answers, or for a "
                                "stream",
                                kMaxLogprobs))
      .Of("logprobs");
}

// What the event brings.
void Add(const llm::Event& event, llm::Choice* choice) {
  choice->text += event.text;
  choice->token_ids.insert(choice->token_ids.end(), event.token_ids.begin(), event.token_ids.end());
  choice->logprobs.insert(choice->logprobs.end(), event.logprobs.begin(), event.logprobs.end());
  if (!event.prompt_logprobs.empty()) choice->prompt_logprobs = event.prompt_logprobs;
  if (!event.finish) return;
  choice->finish = *event.finish;
  choice->stop_reason = event.stop_reason;
}

}  // namespace

// Events that come before all prompts are submitted are kept: the thread that sends them must not wait while prompts
// are tokenized.
void Answer::Begin(llm::Llm& llm, Question question) {
  const Status cancelled(Code::kCancelled, "cancelled");
  int num_choices = 0;
  for (const llm::Request& one : question.requests) {
    first_choice_.push_back(num_choices);
    num_choices += static_cast<int>(one.n);
  }
  if (num_choices > llm.options().max_queue) return Refuse(TooManyAnswers(question, llm.options().max_queue));
  const double waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - question.received).count();
  for (size_t i = 0; i < question.requests.size(); ++i) {
    if (is_cancelled()) return Refuse(cancelled);
    llm::Request& one = question.requests[i];
    if (one.deadline_seconds) one.deadline_seconds = std::max(*one.deadline_seconds - waited, 1e-6);
    const auto on_event = [self = shared_from_this(), i](const llm::Event& event) { self->OnEvent(i, event); };
    auto handle = question.submit ? question.submit(one, on_event) : llm.Submit(one, on_event);
    if (!handle) {
      const Status& error = handle.error();
      return Refuse(error.field() == "prompt" ? error.Of(question.prompt_field) : error);
    }
    const MutexLock lock(handles_mutex_);
    handles_.push_back(*std::move(handle));
  }
  if (is_cancelled()) return Refuse(cancelled);
  const MutexLock lock(mutex_);
  if (is_over_) {  // it was failed meanwhile
    for (const auto& handle : handles()) handle->Cancel();
    return;
  }
  for (int i = 0; i < num_choices; ++i) choices_.push_back({.index = i, .choice = {}});
  listener_->Began();
  has_begun_ = true;
  for (const auto& [prompt, event] : std::exchange(early_, {})) TakeLocked(prompt, event);
}

bool Answer::is_cancelled() {
  const MutexLock lock(handles_mutex_);
  return is_cancelled_;
}

std::vector<std::shared_ptr<llm::Handle>> Answer::handles() {
  const MutexLock lock(handles_mutex_);
  return handles_;
}

void Answer::Cancel() {
  {
    const MutexLock lock(handles_mutex_);
    is_cancelled_ = true;
  }
  for (const auto& handle : handles()) handle->Cancel();
}

void Answer::Fail(const Status& why) {
  const MutexLock lock(mutex_);
  if (!is_over_) FailLocked(why);
}

void Answer::Refuse(const Status& status) {
  const MutexLock lock(mutex_);
  is_over_ = true;
  early_.clear();
  for (const auto& handle : handles()) handle->Cancel();
  listener_->Failed(status);
}

// A session's turn that ends with an error for its client is discarded.
void Answer::FailLocked(const Status& why) {
  is_over_ = true;
  for (const auto& handle : handles()) handle->Fail(why);
  listener_->Failed(why);
}

void Answer::OnEvent(size_t prompt, const llm::Event& event) {
  const MutexLock lock(mutex_);
  if (has_begun_) return TakeLocked(prompt, event);
  if (!is_over_) early_.emplace_back(prompt, event);
}

void Answer::TakeLocked(size_t prompt, const llm::Event& from_model) {
  if (is_over_) return;
  if (from_model.finish == llm::FinishReason::kError) return FailLocked(from_model.error);
  llm::Event event = from_model;
  event.index += first_choice_[prompt];
  Choice& choice = choices_[static_cast<size_t>(event.index)];
  if (event.finish) {
    CountLocked(prompt, event);
    choice.usage = event.usage;
    choice.timings = event.timings;
  }
  listener_->Piece(choice, event);
  choice.is_first = false;
  if (listener_->wants_whole()) {
    Add(event, &choice.choice);
    for (const auto* tokens : {&event.logprobs, &event.prompt_logprobs}) {
      for (const llm::TokenInfo& token : *tokens) num_logprobs_ += 1 + token.top.size();
    }
    if (num_logprobs_ > kMaxLogprobs) return FailLocked(TooManyLogprobs());
  } else {
    choice.choice.text += event.text;  // offsets are counted from it
  }
  if (num_finished_ < choices_.size()) return;
  is_over_ = true;
  listener_->Ended(choices_, usage_);
}

// A prompt is counted once, however many answers it has.
void Answer::CountLocked(size_t prompt, const llm::Event& event) {
  ++num_finished_;
  usage_.completion_tokens += event.usage.completion_tokens;
  if (event.index != first_choice_[prompt]) return;
  usage_.prompt_tokens += event.usage.prompt_tokens;
  usage_.cached_tokens += event.usage.cached_tokens;
}

}  // namespace ingot::answers
