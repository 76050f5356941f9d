#include "sampling/history.h"

namespace ingot::sampling {

History::History(std::span<const int32_t> prompt, int64_t max_new) {
  seen_.reserve(prompt.size() + static_cast<size_t>(max_new));
  for (const int32_t id : prompt) seen_.try_emplace(id);
}

void History::Penalize(const Params& params, std::span<float> logits) {
  const ops::Penalties penalties = PenaltiesOf(params);
  for (auto& [id, seen] : seen_) {
    float& logit = logits[static_cast<size_t>(id)];
    seen.raw = logit;
    logit = penalties(logit, seen.count);
  }
}

float History::RawLogit(int32_t id, std::span<const float> logits) const {
  const auto it = seen_.find(id);
  return it == seen_.end() ? logits[static_cast<size_t>(id)] : it->second.raw;
}

}  // namespace ingot::sampling
