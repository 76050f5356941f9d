// What every conversion begins with: a checkpoint that holds together, taken apart.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "convert/output_plan.h"
#include "formats/writers/gguf_writer.h"
#include "models/model_spec.h"
#include "tokenizer/tokenizer.h"

namespace ingot::convert {

struct Source {
  models::ModelSpec spec;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;  // null if the checkpoint has none
  std::vector<models::RoleTensor> tensors;
};

Result<Source> ReadSource(const formats::Checkpoint& checkpoint);

// kInvalidArgument where `output` is the checkpoint itself, or one of its files.
Status RefuseSource(const formats::Checkpoint& checkpoint, const std::string& output);

// Names and contents of what is stored with the weights of a Hugging Face directory: `config` with the ids of special
// tokens as config.json, generation_config.json, and the tokenizer's files.   tokenizer: may be null
Result<std::vector<std::pair<std::string, std::string>>> HuggingFaceTexts(const formats::Checkpoint& checkpoint,
                                                                          const tokenizer::Tokenizer* tokenizer,
                                                                          boost::json::object config);

// What stands before the tensors of a GGUF file, and the tensors that belong to it.
struct GgufHead {
  formats::GgufMetadata metadata;  // shape and vocabulary
  Plan rope_factors;               // the rotary tables that GGUF keeps as tensors, to follow all others
  std::vector<std::string> notices;
};
// `encoding`: of the matrices.   REQUIRES: source.tokenizer
Result<GgufHead> MakeGgufHead(const formats::Checkpoint& checkpoint, const Source& source,
                              const std::string& architecture, Encoding encoding);

// The value of torch_dtype for weights in this encoding.
const char* TorchName(Encoding encoding);

// What a user should know of what the source lacks.
std::vector<std::string> NoticesOf(const formats::Checkpoint& checkpoint, const Source& source);

}  // namespace ingot::convert
