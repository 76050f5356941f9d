// Answers of `ingot chat` by a model in this process.
#include <atomic>
#include <thread>

#include "chat/chat_template.h"
#include "chat_backend.h"
#include "llm/checks.h"
#include "tokenizer/tokenizer.h"

namespace ingot::cli {
namespace {

class LocalBackend : public ChatBackend {
 public:
  LocalBackend(std::unique_ptr<llm::Llm> llm, std::string name) : llm_(std::move(llm)), name_(std::move(name)) {}

  std::string name() const override { return name_; }

  Status Use(const boost::json::object& params) override {
    llm::Request changed;
    INGOT_RETURN_IF_ERROR(ApplyParams(params, *llm_, &changed));
    changed.prompt = "";  // a request has one or the other
    INGOT_RETURN_IF_ERROR(llm::CheckRequest(changed, llm_->tokenizer().vocab_size()));
    changed.prompt.reset();
    request_ = std::move(changed);
    return {};
  }

  boost::json::value ValueOf(const llm::Param& param) const override { return llm::ValueOf(param, request_); }

  Result<ChatAnswer> Answer(const boost::json::array& messages, const InterruptGuard& interrupt,
                            const ChatTextFn& on_text) override {
    request_.messages = messages;
    ChatAnswer answer;
    llm::Event last;
    std::atomic<bool> done = false;
    INGOT_ASSIGN_OR_RETURN(const auto handle, llm_->Submit(request_, [&](const llm::Event& event) {
      if (!event.reasoning.empty()) on_text(event.reasoning, true);
      if (!event.text.empty()) on_text(event.text, false);
      answer.text += event.text;
      if (event.finish) {
        last = event;
        done = true;
      }
    }));
    while (!done && !interrupt.interrupted())
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a signal handler can only set a flag
    if (!done) handle->Cancel();
    handle->Wait();
    if (last.finish == llm::FinishReason::kError) return Error(last.error);
    answer.finish = FinishReasonName(*last.finish);
    answer.usage = last.usage;
    answer.prefill_seconds = last.timings.prefill_seconds;
    answer.decode_seconds = last.timings.decode_seconds;
    return answer;
  }

 private:
  const std::unique_ptr<llm::Llm> llm_;
  const std::string name_;
  llm::Request request_;  // what every answer is drawn with
};

}  // namespace

Result<std::unique_ptr<ChatBackend>> LoadChatModel(const ModelFlags& model) {
  INGOT_ASSIGN_OR_RETURN(auto llm, LoadModel(model));
  if (llm->chat_template() == nullptr) {
    return Unsupported(
        "{} is a base model without a chat template: complete text with `ingot generate`, or name a template with "
        "--chat-template",
        model.options.model);
  }
  return std::make_unique<LocalBackend>(std::move(llm), model.options.model);
}

}  // namespace ingot::cli
