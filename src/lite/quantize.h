// Quantizes a checkpoint, one layer in memory at a time, and measures what it cost.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "lite/evaluation.h"
#include "lite/quantize_layer.h"

namespace ingot::lite {

struct CalibrationOptions {
  std::string text;
  bool parse_special = false;  // whether the text's spelling of special tokens means them; else it is text
  int64_t samples = 32;        // 0: none; what needs statistics is refused then, as are fewer tokens than kFewestTokens
  int64_t seq_len = 512;       // tokens of a sample
};

struct Progress {
  int layer, num_layers;  // the layer at work
  const char* phase;      // "calibrating", "quantizing", …
  double done;            // of all, in [0, 1]
  double seconds_left;    // 0: not known yet
};

struct QuantizeOptions {
  std::string output;  // a directory; a file for OutputKind::kGguf
  OutputKind kind = OutputKind::kAwq;
  Recipe recipe;
  bool fits_group_size = false;  // instead of the recipe's group size: the largest that divides every matrix's inputs
  CalibrationOptions calibration;
  // Whether calibration sees what the layers before, once quantized, make of the texts (GPTQ), or what the original
  // ones do (AWQ).
  bool calibrates_on_quantized = false;
  std::string held_out_text;
  int64_t held_out_windows = 8;  // of 512 tokens; 0: no evaluation
  bool force = false;            // write over what is there
  std::function<void(const Progress&)> progress;
};

struct LayerReport {
  double relative_error = 0;  // of the hidden states after the layer, on the held-out text; NaN without
  std::vector<LinearError> linears;
  std::vector<ScaleExponent> exponents;
  std::vector<std::string> notices;
  double seconds = 0;

  // Those that too few calibration tokens chose.
  int64_t UncalibratedExperts() const;
};

struct QuantizeReport {
  std::vector<std::string> notices;
  std::vector<LayerReport> layers;
  Evaluation evaluation;  // num_scored 0: none
  int64_t calibration_tokens = 0;
  int64_t source_bytes = 0, output_bytes = 0;      // of all weights
  int64_t linear_bytes = 0, linear_f16_bytes = 0;  // of the quantized matrices, and what they would take in f16
  int resumed_layers = 0;                          // finished by a run before
  double seconds = 0;  // of work, this run's and what the layers took that a run before finished
};

// On an error no output is there. A run that was killed resumes when it is called again with the same
// arguments: the result is the same, byte for byte.
Result<QuantizeReport> Quantize(const formats::Checkpoint& checkpoint, const QuantizeOptions& options,
                                ops::Backend& backend);

}  // namespace ingot::lite
