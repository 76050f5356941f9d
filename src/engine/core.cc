#include "engine/core.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace ingot::engine {
namespace {

double Seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

int64_t MicrosOf(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

Timings TimingsOf(const Sequence& sequence, Clock::time_point now) {
  if (!sequence.was_admitted) return {.queue_seconds = Seconds(sequence.submitted, now)};
  const bool answered = sequence.num_answered() > 0;
  const Clock::time_point first = answered ? sequence.first_token : now;
  return {.queue_seconds = Seconds(sequence.submitted, sequence.admitted),
          .prefill_seconds = Seconds(sequence.admitted, first),
          .decode_seconds = Seconds(first, now)};
}

void Tell(const Sequence& sequence, const sampling::Sampled* token, std::optional<FinishReason> finish, Status error) {
  if (!sequence.request.on_event) return;
  Event event{.id = sequence.id,
              .finish = finish,
              .error = std::move(error),
              .timings = TimingsOf(sequence, Clock::now()),
              .cached_tokens = sequence.num_cached};
  if (token != nullptr) event.token = *token;
  if (token != nullptr && sequence.num_answered() == 1) event.prompt_logprobs = sequence.prompt_logprobs;
  sequence.request.on_event(std::move(event));
}

Status DeadlineStatus() { return {Code::kDeadlineExceeded, "the request's deadline has passed"}; }

}  // namespace

Core::Core(std::unique_ptr<Executor> executor, std::unique_ptr<Drafter> drafter)
    : executor_(std::move(executor)),
      drafter_(std::move(drafter)),
      cache_(executor_->cache_options()),
      recorder_(executor_->options().max_batch_size),
      plan_(executor_->options().max_batch_size) {
  const auto size = static_cast<size_t>(executor_->options().max_batch_size);
  sequences_.resize(size);
  slots_.resize(size);
  slot_states_.resize(size);
  waiting_states_.reserve(size);
  matches_.reserve(size);
  for (Flight& flight : flights_) flight.draws.reserve(size);
  slot_ids_.resize(size);
  stats_.max_batch_size = executor_->options().max_batch_size;
  Publish();
}

Core::~Core() { CancelAll(); }

Status Core::CheckPrompt(const Request& request) const {
  const ExecutorOptions& options = executor_->options();
  const int64_t vocab_size = executor_->model().spec().vocab_size;
  if (request.prompt.empty()) return InvalidArgument("the prompt is empty");
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (request.max_tokens > options.max_context || length > options.max_context - request.max_tokens) {
    return TooLong("{} tokens of prompt and {} of answer exceed {}", length, request.max_tokens, options.max_context);
  }
  for (const int32_t id : request.prompt) {
    if (id < 0 || id >= vocab_size) return InvalidArgument("token id {} is outside 0…{}", id, vocab_size - 1);
  }
  for (int g = 0; g < cache_.num_groups(); ++g) {
    const int64_t needed = cache_.MostHeld(g, length + request.max_tokens - 1, options.max_prefill_tokens);
    if (needed > cache_.group(g).num_blocks) {
      return TooLong("{} tokens of prompt and {} of answer need {} cache blocks of {} tokens; there are {}", length,
                     request.max_tokens, needed, options.block_len, cache_.group(g).num_blocks);
    }
  }
  return {};
}

Status Core::Check(const Request& request) const {
  const int64_t vocab_size = executor_->model().spec().vocab_size;
  if (request.max_tokens < 1) return InvalidArgument("max_tokens {} is below 1", request.max_tokens);
  if (const Status prompt = CheckPrompt(request); !prompt.ok()) return prompt.Of("prompt");
  const int num_adapters = executor_->model().num_adapters();
  if (request.adapter != ops::kNoAdapter && !(request.adapter >= 0 && request.adapter < num_adapters)) {
    return InvalidArgument("adapter {}: the model has {}", request.adapter, num_adapters);
  }
  // llm has checked the rest.
  const auto is_token = [&](int32_t id) { return id >= 0 && id < vocab_size; };
  INGOT_CHECK(request.logit_bias.size() <= sampling::kMaxLogitBiases);
  for (const sampling::LogitBias& bias : request.logit_bias) INGOT_CHECK(is_token(bias.id));
  INGOT_CHECK(request.prompt_logprobs <= sampling::kMaxLogprobs &&
              request.sampling.num_logprobs <= sampling::kMaxLogprobs);
  INGOT_CHECK(request.sampling.temperature >= 0 && request.sampling.top_p >= 0 &&
              request.sampling.repetition_penalty > 0);
  return {};
}

void Core::Add(RequestId id, Request request, Clock::time_point submitted) {
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->rank = RankOf(MicrosOf(submitted), request.priority);
  sequence->scope = std::make_shared<kv::PrefixScope>(
      kv::PrefixScope{.model = executor_->model().fingerprint(),
                      .adapter = request.adapter == ops::kNoAdapter ? "" : std::to_string(request.adapter),
                      .salt = request.cache_salt});
  sequence->tokens = std::move(request.prompt);
  sequence->prompt_length = sequence->num_tokens();
  sequence->submitted = submitted;
  sequence->request = std::move(request);
  if (sequence->request.deadline) ++num_deadlines_;
  Enqueue(std::move(sequence));
  Publish();
}

void Core::Enqueue(SequencePtr sequence) {
  const auto key = [](const SequencePtr& s) { return std::pair(s->rank, s->id); };
  const auto at = std::ranges::upper_bound(queue_, key(sequence), {}, key);
  queue_.insert(at, std::move(sequence));
}

void Core::Cancel(RequestId id) {
  for (size_t slot = 0; slot < sequences_.size(); ++slot) {
    if (!sequences_[slot] || sequences_[slot]->id != id) continue;
    Retire(slot, nullptr, FinishReason::kCancelled, {});
    return Publish();
  }
  const auto it = std::ranges::find(queue_, id, &Sequence::id);
  if (it == queue_.end()) return;
  RetireWaiting(static_cast<size_t>(it - queue_.begin()), FinishReason::kCancelled, {});
  Publish();
}

void Core::CancelAll() {
  for (size_t slot = 0; slot < sequences_.size(); ++slot) {
    if (sequences_[slot]) Retire(slot, nullptr, FinishReason::kCancelled, {});
  }
  while (!queue_.empty()) RetireWaiting(queue_.size() - 1, FinishReason::kCancelled, {});
  CollectAll();
  Publish();
}

bool Core::Step(bool admit) {
  EndOverdue();
  if (!MakeNextPlan(admit)) {
    if (!in_flight()) return false;
    Collect();
    return true;
  }
  const int64_t record = RecordPlan();
  for (const int32_t slot : plan_.preempted) Preempt(static_cast<size_t>(slot));
  for (size_t i = 0; i < plan_.admitted_slots.size(); ++i) {
    Admit(static_cast<size_t>(plan_.admitted_slots[i]), matches_[i]);
  }
  // Once all hold what they found: a copy may evict.
  for (const int32_t slot : plan_.admitted_slots) {
    cache_.CopyPart(&sequences_[static_cast<size_t>(slot)]->blocks,
                    [this](int group, int32_t from, int32_t to) { executor_->CopyBlock(group, from, to); });
  }
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(plan_.admitted_slots.size()));
  Publish();
  plan_.work.empty() ? recorder_.End(record) : Launch(record);
  while (num_flights_ > (executor_->runs_behind() ? 1u : 0u)) Collect();
  return true;
}

void Core::Launch(int64_t record) {
  Flight& flight = flights_[num_flights_];
  flight.draws.clear();
  flight.decodes = flight.prefill_tokens = 0;
  flight.record = record;
  for (const Work& work : plan_.work) {
    const auto slot = static_cast<size_t>(work.slot);
    // The plan saw to it that there are enough.
    INGOT_CHECK(cache_.Grow(&sequences_[slot]->blocks, work.begin + work.count));
    if (work.sample) flight.draws.push_back({slot, sequences_[slot].get(), work.num_drafts});
    (work.is_decode() ? flight.decodes : flight.prefill_tokens) += work.count;
  }
  flight.launched = Clock::now();
  flight.ticket = executor_->Launch(plan_.work, slots_);
  ++num_flights_;
  for (const Work& work : plan_.work) {
    Sequence& sequence = *sequences_[static_cast<size_t>(work.slot)];
    sequence.num_computed = work.begin + work.count - work.num_drafts;
    if (work.sample) ++sequence.num_drawing;
    // What is launched later finds it computed.
    cache_.Commit(&sequence.blocks, sequence.tokens, std::min(sequence.num_computed, sequence.num_tokens()));
  }
}

// The oldest step in flight.
void Core::Collect() {
  const Result<std::span<const StepResult>> results = executor_->Collect(flights_[0].ticket);
  std::swap(flights_[0], flights_[1]);
  --num_flights_;
  Flight& flight = flights_[1];
  if (results.has_value()) AcceptResults(flight, *results);
  flight.departed.clear();
  ++stats_.steps;
  stats_.step_tokens.Add(flight.decodes + flight.prefill_tokens);
  Publish();
  recorder_.End(flight.record);
  if (!results.has_value()) EndAllRunning(results.error());
}

void Core::CollectAll() {
  while (in_flight()) Collect();
}

void Core::AcceptResults(const Flight& flight, std::span<const StepResult> results) {
  const Clock::time_point now = Clock::now();
  cost_.Observe(flight.decodes, flight.prefill_tokens, MicrosOf(now) - MicrosOf(std::max(flight.launched, collected_)));
  collected_ = now;
  size_t first = 0;
  for (const Flight::Draws& draws : flight.draws) {
    const auto count = static_cast<size_t>(draws.num_drafts) + 1;
    const bool is_here = sequences_[draws.slot].get() == draws.sequence;  // else it ended meanwhile
    if (is_here) AcceptDraws(draws, results.subspan(first, count));
    first += count;
  }
}

void Core::EndAllRunning(const Status& error) {
  for (size_t slot = 0; slot < sequences_.size(); ++slot) {
    if (sequences_[slot]) Retire(slot, nullptr, FinishReason::kError, error);
  }
  CollectAll();  // the step behind it read what it did not write
  cache_.EvictAll();
  Publish();
}

// A draw counts as long as the drafts before it came true.
void Core::AcceptDraws(const Flight::Draws& draws, std::span<const StepResult> results) {
  Sequence& sequence = *sequences_[draws.slot];
  --sequence.num_drawing;
  stats_.draft_tokens += draws.num_drafts;
  for (size_t i = 0; i < results.size(); ++i) {
    if (!Accept(draws.slot, results[i])) return;
    if (i + 1 == results.size() || sequence.drafts[i] != sequence.tokens.back()) break;
    ++sequence.num_computed;
    ++stats_.accepted_draft_tokens;
  }
  if (draws.num_drafts > 0) sequence.num_computed = cache_.Rewind(&sequence.blocks, sequence.num_computed);
  cache_.Commit(&sequence.blocks, sequence.tokens, std::min(sequence.num_computed, sequence.num_tokens()));
}

void Core::EndOverdue() {
  if (num_deadlines_ == 0) return;
  const Clock::time_point now = Clock::now();
  const auto overdue = [&](const SequencePtr& s) { return s && s->request.deadline && *s->request.deadline <= now; };
  for (size_t slot = 0; slot < sequences_.size(); ++slot) {
    if (overdue(sequences_[slot])) Retire(slot, nullptr, FinishReason::kError, DeadlineStatus());
  }
  for (size_t i = queue_.size(); i-- > 0;) {
    if (overdue(queue_[i])) RetireWaiting(i, FinishReason::kError, DeadlineStatus());
  }
}

Core::SequencePtr Core::TakeSlot(size_t slot) {
  SequencePtr sequence = std::move(sequences_[slot]);
  slots_[slot] = nullptr;
  --num_live_;
  // What follows tokens that are not known yet is taken back.
  const int64_t kept = cache_.Rewind(&sequence->blocks, std::min(sequence->num_computed, sequence->num_tokens()));
  cache_.Release(&sequence->blocks, sequence->tokens, kept);
  sequence->num_computed = sequence->num_drawing = 0;
  return sequence;
}

void Core::Preempt(size_t slot) {
  ++stats_.preemptions;
  Enqueue(TakeSlot(slot));
}

void Core::PreemptAll() {
  CollectAll();
  for (size_t slot = 0; slot < sequences_.size(); ++slot) {
    if (sequences_[slot]) Enqueue(TakeSlot(slot));
  }
  Publish();
}

// The head of the queue that has not been admitted in this step gets the slot; the queue closes up after all have.
void Core::Admit(size_t slot, const kv::PrefixMatch& match) {
  const auto at = std::ranges::find_if(queue_, [](const SequencePtr& s) { return s != nullptr; });
  SequencePtr sequence = std::move(*at);
  const Request& request = sequence->request;
  if (!sequence->was_admitted) {
    sequence->was_admitted = true;
    sequence->admitted = Clock::now();
    sequence->tokens.reserve(static_cast<size_t>(sequence->prompt_length + request.max_tokens));
    sequence->blocks =
        cache_.MakeHolding(sequence->most_cached_tokens(), SharesBlocks(request) ? sequence->scope : nullptr);
    sequence->num_cached = match.num_tokens;
    sequence->drafts.reserve(static_cast<size_t>(executor_->options().max_drafts));
    if (request.prompt_logprobs >= 0) sequence->prompt_logprobs.reserve(static_cast<size_t>(sequence->prompt_length));
    if (request.sampling.penalizes()) sequence->history = sampling::History(sequence->tokens, request.max_tokens);
    stats_.prompt_tokens += sequence->prompt_length;
    const bool looked = sequence->blocks.scope && request.uses_cached_blocks;
    if (looked) stats_.prefix_queries += sequence->prompt_length;
    stats_.prefix_hits += match.num_tokens;
  }
  cache_.Take(match, &sequence->blocks);
  sequence->num_computed = match.num_tokens;
  slots_[slot] = sequence.get();
  sequences_[slot] = std::move(sequence);
  ++num_live_;
}

// Whether the sequence continues.
bool Core::Accept(size_t slot, const StepResult& result) {
  Sequence& sequence = *sequences_[slot];
  if (result.outcome == sampling::Outcome::kNotANumber) {
    const auto error = Internal(
        "the model's logits are not numbers; where its keys or values exceed 65504, fp16's largest, a KV cache in bf16 "
        "(dtype bfloat16) holds them");
    Retire(slot, nullptr, FinishReason::kError, error.value());
    return false;
  }
  if (result.outcome == sampling::Outcome::kNoToken) {
    Retire(slot, nullptr, FinishReason::kError, Internal("no token can be drawn: all are masked").value());
    return false;
  }
  const std::shared_ptr<sampling::TokenMask>& mask = sequence.request.token_mask;
  if (mask && !mask->Accept(result.token.id)) {
    Retire(slot, nullptr, FinishReason::kError,
           Internal("token {} was drawn, which its mask then refused", result.token.id).value());
    return false;
  }
  if (sequence.num_answered() == 0) sequence.first_token = Clock::now();
  sequence.tokens.push_back(result.token.id);
  ++stats_.generated_tokens;
  if (sequence.request.sampling.penalizes()) sequence.history.AddAnswerToken(result.token.id);
  const bool is_end = sequence.IsEnd(result.token.id);
  if (is_end || sequence.num_answered() == sequence.request.max_tokens) {
    Retire(slot, &result.token, is_end ? FinishReason::kStop : FinishReason::kLength, {});
    return false;
  }
  Tell(sequence, &result.token, std::nullopt, {});
  return true;
}

void Core::Retire(size_t slot, const sampling::Sampled* token, FinishReason finish, Status error) {
  Depart(TakeSlot(slot), token, finish, std::move(error));
}

void Core::RetireWaiting(size_t index, FinishReason finish, Status error) {
  SequencePtr sequence = std::move(queue_[index]);
  queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(index));
  Depart(std::move(sequence), nullptr, finish, std::move(error));
}

void Core::Depart(SequencePtr sequence, const sampling::Sampled* token, FinishReason finish, Status error) {
  if (sequence->request.deadline) --num_deadlines_;
  if (finish == FinishReason::kCancelled) ++stats_.cancelled;
  Publish();
  Tell(*sequence, token, finish, std::move(error));
  // What is in flight may still read it.
  if (in_flight()) flights_[num_flights_ - 1].departed.push_back(std::move(sequence));
}

void Core::Publish() {
  const kv::CacheStats cache = cache_.stats();
  stats_.running = num_live_;
  stats_.waiting = static_cast<int>(queue_.size());
  stats_.max_running = std::max<int64_t>(stats_.max_running, num_live_);
  stats_.total_blocks = cache.total;
  stats_.free_blocks = cache.free;
  stats_.cached_blocks = cache.cached;
  std::optional<Clock::time_point> oldest;
  for (const SequencePtr& s : queue_) {
    if (s && !(oldest && *oldest <= s->submitted)) oldest = s->submitted;
  }
  const MutexLock lock(published_mutex_);
  published_ = stats_;
  oldest_ = oldest;
}

Stats Core::stats() const {
  const MutexLock lock(published_mutex_);
  Stats stats = published_;
  if (oldest_) stats.oldest_waiting_seconds = Seconds(*oldest_, Clock::now());
  return stats;
}

}  // namespace ingot::engine
