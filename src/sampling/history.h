// Which tokens a sequence has seen, for the penalties.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <span>

#include "ops/sampling.h"
#include "sampling/params.h"

namespace ingot::sampling {

inline ops::Penalties PenaltiesOf(const Params& params) {
  return {params.repetition_penalty, params.presence_penalty, params.frequency_penalty};
}

// Thread safety: none. Allocates memory only when made: room for the prompt and max_new tokens more.
class History {
 public:
  History() = default;
  History(std::span<const int32_t> prompt, int64_t max_new);

  void AddAnswerToken(int32_t id) { ++seen_[id].count; }
  // logits: [vocab_size], changed in place; what they were is kept for RawLogit.
  void Penalize(const Params& params, std::span<float> logits);
  // Calls see(id, count in the answer) for each token, in any order.
  template <typename See>
  void ForEach(See see) const {
    for (const auto& [id, seen] : seen_) see(id, seen.count);
  }
  int64_t num_seen() const { return static_cast<int64_t>(seen_.size()); }
  // What logits[id] was before the last Penalize of the same logits.
  float RawLogit(int32_t id, std::span<const float> logits) const;

 private:
  struct Seen {
    int32_t count = 0;  // in the answer; 0: in the prompt alone
    float raw = 0.0f;
  };
  boost::unordered_flat_map<int32_t, Seen> seen_;
};

}  // namespace ingot::sampling
