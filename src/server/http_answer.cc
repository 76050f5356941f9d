// Answers on their way to a client.
#include "server/server_context.h"

namespace ingot::server {
namespace {

// What belongs to a refusal by the engine's full queue.
void TellWhenToRetry(const ServerContext& context, const llm::Llm& llm, WireError* error) {
  error->retry_after_seconds = context.metrics.RetryAfterSeconds(llm.stats());
  error->limit_requests = llm.options().max_queue;
}

// Reports to the exchange, the log and the metrics what comes of a request.
class HttpListener : public answers::Listener {
 public:
  HttpListener(const ServerContext& context, const llm::Llm& llm, std::shared_ptr<Exchange> exchange,
               std::unique_ptr<answers::Format> format, bool stream)
      : context_(context),
        llm_(llm),
        exchange_(std::move(exchange)),
        format_(std::move(format)),
        stream_(stream),
        observed_(context.metrics.Begin()) {}

  bool wants_whole() const override { return !stream_; }
  void Began() override {
    has_begun_ = true;
    if (!stream_) return;
    exchange_->StartStream({.content_type = format_->stream_type(),
                            .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
                            .ping_seconds = *format_->ping() == 0 ? 0 : context_.answers.ping_seconds,
                            .ping = format_->ping()});
  }
  void Piece(const answers::Choice& choice, const llm::Event& event) override {
    observed_->Tokens(event);
    if (event.finish) last_finish_ = *event.finish;
    if (stream_) exchange_->Send(format_->Piece(choice, event));
  }
  void Ended(const std::vector<answers::Choice>& choices, const llm::Usage& usage) override {
    observed_->End(usage);
    exchange_->Note({{"prompt", usage.prompt_tokens},
                     {"cached", usage.cached_tokens},
                     {"answer", usage.completion_tokens},
                     {"finish", llm::FinishReasonName(last_finish_)}});
    if (!stream_) return exchange_->Respond({.body = format_->Whole(choices, usage)});
    exchange_->Send(format_->End(usage));
    exchange_->Finish();
  }
  void Failed(const Status& status) override {
    if (exchange_->closed()) return;  // the client is gone, and Observed counts it as cancelled
    WireError error = ToWireError(status, exchange_->request().request_id);
    if (is_stopping_) error.code = "draining";
    if (!has_begun_) return Reject(std::move(error));
    observed_->Fail(error);
    exchange_->Note({{"code", error.code}});
    if (!stream_) return Refuse(*exchange_, error);
    // Ended without the format's end: the client must not take what came for a whole answer.
    exchange_->FailStream(ErrorResponse(error, *exchange_->request().errors), format_->Failure(error));
  }

  void ClientLeft() { observed_->ClientLeft(); }
  void Stop(answers::Answer& answer) {
    is_stopping_ = true;
    answer.Fail(Unavailable("the server stops, and this was not finished in time"));
  }

 private:
  void Reject(WireError error) {
    if (error.code == "queue_full") TellWhenToRetry(context_, llm_, &error);
    observed_->Reject(error);
    Refuse(*exchange_, error);
  }

  const ServerContext& context_;
  const llm::Llm& llm_;
  const std::shared_ptr<Exchange> exchange_;
  const std::unique_ptr<answers::Format> format_;
  const bool stream_;
  const std::shared_ptr<Observed> observed_;
  bool has_begun_ = false;
  llm::FinishReason last_finish_ = llm::FinishReason::kStop;
  std::atomic<bool> is_stopping_ = false;
};

}  // namespace

bool RefuseWhenFull(const ServerContext& context, const llm::Llm& llm, Exchange& exchange) {
  const int waiting = llm.stats().waiting, max_queue = llm.options().max_queue;
  if (waiting < max_queue) return false;
  WireError error =
      ToWireError(ResourceExhausted("{} requests are waiting; the queue holds {}", waiting, max_queue).value(),
                  exchange.request().request_id);
  TellWhenToRetry(context, llm, &error);
  context.metrics.Begin()->Reject(error);
  exchange.Respond(ErrorResponse(error, *exchange.request().errors));
  return true;
}

void Answer(const ServerContext& context, const ServedModel& model, const std::shared_ptr<Exchange>& exchange,
            answers::Prepared prepared) {
  for (const llm::Request& request : prepared.question.requests) {
    const Status status = CheckPriority(exchange->request(), request.priority);
    if (!status.ok()) return Refuse(*exchange, status);
  }
  const auto listener =
      std::make_shared<HttpListener>(context, model.llm, exchange, std::move(prepared.format), prepared.stream);
  const auto answer = std::make_shared<answers::Answer>(listener);
  prepared.question.received = exchange->request().received;
  exchange->OnClose([answer, listener] {
    listener->ClientLeft();
    answer->Cancel();
  });
  exchange->OnStop([weak = std::weak_ptr(answer), listener = std::weak_ptr(listener)] {
    const auto running = weak.lock();
    const auto stopped = listener.lock();
    if (running && stopped) stopped->Stop(*running);
  });
  answer->Begin(model.llm, std::move(prepared.question));
}

}  // namespace ingot::server
