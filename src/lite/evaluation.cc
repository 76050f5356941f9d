#include "lite/evaluation.h"

#include <algorithm>
#include <cmath>

#include "llm/eval_windows.h"

namespace ingot::lite {
namespace {

constexpr int64_t kLogitRows = 32;  // at a time: a row has a whole vocabulary

}  // namespace

Status HeldOut::Embed(const ops::PackedWeight& table, Streams* streams) {
  streams->clear();
  for (const std::vector<int32_t>& window : windows_) {
    INGOT_ASSIGN_OR_RETURN(streams->emplace_back(), runner_.Embed(window, table));
  }
  return {};
}

Status HeldOut::Run(int layer, const models::LayerWeights& weights, const models::LinearTap* tap, Streams* streams) {
  for (models::HiddenStates& hidden : *streams) INGOT_RETURN_IF_ERROR(runner_.Run(layer, weights, &hidden, tap));
  return {};
}

double HeldOut::RelativeError() const {
  double difference = 0, norm = 0;
  for (size_t w = 0; w < windows_.size(); ++w) {
    for (size_t i = 0; i < before_[w].size(); ++i) {
      const double delta = double{after_[w][i]} - double{before_[w][i]};
      difference += delta * delta;
      norm += double{before_[w][i]} * double{before_[w][i]};
    }
  }
  return norm > 0 ? std::sqrt(difference / norm) : 0;
}

Result<Evaluation> HeldOut::Finish(const models::LayerRunner::Head& before, const models::LayerRunner::Head& after,
                                   int64_t vocab_size) {
  Evaluation result;
  double kl = 0, nll_before = 0, nll_after = 0;
  int64_t agreed = 0;
  std::vector<float> a, b;  // [rows, vocab_size]
  for (size_t w = 0; w < windows_.size(); ++w) {
    const std::vector<int32_t>& window = windows_[w];
    const int64_t end = std::ssize(window) - 1;  // the last position predicts nothing
    for (int64_t begin = std::ssize(window) / 2; begin < end; begin += kLogitRows) {
      const models::LayerRunner::Positions rows{begin, std::min(begin + kLogitRows, end)};
      INGOT_RETURN_IF_ERROR(runner_.Logits(before_[w], before, rows, &a));
      INGOT_RETURN_IF_ERROR(runner_.Logits(after_[w], after, rows, &b));
      for (int64_t p = rows.begin; p < rows.end; ++p) {
        const int64_t row = (p - rows.begin) * vocab_size;
        const int32_t next = window[static_cast<size_t>(p) + 1];
        const llm::PositionDifference d = llm::Compare(a.data() + row, b.data() + row, vocab_size, next);
        kl += d.kl;
        nll_before += d.nll_a;
        nll_after += d.nll_b;
        agreed += d.agree ? 1 : 0;
        ++result.num_scored;
      }
    }
  }
  const auto count = static_cast<double>(result.num_scored);
  result.perplexity_before = std::exp(nll_before / count);
  result.perplexity_after = std::exp(nll_after / count);
  result.mean_kl = kl / count;
  result.top1_agreement = static_cast<double>(agreed) / count;
  return result;
}

}  // namespace ingot::lite
