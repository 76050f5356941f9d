// A quantized checkpoint in the making: one small checkpoint a layer and one for the rest, in the form of the result,
// so that a killed run can resume, and what is evaluated is what was written.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "convert/output_plan.h"
#include "convert/source.h"
#include "formats/quantized.h"

namespace ingot::lite {

class WorkFolder;

enum class OutputKind : uint8_t { kAwq, kGptq, kInt8, kGguf };
// REQUIRES: not kGguf
formats::Packing PackingOf(OutputKind kind);

// How the result names and packs its tensors.
struct OutputForm {
  OutputKind kind;
  const models::Family* family;
  models::ModelSpec spec;  // as the result is read: norms with or without Gemma's one
  models::CheckpointNames names;
  Encoding dense = Encoding::kF16;  // what is not quantized; BF16 where the source has that, whose range F16 lacks
  Encoding gguf_encoding = Encoding::kQ4_1;
  boost::json::object quantization;  // of config.json; empty for GGUF
  std::string gguf_architecture;
};

// A matrix of a layer that was quantized; its index in the layer's tensors is its key.
struct QuantizedWeight {
  WeightRows rows;
  std::shared_ptr<const InputOrder> order;
};
using QuantizedWeights = std::map<size_t, QuantizedWeight>;

// The part's tensors as they will be written. What is in `quantized` is packed, all else is dense.
Result<convert::Plan> PlanPart(const OutputForm& form, const std::vector<models::RoleTensor>& tensors,
                               QuantizedWeights quantized, std::vector<std::string>* notices);

// Writes a part under `path` (a folder, or a GGUF file). It is there completely or not at all.
Status WritePart(const OutputForm& form, const convert::Plan& plan, const std::string& path, ThreadPool& pool);

struct Part {
  std::shared_ptr<const formats::Checkpoint> checkpoint;
  std::vector<models::RoleTensor> tensors;
};
// layer: -1 for the rest
Result<Part> ReadPart(const OutputForm& form, const std::string& path, int layer);

// The tensors of a part as they are in its file, ready to be written again.
Result<convert::Plan> CopyOfPart(const OutputForm& form, const std::string& path);

// Writes work.result_path(): a Hugging Face directory, or a GGUF file. Returns the bytes of its weights.
Result<int64_t> Assemble(const formats::Checkpoint& checkpoint, const convert::Source& source, const OutputForm& form,
                         const WorkFolder& work, ThreadPool& pool);

}  // namespace ingot::lite
