#include "server/answers/answer_exchange.h"

#include <algorithm>

#include "base/log.h"

namespace ingot::server {
namespace {

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

  // All prompts or none. The 200 of a stream goes out only when all have been accepted.
  void Submit(llm::Llm& llm, const Metrics& metrics, const AnswerRequest& request) {
    std::unique_lock lock(mutex_);  // events wait until all is submitted
    for (size_t i = 0; i < request.requests.size(); ++i) {
      const auto on_event = [self = shared_from_this(), i](const llm::Event& event) { self->OnEvent(i, event); };
      auto handle =
          request.submit ? request.submit(request.requests[i], on_event) : llm.Submit(request.requests[i], on_event);
      if (!handle) {
        failed_ = true;
        const auto handles = handles_;
        lock.unlock();
        for (const auto& one : handles) one->Cancel();
        WireError error =
            ToWireError(handle.error(), exchange_->request().request_id, ParamOf(request, i, handle.error()));
        if (error.status == 429) {
          error.retry_after_seconds = metrics.RetryAfterSeconds(llm.stats());
          error.limit_requests = llm.options().max_queue;
        }
        observed_->Reject(error);
        return exchange_->Respond(ErrorResponse(error));
      }
      handles_.push_back(*std::move(handle));
    }
    StartStream();
    const auto handles = handles_;
    lock.unlock();
    exchange_->OnClose([handles, observed = observed_] {
      observed->ClientLeft();
      for (const auto& one : handles) one->Cancel();
    });
  }

 private:
  static std::string ParamOf(const AnswerRequest& request, size_t index, const Status& status) {
    if (status.code() == Code::kConflict) return "session_id";  // nothing else is in another request's way
    return status.code() == Code::kTooLong && index < request.params.size() ? request.params[index] : "";
  }

  void StartStream() {
    if (!stream_) return;
    exchange_->StartStream({.content_type = format_->stream_type(),
                            .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
                            .ping_seconds = *format_->ping() == 0 ? 0 : ping_seconds_,
                            .ping = format_->ping()});
  }

  void OnEvent(size_t prompt, const llm::Event& told) {
    const std::lock_guard lock(mutex_);
    if (failed_) return;
    if (told.finish == llm::FinishReason::kError) return Fail(told.error);
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
    }
    if (num_finished_ == choices_.size()) Finish();
  }

  void Count(size_t prompt, const llm::Event& event) {
    ++num_finished_;
    last_finish_ = *event.finish;
    // A prompt is counted once, however many answers it has.
    if (event.index == first_choice_[prompt]) usage_.prompt_tokens += event.usage.prompt_tokens;
    if (event.index == first_choice_[prompt]) usage_.cached_tokens += event.usage.cached_tokens;
    usage_.completion_tokens += event.usage.completion_tokens;
  }

  static void Collect(AnswerChoice& state, const llm::Event& event) {
    llm::Choice& choice = state.choice;
    choice.text += event.text;
    choice.token_ids.insert(choice.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
    choice.logprobs.insert(choice.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    if (!event.prompt_logprobs.empty()) state.prompt_logprobs = event.prompt_logprobs;
    if (!event.finish) return;
    choice.finish = *event.finish;
    choice.stop_reason = event.stop_reason;
  }

  void Fail(const Status& status) {
    failed_ = true;
    for (const auto& handle : handles_) handle->Cancel();
    const WireError error = ToWireError(status, exchange_->request().request_id);
    observed_->Fail(error);
    if (!stream_) return exchange_->Respond(ErrorResponse(error));
    // Ended without the format's end: the client must not take what came for a whole answer.
    exchange_->Send(format_->Failure(error));
    exchange_->Finish();
  }

  void Finish() {
    observed_->End(usage_);
    exchange_->Note(fmt::format("prompt={} cached={} answer={} finish={}", usage_.prompt_tokens, usage_.cached_tokens,
                                usage_.completion_tokens, llm::FinishReasonName(last_finish_)));
    if (!stream_) return exchange_->Respond({.body = format_->Whole(choices_, usage_)});
    exchange_->Send(format_->End(usage_));
    exchange_->Finish();
  }

  const std::shared_ptr<Exchange> exchange_;
  const std::unique_ptr<AnswerFormat> format_;
  const bool stream_;
  const int ping_seconds_;
  const std::shared_ptr<Observed> observed_;
  std::vector<int> first_choice_;  // [prompts]

  std::mutex mutex_;  // guards what follows
  std::vector<std::shared_ptr<llm::Handle>> handles_;
  std::vector<AnswerChoice> choices_;
  size_t num_finished_ = 0;
  llm::Usage usage_;
  llm::FinishReason last_finish_ = llm::FinishReason::kStop;
  bool failed_ = false;
};

}  // namespace

void Answer(llm::Llm& llm, Metrics& metrics, const std::shared_ptr<Exchange>& exchange,
            std::unique_ptr<AnswerFormat> format, AnswerRequest request) {
  std::make_shared<AnswerExchange>(metrics, exchange, std::move(format), request)->Submit(llm, metrics, request);
}

}  // namespace ingot::server
