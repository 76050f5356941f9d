// The matrices of one layer to codes: scales first, where the recipe asks for them, then rounding.
#pragma once

#include <string>
#include <vector>

#include "lite/layer.h"
#include "lite/parts.h"
#include "lite/statistics.h"

namespace ingot::lite {

enum class Rounding : uint8_t {
  kNearest,     // on plain grids
  kClipped,     // to nearest, on grids whose ends are searched (AWQ)
  kGptq,        // with feedback of the errors (GPTQ)
  kClippedGptq  // the same, on the grids of kClipped; the largest inputs first, which those grids allow without g_idx
};

enum class Scales : uint8_t { kNone, kAwq, kSmoothQuant };

struct Recipe {
  Format format;
  Scales scales = Scales::kNone;  // searched per group of matrices, merged into what comes before
  Rounding rounding = Rounding::kNearest;
  bool act_order = false;  // GPTQ's desc_act

  bool needs_statistics() const { return scales != Scales::kNone || rounding != Rounding::kNearest; }
};

// An input that fewer calibration tokens entered says too little about what will be asked: its matrices are rounded to
// nearest. Experts may see so few.
inline constexpr int64_t kFewestTokens = 64;

struct LinearError {
  models::Role role;
  int expert;
  double relative;  // sqrt(Σ|ΔW · x|² / Σ|W · x|²) over the calibration tokens; NaN for fewer than kFewestTokens
};

// A scale that was searched and merged: AWQ's exponent, or SmoothQuant's alpha. 0: none was better.
struct ScaleExponent {
  models::Role role;  // the first of the matrices whose input it scales
  int expert;
  float exponent;
};

struct QuantizedLayer {
  QuantizedWeights weights;
  std::vector<LinearError> errors;
  std::vector<ScaleExponent> exponents;
};

// Merges scales into `layer`, changing `stats` in the same way, and quantizes its matrices. `stats` has the inputs of
// layer->groups(); it may be empty when the recipe needs none.
Result<QuantizedLayer> QuantizeLayer(const ops::Host& host, const Recipe& recipe, Layer* layer, LayerStats* stats);

}  // namespace ingot::lite
