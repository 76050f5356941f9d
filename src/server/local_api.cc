#include "server/local_api.h"

#include <condition_variable>
#include <map>
#include <mutex>

#include "base/task_pool.h"
#include "models/model.h"
#include "server/openai/chat.h"
#include "server/openai/completions.h"
#include "server/unsupported_routes.h"

namespace ingot::server {
namespace {

WireError CancelledError(const HttpRequest& request) {
  return ToWireError(Status(Code::kCancelled, "cancelled"), request.request_id);
}

// Gives the answer to a function instead of a connection.
class LocalExchange : public Exchange {
 public:
  LocalExchange(HttpRequest request, std::function<void(HttpResponse)> on_answer)
      : request_(std::move(request)), on_answer_(std::move(on_answer)) {}
  ~LocalExchange() override {
    if (!on_answer_) return;  // nobody else has it any more: no lock
    Respond(ErrorResponse(InternalError("it was dropped without an answer", request_.request_id)));
  }

  const HttpRequest& request() const override { return request_; }
  HttpRequest& mutable_request() override { return request_; }
  void Respond(HttpResponse response) override {
    std::function<void(HttpResponse)> on_answer;
    {
      const std::lock_guard lock(mutex_);
      on_answer = std::exchange(on_answer_, nullptr);
      on_close_ = nullptr;
      // What came of a request that was cancelled is no answer to it.
      if (cancelled_) response = ErrorResponse(CancelledError(request_));
    }
    if (on_answer) on_answer(std::move(response));
  }
  void StartStream(HttpResponse) override {
    Respond(
        ErrorResponse({400, "invalid_request_error", "invalid_value", "stream", "stream: answers come whole here"}));
  }
  bool Send(std::string) override { return false; }
  void Finish() override {}
  void FailStream(HttpResponse instead, std::string) override { Respond(std::move(instead)); }
  void Abort() override {}
  void Note(LogFields) override {}
  void OnClose(std::function<void()> on_close) override {
    {
      const std::lock_guard lock(mutex_);
      if (on_answer_ && !cancelled_) {
        on_close_ = std::move(on_close);
        return;
      }
    }
    on_close();  // nobody waits for an answer
  }
  void OnStop(std::function<void()>) override {}  // it is cancelled, then
  bool closed() override { return cancelled(); }
  void Cancel() {
    std::function<void()> on_close;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      on_close = std::exchange(on_close_, nullptr);
    }
    if (on_close) on_close();
  }
  // Whether the request has not begun and must not any more.
  bool cancelled() {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

 private:
  HttpRequest request_;
  std::mutex mutex_;  // guards what follows
  std::function<void(HttpResponse)> on_answer_;
  std::function<void()> on_close_;
  bool cancelled_ = false;
};

ModelLimits LimitsOf(const llm::Llm& llm, const LocalApiOptions& options) {
  return {.model_name = options.model_name,
          .session_len = llm.session_len(),
          .vocab_size = llm.model().spec().vocab_size,
          .max_output_len = options.max_output_len};
}

class LocalApiImpl : public LocalApi {
 public:
  LocalApiImpl(llm::Llm& llm, const LocalApiOptions& options)
      : metrics_(Metrics::Make({.model_name = options.model_name})),
        schemas_(LimitsOf(llm, options)),
        text_pool_(options.text_threads) {
    models_.Add({llm, options.model_name, std::time(nullptr), LimitsOf(llm, options)});
  }
  ~LocalApiImpl() override {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return running_.empty(); });
  }

  std::vector<std::string> paths() const override { return {kChat, kCompletions}; }

  void Post(LocalRequest request, std::function<void(HttpResponse)> on_answer) override {
    const bool is_chat = request.path == kChat;
    if (!is_chat && request.path != kCompletions) return on_answer(ErrorResponse(NoSuchRoute(request)));
    HttpRequest http{.method = "POST", .path = request.path, .body = std::move(request.body)};
    http.request_id = std::move(request.request_id);
    const std::lock_guard lock(mutex_);
    const int64_t number = next_++;
    auto exchange = std::make_shared<LocalExchange>(
        std::move(http), [this, number, on_answer = std::move(on_answer)](HttpResponse response) {
          on_answer(std::move(response));
          const std::lock_guard ended(mutex_);
          running_.erase(number);
          idle_.notify_all();
        });
    running_[number] = exchange;
    text_pool_.Post([this, is_chat, exchange] {
      if (exchange->cancelled()) return exchange->Respond(ErrorResponse(CancelledError(exchange->request())));
      if (is_chat) return ChatCompletions(context_, schemas_.chat_request, exchange);
      Completions(context_, schemas_.completion_request, exchange);
    });
  }

  void CancelAll() override {
    std::map<int64_t, std::weak_ptr<LocalExchange>> running;
    {
      const std::lock_guard lock(mutex_);
      running = running_;
    }
    for (const auto& [number, weak] : running) {
      if (const auto exchange = weak.lock()) exchange->Cancel();
    }
  }

 private:
  static WireError NoSuchRoute(const LocalRequest& request) {
    for (const auto& [path, what] : kUnsupportedRoutes) {
      if (request.path == path) return ToWireError(Unsupported("{}", what).value(), request.request_id);
    }
    return ToWireError(NotFound("there is no {}; there are {} and {}", request.path, kChat, kCompletions).value(),
                       request.request_id);
  }

  static constexpr const char* kChat = "/v1/chat/completions";
  static constexpr const char* kCompletions = "/v1/completions";

  const std::shared_ptr<Metrics> metrics_;
  const ApiSchemas schemas_;
  ServedModels models_;
  std::mutex mutex_;  // guards the next three
  std::condition_variable idle_;
  std::map<int64_t, std::weak_ptr<LocalExchange>> running_;
  int64_t next_ = 0;
  TaskPool text_pool_;
  const ServerContext context_{models_, *metrics_, text_pool_, {}};
};

}  // namespace

std::unique_ptr<LocalApi> LocalApi::Make(llm::Llm& llm, const LocalApiOptions& options) {
  return std::make_unique<LocalApiImpl>(llm, options);
}

}  // namespace ingot::server
