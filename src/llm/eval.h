// How good a model is on a text, and how two models differ.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "llm/llm.h"

namespace ingot::llm {

// The text is tokenized as text, special tokens spelled in it included unless `parse_special`, and cut into windows
// that do not overlap; what is left of the last one is not used. In each window the first token is replaced by BOS
// where the model adds one, and the tokens at positions window / 2 + 1 … window - 1 are scored, each from all before it
// in the window.
struct EvalOptions {
  int64_t window = 512;
  bool parse_special = false;
  std::function<void(int64_t done, int64_t total)> progress;  // windows
};

struct PerplexityResult {
  double perplexity = 0.0;
  double mean_nll = 0.0;        // per scored token, natural logarithm
  double standard_error = 0.0;  // of the perplexity, from the spread of the tokens' nll
  int64_t num_tokens = 0, num_scored = 0;
  std::vector<double> window_nll;  // sums, one a window
};
Result<PerplexityResult> Perplexity(Llm& llm, std::string_view text, const EvalOptions& options = {});

struct DiffOptions {
  int64_t window = 512;
  bool parse_special = false;
  int64_t max_windows = 8;        // 0: all
  double hidden_threshold = 0.1;  // of the relative difference of a layer's hidden states
  std::function<void(int64_t done, int64_t total)> progress;
};
struct LayerDifference {
  int layer;        // -1: the embedding; num_layers: the final norm
  double relative;  // |a - b| / |a| over the first window
};
struct DiffResult {
  double mean_kl = 0.0, max_kl = 0.0;  // KL(a ‖ b) per position, in nats
  double top1_agreement = 0.0;         // share of positions with the same most likely token
  double perplexity_a = 0.0, perplexity_b = 0.0;
  int64_t num_scored = 0;
  std::vector<LayerDifference> layers;       // empty where the shapes differ
  std::optional<int> first_different_layer;  // the first whose difference is not below the threshold
};
// Both models see the ids of a's tokenizer; kInvalidArgument where their vocabularies differ in size.
Result<DiffResult> Diff(Llm& a, Llm& b, std::string_view text, const DiffOptions& options = {});

}  // namespace ingot::llm
