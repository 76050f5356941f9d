#include "llm/llm.h"

#include <algorithm>
#include <utility>

namespace ingot::llm {

Result<Answer> Llm::Generate(const Request& request) {
  Answer answer;  // grows with its choices: n is checked by Submit
  Status error;
  const auto on_event = [&](const Event& event) {
    const auto index = static_cast<size_t>(event.index);
    if (answer.choices.size() <= index) answer.choices.resize(index + 1);
    Choice& choice = answer.choices[index];
    choice.text += event.text;
    choice.reasoning += event.reasoning;
    choice.token_ids.insert(choice.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
    choice.logprobs.insert(choice.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    if (!event.prompt_logprobs.empty()) choice.prompt_logprobs = event.prompt_logprobs;
    if (!event.finish) return;
    choice.finish = *event.finish;
    choice.stop_reason = event.stop_reason;
    if (!event.error.ok()) error = event.error;
    answer.usage.prompt_tokens = event.usage.prompt_tokens;
    answer.usage.cached_tokens = std::max(answer.usage.cached_tokens, event.usage.cached_tokens);
    answer.usage.completion_tokens += event.usage.completion_tokens;
    answer.timings = event.timings;
  };
  INGOT_ASSIGN_OR_RETURN(const std::shared_ptr<Handle> handle, Submit(request, on_event));
  handle->Wait();
  if (!error.ok()) return Error(std::move(error));
  return answer;
}

}  // namespace ingot::llm
