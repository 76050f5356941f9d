#include "engine/core.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace ingot::engine {
namespace {

double Seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

Timings TimingsOf(const Sequence& sequence, Clock::time_point now) {
  const bool answered = sequence.num_answered() > 0;
  const Clock::time_point first = answered ? sequence.first_token : now;
  return {.queue_seconds = Seconds(sequence.submitted, sequence.admitted),
          .prefill_seconds = Seconds(sequence.admitted, first),
          .decode_seconds = Seconds(first, now)};
}

}  // namespace

Core::Core(std::unique_ptr<Executor> executor)
    : executor_(std::move(executor)),
      blocks_(executor_->options().num_blocks),
      plan_(executor_->options().max_batch_size) {
  const auto size = static_cast<size_t>(executor_->options().max_batch_size);
  sequences_.resize(size);
  slots_.resize(size);
  slot_states_.resize(size);
  waiting_states_.reserve(size);
  results_.resize(size);
}

Core::~Core() { CancelAll(); }

Status Core::Check(const Request& request) const {
  const ExecutorOptions& options = executor_->options();
  const int64_t vocab_size = executor_->model().spec().vocab_size;
  if (request.prompt.empty()) return InvalidArgument("the prompt is empty");
  if (request.max_tokens < 1) return InvalidArgument("max_tokens {} is below 1", request.max_tokens);
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (request.max_tokens > options.max_context || length > options.max_context - request.max_tokens) {
    return TooLong("{} tokens of prompt and {} of answer exceed {}", length, request.max_tokens, options.max_context);
  }
  for (const int32_t id : request.prompt) {
    if (id < 0 || id >= vocab_size) return InvalidArgument("token id {} is outside 0…{}", id, vocab_size - 1);
  }
  const int64_t needed = kv::BlocksFor(MaxCachedTokens(request), options.block_len);
  if (needed > options.num_blocks) {
    return TooLong("{} tokens of prompt and {} of answer need {} cache blocks of {} tokens; there are {}", length,
                   request.max_tokens, needed, options.block_len, options.num_blocks);
  }
  return sampling::Validate(request.sampling);
}

void Core::Add(RequestId id, Request request, Clock::time_point submitted) {
  queue_.push_back({id, std::move(request), submitted});
  ++num_waiting_;
}

void Core::Cancel(RequestId id) {
  for (size_t slot = 0; slot < sequences_.size(); ++slot) {
    if (sequences_[slot] && sequences_[slot]->id == id) return Retire(slot, nullptr, Finish::kCancelled, {});
  }
  const auto it = std::find_if(queue_.begin(), queue_.end(), [&](const Waiting& w) { return w.id == id; });
  if (it == queue_.end()) return;
  const Waiting waiting = std::move(*it);
  queue_.erase(it);
  --num_waiting_;
  RetireWaiting(waiting);
}

void Core::CancelAll() {
  for (size_t slot = 0; slot < sequences_.size(); ++slot) {
    if (sequences_[slot]) Retire(slot, nullptr, Finish::kCancelled, {});
  }
  while (!queue_.empty()) {
    const Waiting waiting = std::move(queue_.front());
    queue_.pop_front();
    --num_waiting_;
    RetireWaiting(waiting);
  }
}

bool Core::Step(bool admit) {
  MakePlan(admit);
  for (const int32_t slot : plan_.admitted_slots) Admit(static_cast<size_t>(slot));
  if (plan_.work.empty()) return false;
  size_t num_drawn = 0;
  for (const Work& work : plan_.work) {
    Commit(static_cast<size_t>(work.slot), work.begin + work.count);
    if (work.sample) ++num_drawn;
  }
  executor_->Run(plan_.work, slots_, std::span(results_).first(num_drawn));
  size_t drawn = 0;
  for (const Work& work : plan_.work) {
    sequences_[static_cast<size_t>(work.slot)]->num_computed = work.begin + work.count;
    if (work.sample) Accept(static_cast<size_t>(work.slot), results_[drawn++]);
  }
  return true;
}

void Core::MakePlan(bool admit) {
  for (size_t i = 0; i < sequences_.size(); ++i) {
    slot_states_[i] = {};
    const Sequence* sequence = sequences_[i].get();
    if (sequence == nullptr) continue;
    slot_states_[i] = {.live = true,
                       .admission = sequence->admission,
                       .num_tokens = sequence->num_tokens(),
                       .num_computed = sequence->num_computed,
                       .held_blocks = sequence->blocks.size(),
                       .max_blocks = sequence->max_blocks};
  }
  waiting_states_.clear();
  const size_t free_slots = sequences_.size() - static_cast<size_t>(num_running());
  for (size_t i = 0; admit && i < std::min(free_slots, queue_.size()); ++i) {
    const Request& request = queue_[i].request;
    waiting_states_.push_back({.num_tokens = static_cast<int64_t>(request.prompt.size()),
                               .max_blocks = kv::BlocksFor(MaxCachedTokens(request), executor_->options().block_len)});
  }
  Plan({.slots = slot_states_, .waiting = waiting_states_, .free_blocks = blocks_.num_free()},
       executor_->options().max_prefill_tokens, &plan_);
}

void Core::Admit(size_t slot) {
  Waiting waiting = std::move(queue_.front());
  queue_.pop_front();
  --num_waiting_;
  auto sequence = std::make_unique<Sequence>();
  const Request& request = waiting.request;
  const int block_len = executor_->options().block_len;
  sequence->id = waiting.id;
  sequence->tokens.reserve(request.prompt.size() + static_cast<size_t>(request.max_tokens));
  sequence->tokens = request.prompt;
  sequence->max_blocks = kv::BlocksFor(MaxCachedTokens(request), block_len);
  sequence->blocks = kv::BlockTable(block_len, sequence->max_blocks);
  if (request.sampling.penalizes()) sequence->history = sampling::History(request.prompt, request.max_tokens);
  sequence->admission = num_admitted_++;
  sequence->submitted = waiting.submitted;
  sequence->admitted = Clock::now();
  sequence->request = std::move(waiting.request);
  slots_[slot] = sequence.get();
  sequences_[slot] = std::move(sequence);
  ++num_running_;
}

void Core::Commit(size_t slot, int64_t end) {
  // Admission promised these blocks.
  INGOT_CHECK(sequences_[slot]->blocks.Grow(blocks_, end));
}

void Core::Accept(size_t slot, const StepResult& result) {
  Sequence& sequence = *sequences_[slot];
  if (result.outcome == sampling::Outcome::kNotANumber) {
    return Retire(slot, nullptr, Finish::kError, Internal("the model's logits are not numbers").value());
  }
  if (result.outcome == sampling::Outcome::kNoToken) {
    return Retire(slot, nullptr, Finish::kError, Internal("no token can be drawn: all are masked").value());
  }
  if (sequence.num_answered() == 0) sequence.first_token = Clock::now();
  sequence.tokens.push_back(result.token.id);
  if (sequence.request.sampling.penalizes()) sequence.history.AddAnswerToken(result.token.id);
  if (sequence.IsEnd(result.token.id)) return Retire(slot, &result.token, Finish::kStop, {});
  if (sequence.num_answered() == sequence.request.max_tokens) return Retire(slot, &result.token, Finish::kLength, {});
  if (!sequence.request.on_event) return;
  sequence.request.on_event({.id = sequence.id, .token = &result.token, .timings = TimingsOf(sequence, Clock::now())});
}

void Core::Retire(size_t slot, const sampling::Sampled* token, Finish finish, Status error) {
  const std::unique_ptr<Sequence> sequence = std::move(sequences_[slot]);
  slots_[slot] = nullptr;
  --num_running_;
  sequence->blocks.Clear();
  if (!sequence->request.on_event) return;
  sequence->request.on_event({.id = sequence->id,
                              .token = token,
                              .finish = finish,
                              .error = std::move(error),
                              .timings = TimingsOf(*sequence, Clock::now())});
}

void Core::RetireWaiting(const Waiting& waiting) {
  if (!waiting.request.on_event) return;
  waiting.request.on_event({.id = waiting.id,
                            .finish = Finish::kCancelled,
                            .timings = {.queue_seconds = Seconds(waiting.submitted, Clock::now())}});
}

}  // namespace ingot::engine
