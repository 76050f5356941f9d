#include <algorithm>
#include <cmath>

#include "llm/eval.h"
#include "llm/eval_windows.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace ingot::llm {

Result<std::vector<std::vector<int32_t>>> WindowsOf(const Llm& llm, const MarkedText& text, int64_t window) {
  if (window > llm.session_len()) {
    return TooLong("window {} exceeds the context of {} (--session-len)", window, llm.session_len());
  }
  return WindowsOf(llm.tokenizer(), text, window);
}

Result<std::vector<std::vector<int32_t>>> WindowsOf(const tokenizer::Tokenizer& tokenizer, const MarkedText& text,
                                                    int64_t window) {
  if (window < 4) return InvalidArgument("window {} is below 4", window);
  const std::vector<int32_t> ids = tokenizer.Encode(text, {.add_special_tokens = false});
  const auto size = static_cast<size_t>(window);
  if (ids.size() < size) return InvalidArgument("the text has {} tokens; a window has {}", ids.size(), window);
  std::vector<std::vector<int32_t>> windows;
  for (size_t begin = 0; begin + size <= ids.size(); begin += size) {
    windows.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                         ids.begin() + static_cast<std::ptrdiff_t>(begin + size));
    if (tokenizer.adds_bos()) windows.back()[0] = tokenizer.bos_id();
  }
  return windows;
}

double LogSumExp(const float* logits, int64_t vocab_size) {
  const float max = *std::max_element(logits, logits + vocab_size);
  double sum = 0.0;
  for (int64_t id = 0; id < vocab_size; ++id) sum += std::exp(static_cast<double>(logits[id]) - max);
  return max + std::log(sum);
}

Result<PerplexityResult> Perplexity(Llm& llm, std::string_view text, const EvalOptions& options) {
  INGOT_ASSIGN_OR_RETURN(const auto windows, WindowsOf(llm, Marked(text, options.parse_special), options.window));
  const int64_t vocab_size = llm.model().spec().vocab_size;
  const int64_t first = options.window / 2;  // logits at p are for the token at p + 1
  PerplexityResult result;
  double sum = 0.0, sum_of_squares = 0.0;
  for (const std::vector<int32_t>& window : windows) {
    double window_sum = 0.0;
    INGOT_RETURN_IF_ERROR(llm.ScoreTapped(window, first, {}, [&](int64_t position, const float* logits) {
      if (position + 1 >= options.window) return;
      const int32_t next = window[static_cast<size_t>(position) + 1];
      const double nll = LogSumExp(logits, vocab_size) - logits[next];
      window_sum += nll;
      sum_of_squares += nll * nll;
      ++result.num_scored;
    }));
    sum += window_sum;
    result.window_nll.push_back(window_sum);
    if (options.progress) {
      options.progress(static_cast<int64_t>(result.window_nll.size()), static_cast<int64_t>(windows.size()));
    }
  }
  const auto count = static_cast<double>(result.num_scored);
  result.num_tokens = static_cast<int64_t>(windows.size()) * options.window;
  result.mean_nll = sum / count;
  result.perplexity = std::exp(result.mean_nll);
  const double variance = std::max(sum_of_squares / count - result.mean_nll * result.mean_nll, 0.0);
  result.standard_error = result.perplexity * std::sqrt(variance / count);
  return result;
}

}  // namespace ingot::llm
