// Matrices that AutoAWQ, GPTQ and compressed-tensors quantized, and GGML's blocks with a scale beside them: several
// tensors of a checkpoint hold one of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "formats/loaded_checkpoint.h"
#include "tensor/weight_source.h"

namespace ingot::formats {

// How a matrix [N outputs, K inputs] with G groups along its inputs is laid out. A word of 32 bits holds 32 / bits
// codes, the first in its lowest bits.
enum class Packing : uint8_t {
  kAwqGemm,     // codes words [K, N/8], zeros words [G, N/8], scales [G, N]; the channels of a word: 0 2 4 6 1 3 5 7
  kGptq,        // codes words [K/8, N], zeros words [G, N/8], scales [G, N]
  kCompressed,  // codes words [N, K/8], zeros words [N/8, G], scales [N, G]
  kInt8,        // codes s8 [N, K], zeros s8 [N, G], scales [N, G]
  kGgml         // codes in GGML's blocks [N, K], scales f32 [experts] or [1]: all weights are multiplied with them
};

struct QuantizedMatrix {
  std::string stored_as;  // "AWQ 4-bit g128"
  Packing packing;
  Format format;
  int64_t rows = 0, cols = 0, groups = 0;
  TensorEntry codes, scales;
  std::optional<TensorEntry>
      zeros;                      // with Format::Zero::kInteger, and where zeros that are all the midpoint are stored
  bool zero_is_one_less = false;  // GPTQ's first format stores zero - 1
  std::shared_ptr<const InputOrder> input_order;
  int64_t stored_bytes = 0;  // of all tensors that hold it
};

// What the checkpoint spends on a tensor.
inline int64_t StoredBytes(const TensorEntry& tensor) {
  return tensor.quantized ? tensor.quantized->stored_bytes : static_cast<int64_t>(tensor.bytes.size());
}

// Reads config.json's quantization_config and replaces the tensors of every quantized matrix by one entry,
// "….weight". A checkpoint that is not quantized stays as it is; so does one of a scheme that is not read, which
// models::ReadModelSpec refuses: PyTorch may know it.
Status GatherQuantized(CheckpointParts* parts);
// Whether Weight reads the matrices of a checkpoint with this config.json. kUnsupported names a scheme that is not
// read.
Status CheckQuantization(const JsonView& config);

// The same of a GGUF file: "….weight" whose blocks have f16 scales (NVFP4 above all), "….scale" and, which is not
// needed, "….input_scale".
Status GatherScaled(CheckpointParts* parts);

// `matrix` was made by one of these for `checkpoint`, which the source keeps alive.
WeightSourcePtr OpenQuantized(std::shared_ptr<const Checkpoint> checkpoint,
                              std::shared_ptr<const QuantizedMatrix> matrix);

}  // namespace ingot::formats
