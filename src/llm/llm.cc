#include "llm/llm.h"

#include <utility>

namespace ingot::llm {

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kError:
      return "error";
  }
  return "error";
}

Result<Answer> Llm::Generate(const Request& request) {
  Answer answer;
  answer.choices.resize(request.n > 0 ? static_cast<size_t>(request.n) : 0);
  Status error;
  const auto on_event = [&](const Event& event) {
    Choice& choice = answer.choices[static_cast<size_t>(event.index)];
    choice.text += event.text;
    choice.token_ids.insert(choice.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
    choice.logprobs.insert(choice.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    if (!event.finish) return;
    choice.finish = *event.finish;
    choice.stop_reason = event.stop_reason;
    if (!event.error.ok()) error = event.error;
    answer.usage.prompt_tokens = event.usage.prompt_tokens;
    answer.usage.completion_tokens += event.usage.completion_tokens;
    answer.timings = event.timings;
  };
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Handle> handle, Submit(request, on_event));
  handle->Wait();
  if (!error.ok()) return Error(std::move(error));
  return answer;
}

}  // namespace ingot::llm
