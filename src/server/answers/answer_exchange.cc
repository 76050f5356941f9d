#include "server/answers/answer_exchange.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"

namespace ingot::server {
namespace {

// Of an answer that is collected: each is some 100 bytes here and 40 in JSON.
constexpr size_t kMaxLogprobs = size_t{2} << 20;

// Thread safety: events of different prompts come from different threads; mutex_ makes them take turns.
class AnswerExchange : public std::enable_shared_from_this<AnswerExchange> {
 public:
  AnswerExchange(Metrics& metrics, std::shared_ptr<Exchange> exchange, std::unique_ptr<AnswerFormat> format,
                 const AnswerRequest& request)
      : exchange_(std::move(exchange)),
        format_(std::move(format)),
        stream_(request.stream),
        ping_seconds_(request.ping_seconds),
        observed_(metrics.Begin(exchange_->request())) {
    int index = 0;
    for (const llm::Request& one : request.requests) {
      first_choice_.push_back(index);
      for (int i = 0; i < one.n; ++i) choices_.push_back({.index = index++, .choice = {}, .prompt_logprobs = {}});
    }
  }

  // All prompts or none; the 200 of a stream goes out only when all have been accepted. Events that come meanwhile are
  // kept: whoever tells them must not wait while prompts are tokenized.
  void Submit(llm::Llm& llm, const Metrics& metrics, AnswerRequest request) {
    if (std::ssize(choices_) > llm.options().max_queue) return Reject(TooManyAnswers(llm, request));
    const HttpRequest& http = exchange_->request();
    const double waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - http.received).count();
    for (size_t i = 0; i < request.requests.size(); ++i) {
      llm::Request& one = request.requests[i];
      // It counts from when the request came, which may have waited for a thread.
      if (one.deadline_seconds) one.deadline_seconds = std::max(*one.deadline_seconds - waited, 1e-6);
      const auto on_event = [self = shared_from_this(), i](const llm::Event& event) { self->OnEvent(i, event); };
      auto handle = request.submit ? request.submit(one, on_event) : llm.Submit(one, on_event);
      if (!handle) {
        WireError error = ToWireError(handle.error(), http.request_id, ParamOf(request, i, handle.error()));
        if (error.status == 429) {
          error.retry_after_seconds = metrics.RetryAfterSeconds(llm.stats());
          error.limit_requests = llm.options().max_queue;
        }
        return Reject(error);
      }
      handles_.push_back(*std::move(handle));
      if (exchange_->closed()) break;  // OnClose cancels what there is
    }
    {
      const std::lock_guard lock(mutex_);
      StartStream();
      is_submitted_ = true;
      for (const auto& [prompt, event] : std::exchange(early_, {})) Take(prompt, event);
    }
    exchange_->OnClose([handles = handles_, observed = observed_] {
      observed->ClientLeft();
      for (const auto& one : handles) one->Cancel();
    });
    exchange_->OnStop([self = weak_from_this()] {
      if (const auto exchange = self.lock()) exchange->Stop();
    });
  }

 private:
  static std::string ParamOf(const AnswerRequest& request, size_t index, const Status& status) {
    return status.field() == "prompt" ? request.params[index] : status.field();
  }

  void StartStream() {
    if (!stream_) return;
    exchange_->StartStream({.content_type = format_->stream_type(),
                            .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
                            .ping_seconds = *format_->ping() == 0 ? 0 : ping_seconds_,
                            .ping = format_->ping()});
  }

  static WireError TooManyAnswers(const llm::Llm& llm, const AnswerRequest& request) {
    return {400, "invalid_request_error", "invalid_value", request.requests.size() > 1 ? "prompt" : "n",
            fmt::format("{} prompts with n {} make more answers than the {} that may wait here (--max-queue)",
                        request.requests.size(), request.requests.front().n, llm.options().max_queue)};
  }

  void Reject(const WireError& error) {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
      early_.clear();
    }
    for (const auto& one : handles_) one->Cancel();
    observed_->Reject(error);
    exchange_->Respond(ErrorResponse(error));
  }

  // The server waits no longer.
  void Stop() {
    const std::lock_guard lock(mutex_);
    if (!is_over_)
      Fail({503, "unavailable_error", "draining", "", "the server stops, and this was not finished in time"});
  }

  void OnEvent(size_t prompt, const llm::Event& event) {
    const std::lock_guard lock(mutex_);
    if (is_over_) return;
    if (!is_submitted_) return early_.emplace_back(prompt, event), void();
    Take(prompt, event);
  }

  void Take(size_t prompt, const llm::Event& told) {
    if (is_over_) return;
    if (told.finish == llm::FinishReason::kError) return Fail(ToWireError(told.error, exchange_->request().request_id));
    llm::Event event = told;
    event.index += first_choice_[prompt];
    AnswerChoice& choice = choices_[static_cast<size_t>(event.index)];
    observed_->Tokens(event);
    if (event.finish) Count(prompt, event);
    if (stream_) {
      exchange_->Send(format_->Piece(choice, event));
      choice.is_first = false;
      choice.choice.text.append(event.text);  // offsets are counted from it
    } else {
      Collect(choice, event);
      if (num_logprobs_ > kMaxLogprobs) return Fail(TooManyLogprobs());
    }
    if (num_finished_ == choices_.size()) Finish();
  }

  static WireError TooManyLogprobs() {
    return {400, "invalid_request_error", "invalid_value", "logprobs",
            fmt::format("the answer has more than {} logprobs; ask for fewer alternatives or answers, or for a stream",
                        kMaxLogprobs)};
  }

  void Count(size_t prompt, const llm::Event& event) {
    ++num_finished_;
    last_finish_ = *event.finish;
    // A prompt is counted once, however many answers it has.
    if (event.index == first_choice_[prompt]) usage_.prompt_tokens += event.usage.prompt_tokens;
    if (event.index == first_choice_[prompt]) usage_.cached_tokens += event.usage.cached_tokens;
    usage_.completion_tokens += event.usage.completion_tokens;
  }

  void Collect(AnswerChoice& state, const llm::Event& event) {
    llm::Choice& choice = state.choice;
    for (const auto* tokens : {&event.logprobs, &event.prompt_logprobs}) {
      for (const llm::TokenInfo& token : *tokens) num_logprobs_ += 1 + token.top.size();
    }
    choice.text += event.text;
    choice.token_ids.insert(choice.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
    choice.logprobs.insert(choice.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    if (!event.prompt_logprobs.empty()) state.prompt_logprobs = event.prompt_logprobs;
    if (!event.finish) return;
    choice.finish = *event.finish;
    choice.stop_reason = event.stop_reason;
  }

  void Fail(const WireError& error) {
    is_over_ = true;
    // A session's turn that its client is told to have failed has not happened.
    for (const auto& handle : handles_) handle->Fail(Status(Code::kUnavailable, error.message));
    observed_->Fail(error);
    exchange_->Note({{"code", error.code}});
    if (!stream_) return exchange_->Respond(ErrorResponse(error));
    // Ended without the format's end: the client must not take what came for a whole answer.
    exchange_->FailStream(ErrorResponse(error), format_->Failure(error));
  }

  void Finish() {
    is_over_ = true;
    observed_->End(usage_);
    exchange_->Note({{"prompt", usage_.prompt_tokens},
                     {"cached", usage_.cached_tokens},
                     {"answer", usage_.completion_tokens},
                     {"finish", llm::FinishReasonName(last_finish_)}});
    if (!stream_) return exchange_->Respond({.body = format_->Whole(choices_, usage_)});
    exchange_->Send(format_->End(usage_));
    exchange_->Finish();
  }

  const std::shared_ptr<Exchange> exchange_;
  const std::unique_ptr<AnswerFormat> format_;
  const bool stream_;
  const int ping_seconds_;
  const std::shared_ptr<Observed> observed_;
  std::vector<int> first_choice_;                      // [prompts]
  std::vector<std::shared_ptr<llm::Handle>> handles_;  // Submit's, until is_submitted_

  std::mutex mutex_;  // guards what follows
  bool is_submitted_ = false;
  std::vector<std::pair<size_t, llm::Event>> early_;  // that came before, with their prompts
  std::vector<AnswerChoice> choices_;
  size_t num_finished_ = 0;
  llm::Usage usage_;
  llm::FinishReason last_finish_ = llm::FinishReason::kStop;
  size_t num_logprobs_ = 0;  // collected
  bool is_over_ = false;     // it was answered, or failed
};

}  // namespace

void Answer(llm::Llm& llm, Metrics& metrics, const std::shared_ptr<Exchange>& exchange,
            std::unique_ptr<AnswerFormat> format, AnswerRequest request) {
  std::make_shared<AnswerExchange>(metrics, exchange, std::move(format), request)
      ->Submit(llm, metrics, std::move(request));
}

}  // namespace ingot::server
