#include <algorithm>
#include <cmath>
#include <map>

#include "llm/eval.h"
#include "llm/eval_windows.h"
#include "models/model.h"

namespace ingot::llm {
namespace {

// The hidden states of one window, layer by layer.
using Hidden = std::map<int, std::vector<float>>;

Llm::HiddenFn Keep(Hidden* hidden, int64_t hidden_size) {
  return [hidden, hidden_size](int layer, const float* values, int64_t num_tokens) {
    std::vector<float>& kept = (*hidden)[layer];
    kept.insert(kept.end(), values, values + num_tokens * hidden_size);
  };
}

void CompareLayers(const Hidden& a, const Hidden& b, double threshold, DiffResult* result) {
  for (const auto& [layer, left] : a) {
    const auto right = b.find(layer);
    if (right == b.end() || right->second.size() != left.size()) continue;
    double difference = 0.0, norm = 0.0;
    for (size_t i = 0; i < left.size(); ++i) {
      const double delta = static_cast<double>(left[i]) - right->second[i];
      difference += delta * delta;
      norm += static_cast<double>(left[i]) * left[i];
    }
    const double relative = norm > 0.0 ? std::sqrt(difference / norm) : (difference > 0.0 ? INFINITY : 0.0);
    result->layers.push_back({.layer = layer, .relative = relative});
    // A NaN differs too.
    if (!(relative < threshold) && !result->first_different_layer) result->first_different_layer = layer;
  }
}

struct Sums {
  double kl = 0.0, nll_a = 0.0, nll_b = 0.0;
  int64_t agreed = 0;
};

void AddPosition(const PositionDifference& position, Sums* sums, DiffResult* result) {
  sums->kl += position.kl;
  result->max_kl = std::max(result->max_kl, position.kl);
  sums->nll_a += position.nll_a;
  sums->nll_b += position.nll_b;
  if (position.agree) ++sums->agreed;
  ++result->num_scored;
}

}  // namespace

PositionDifference Compare(const float* a, const float* b, int64_t vocab_size, int32_t next) {
  const double sum_a = LogSumExp(a, vocab_size), sum_b = LogSumExp(b, vocab_size);
  double kl = 0.0;
  for (int64_t id = 0; id < vocab_size; ++id) {
    const double log_p = a[id] - sum_a;
    const double p = std::exp(log_p);
    if (p > 0.0) kl += p * (log_p - (b[id] - sum_b));
  }
  return {.kl = kl < 0.0 ? 0.0 : kl,  // rounding
          .nll_a = sum_a - a[next],
          .nll_b = sum_b - b[next],
          .agree = std::max_element(a, a + vocab_size) - a == std::max_element(b, b + vocab_size) - b};
}

Result<DiffResult> Diff(Llm& a, Llm& b, std::string_view text, const DiffOptions& options) {
  const int64_t vocab_size = a.model().spec().vocab_size;
  if (b.model().spec().vocab_size != vocab_size) {
    return InvalidArgument("the models' vocabularies differ: {} and {} tokens", vocab_size,
                           b.model().spec().vocab_size);
  }
  INGOT_ASSIGN_OR_RETURN(auto windows, WindowsOf(a, Marked(text, options.parse_special), options.window));
  if (options.max_windows > 0) windows.resize(std::min(windows.size(), static_cast<size_t>(options.max_windows)));
  const bool same_shape = a.model().spec().hidden_size == b.model().spec().hidden_size &&
                          a.model().spec().num_layers == b.model().spec().num_layers;
  const int64_t first = options.window / 2;
  DiffResult result;
  Sums sums;
  Hidden hidden_a, hidden_b;
  std::vector<float> rows;  // [window - first, vocab_size], of a
  for (size_t w = 0; w < windows.size(); ++w) {
    const bool tapped = w == 0 && same_shape;
    const int64_t hidden_size = a.model().spec().hidden_size;
    rows.clear();
    INGOT_RETURN_IF_ERROR(
        a.ScoreTapped(windows[w], first, tapped ? Keep(&hidden_a, hidden_size) : Llm::HiddenFn(),
                      [&](int64_t, const float* logits) { rows.insert(rows.end(), logits, logits + vocab_size); }));
    INGOT_RETURN_IF_ERROR(b.ScoreTapped(windows[w], first, tapped ? Keep(&hidden_b, hidden_size) : Llm::HiddenFn(),
                                        [&](int64_t position, const float* logits) {
                                          if (position + 1 >= options.window) return;
                                          const int32_t next = windows[w][static_cast<size_t>(position) + 1];
                                          const float* row = rows.data() + (position - first) * vocab_size;
                                          AddPosition(Compare(row, logits, vocab_size, next), &sums, &result);
                                        }));
    if (options.progress) options.progress(static_cast<int64_t>(w) + 1, static_cast<int64_t>(windows.size()));
  }
  CompareLayers(hidden_a, hidden_b, options.hidden_threshold, &result);
  const auto count = static_cast<double>(result.num_scored);
  result.mean_kl = sums.kl / count;
  result.top1_agreement = static_cast<double>(sums.agreed) / count;
  result.perplexity_a = std::exp(sums.nll_a / count);
  result.perplexity_b = std::exp(sums.nll_b / count);
  return result;
}

}  // namespace ingot::llm
