// What quantization costs, on a text that calibration did not see: hidden states of the original and of the quantized
// model side by side, layer by layer, so that neither is ever in memory as a whole.
#pragma once

#include <vector>

#include "models/layer_runner.h"

namespace ingot::lite {

struct Evaluation {
  double perplexity_before = 0, perplexity_after = 0;
  double mean_kl = 0;  // KL(before ‖ after) per position, in nats
  double top1_agreement = 0;
  int64_t num_scored = 0;
};

// Thread safety: none.
class HeldOut {
 public:
  // Windows as ingot eval's: the second half of each is scored.
  HeldOut(std::vector<std::vector<int32_t>> windows, models::LayerRunner& runner)
      : windows_(std::move(windows)), runner_(runner) {}
  bool empty() const { return windows_.empty(); }

  Status EmbedBefore(const ops::PackedWeight& table) { return Embed(table, &before_); }
  Status EmbedAfter(const ops::PackedWeight& table) { return Embed(table, &after_); }
  Status RunBefore(int layer, const models::LayerWeights& weights) { return Run(layer, weights, nullptr, &before_); }
  // tap: may be null
  Status RunAfter(int layer, const models::LayerWeights& weights, const models::LinearTap* tap) {
    return Run(layer, weights, tap, &after_);
  }
  // |after - before| / |before| over all positions.
  double RelativeError() const;
  Result<Evaluation> Finish(const models::LayerRunner::Head& before, const models::LayerRunner::Head& after,
                            int64_t vocab_size);

 private:
  using Streams = std::vector<models::HiddenStates>;  // one a window
  Status Embed(const ops::PackedWeight& table, Streams* streams);
  Status Run(int layer, const models::LayerWeights& weights, const models::LinearTap* tap, Streams* streams);

  const std::vector<std::vector<int32_t>> windows_;
  models::LayerRunner& runner_;
  Streams before_, after_;
};

}  // namespace ingot::lite
