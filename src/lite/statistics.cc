#include "lite/statistics.h"

namespace ingot::lite {

using models::LinearInput;

int64_t ChannelsOf(const models::ModelSpec& spec, LinearInput input, int expert) {
  switch (input) {
    case LinearInput::kQkv:
    case LinearInput::kRouter:
    case LinearInput::kGateUp:
      return spec.hidden_size;
    case LinearInput::kO:
      return spec.heads().attended();
    case LinearInput::kDown:
      return expert < 0 ? spec.intermediate_size : spec.moe_intermediate_size;
  }
  return 0;
}

models::LinearTap StatisticsTap(const ops::Host& host, const models::ModelSpec& spec, Wanted wanted,
                                LayerStats* stats) {
  return [&, wanted, stats](LinearInput input, int expert, float* x, int64_t rows) {
    if (input == LinearInput::kGateUp && expert >= 0) return;  // some of the router's tokens, which all experts share
    const int64_t channels = ChannelsOf(spec, input, expert);
    Observed& observed = (*stats)[{input, expert}];
    if (wanted.gram) {
      quant::Accumulate(host, x, rows, channels, &observed.stats);
    } else {
      quant::AccumulateSizes(x, rows, channels, &observed.stats);
    }
    if (wanted.samples) quant::AddTokens(x, rows, channels, &observed.sample);
  };
}

models::LinearTap Int8Tap(const models::ModelSpec& spec) {
  return [&spec](LinearInput input, int expert, float* x, int64_t rows) {
    if (input != LinearInput::kRouter) quant::RoundTokens(rows, ChannelsOf(spec, input, expert), x);
  };
}

}  // namespace ingot::lite
