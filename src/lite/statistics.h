// Statistics of the inputs of a layer's linears over calibration sequences.
#pragma once

#include <map>
#include <utility>

#include "models/decoder_layers.h"
#include "quant/input_stats.h"
#include "quant/smooth.h"

namespace ingot::lite {

using InputKey = std::pair<models::LinearInput, int>;  // and the expert, -1 outside of experts
struct Observed {
  quant::InputStats stats;
  quant::TokenSample sample;  // where it is wanted
};
using LayerStats = std::map<InputKey, Observed>;

struct Wanted {
  bool gram = true;      // else sizes alone
  bool samples = false;  // tokens too, not sums alone
};

// A tap that adds what it sees to `stats`.   host, spec and stats outlive it
models::LinearTap StatisticsTap(const ops::Host& host, const models::ModelSpec& spec, Wanted wanted, LayerStats* stats);

// A tap that rounds the inputs of quantized linears to int8, as W8A8 does.   spec outlives it
models::LinearTap Int8Tap(const models::ModelSpec& spec);

// The channels of an input.
int64_t ChannelsOf(const models::ModelSpec& spec, models::LinearInput input, int expert);

}  // namespace ingot::lite
