// Statistics of the inputs of all linears, for people and for other tools.
#pragma once

#include "lite/quantize.h"

namespace ingot::lite {

struct CalibrateOptions {
  std::string output;  // a directory; gets inputs_stats.json
  CalibrationOptions calibration;
  bool force = false;
  std::function<void(const Progress&)> progress;
};

// One JSON object: "tokens", and under "inputs", for the matrices of every layer, "abs_max" and "abs_mean" per channel,
// as they are in the original model.
Status Calibrate(const formats::Checkpoint& checkpoint, const CalibrateOptions& options, ops::Backend& backend);

}  // namespace ingot::lite
