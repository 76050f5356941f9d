// What a run writes down for the run that may have to continue it.
#pragma once

#include <boost/json/object.hpp>
#include <vector>

#include "lite/quantize.h"

namespace ingot::lite {

// To be raised when the same input gives other bytes than before: what an older build began is not continued then.
inline constexpr int kQuantizerVersion = 2;

// All that the bytes of finished parts depend on: this code, the source's weights and configuration, the options, the
// calibration tokens, the instruction set. (Held-out texts are evaluated again by every run, and the tokenizer's
// files are written at its end.)
boost::json::object Fingerprint(const formats::Checkpoint& checkpoint, const QuantizeOptions& options,
                                const std::vector<std::vector<int32_t>>& samples);

// What is said of a layer.
boost::json::object ToNote(const LayerReport& report);
void AddFromNote(const boost::json::object& note, LayerReport* report);

}  // namespace ingot::lite
