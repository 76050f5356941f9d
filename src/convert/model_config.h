// A model's shape, written down: config.json for Hugging Face, metadata for GGUF.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "base/status.h"
#include "base/vocabulary.h"
#include "formats/checkpoint.h"
#include "formats/writers/gguf_writer.h"
#include "models/families.h"
#include "models/model_spec.h"

namespace ingot::convert {

// The family as which a model is written in the Hugging Face form: its own, if transformers has it without code of the
// checkpoint's. InternLM is a Llama (InternLM2 without its grouping), and what GGUF calls "llama" is a Mixtral with
// experts, a Mistral with windows, and a Qwen2 with biases on Q, K and V alone.
const models::Family& HuggingFaceFamily(const models::ModelSpec& spec);
// In the GGUF form: Mistral, Mixtral, InternLM and InternLM3 are "llama". `architecture` gets GGUF's name.
const models::Family& GgufFamily(const models::ModelSpec& spec, std::string* architecture);

// config.json, readable by transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters, layer_types).
// kUnsupported: the family has no key for something that the model computes.
Result<boost::json::object> HuggingFaceConfig(const models::ModelSpec& spec, const models::Family& family,
                                              const std::string& dtype);

// <architecture>.* keys, and in `rope_factors` the rotary tables that GGUF keeps as tensors (name, divisors).
struct GgufConfig {
  formats::GgufMetadata metadata;
  std::vector<std::pair<std::string, std::vector<float>>> rope_factors;
  std::vector<std::string> notices;  // what GGUF, or llama.cpp, does otherwise
};
Result<GgufConfig> MakeGgufConfig(const models::ModelSpec& spec, const std::string& architecture,
                                  const std::string& name, Encoding encoding);

}  // namespace ingot::convert
