// Parts of reading a ModelSpec. Configurations are untrusted: every number is checked against a range before use.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "models/families.h"
#include "models/model_spec.h"

namespace ingot::models {

// Bounds that keep every product of sizes far from overflow (2^24 · 2^17 < 2^63) and every vector of the spec small.
// Memory for weights is taken only after tensors of these sizes were found in the files.
struct Range {
  int64_t low, high;
};
inline constexpr Range kVocabSize = {1, int64_t{1} << 24};
inline constexpr Range kHiddenSize = {1, int64_t{1} << 17};
inline constexpr Range kIntermediateSize = {1, int64_t{1} << 20};
inline constexpr Range kNumLayers = {1, 1024};
inline constexpr Range kNumHeads = {1, 4096};
inline constexpr Range kHeadDim = {2, 1024};
inline constexpr Range kMaxPosition = {1, int64_t{1} << 28};
inline constexpr Range kWindow = {1, int64_t{1} << 28};
inline constexpr Range kNumExperts = {1, 1024};
inline constexpr Range kExpertsPerToken = {1, 64};

// The member as an integer of that range; absent or null: the fallback, or an error without one.
Result<int64_t> ReadInt(const JsonView& view, std::string_view key, Range range,
                        std::optional<int64_t> fallback = std::nullopt);
Result<double> ReadDouble(const JsonView& view, std::string_view key, double low, double high,
                          std::optional<double> fallback = std::nullopt);
Result<ops::Activation> ReadActivation(const JsonView& view, std::string_view key, std::string_view fallback);

// What holds for every spec, wherever it comes from: heads divide, the rotary part fits, layers refer to tables.
Status CheckSpec(const ModelSpec& spec);

// A rotary table of config.json: `scaling` is rope_scaling or an entry of rope_parameters (or null), `config` what
// holds it. rope_theta is looked up in both, then `theta` holds.
Result<RopeSpec> ReadRope(const JsonView& config, const std::optional<JsonView>& scaling, double theta,
                          int64_t max_position);
// The entry that config.json's rope_parameters (or rope_scaling) has for a kind of layer, when it has one per kind;
// else the whole.
Result<std::optional<JsonView>> RopeEntry(const JsonView& config, std::string_view layer_type);
// Lengths of the tables against the rotary dimension.
Status CheckRope(const RopeSpec& rope, int rotary_dim);

// From config.json.
Result<ModelSpec> ReadHuggingFaceSpec(const boost::json::value& config);

// What the tensors of a GGUF file say of its model; its metadata leaves it out.
struct GgufTensors {
  int64_t vocab_size = 0;  // rows of token_embd
  bool lm_head = true;     // else tied
  bool qkv_bias = false, o_bias = false, mlp_bias = false, router_bias = false, expert_bias = false;
  std::vector<float> rope_freqs, rope_factors_short, rope_factors_long;
};
Result<ModelSpec> ReadGgufSpec(const boost::json::value& metadata, const GgufTensors& tensors);

}  // namespace ingot::models
