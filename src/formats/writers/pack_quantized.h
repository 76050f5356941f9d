// The tensors in which AutoAWQ, GPTQ and compressed-tensors keep a quantized matrix: what formats/quantized.h reads.
#pragma once

#include <string>
#include <vector>

#include "formats/quantized.h"
#include "formats/writers/output_tensor.h"
#include "tensor/encoding.h"

namespace ingot::formats {

struct OutputBytes {
  OutputTensor out;
  std::vector<std::byte> bytes;
};

// kInvalidArgument, naming the matrix, unless `packing` can hold [rows, cols] in `format`: 4 bits (kInt8: 8), groups
// that divide the columns, words that are full, scales in f16 (kInt8: f32), zeros at the midpoint or integers (kGptq:
// of at least 1, as readers add one to what is stored without a mask).
Status CheckPackable(const std::string& name, Packing packing, const Format& format, int64_t rows, int64_t cols);

// "NAME.qweight", "NAME.scales" and so on.   order: column j of `rows` multiplies input order[j] (kGptq only; null: as
// they come).   REQUIRES: CheckPackable is OK; packing is kAwqGemm, kGptq (zeros less one) or kInt8.
std::vector<OutputBytes> PackQuantized(const std::string& name, Packing packing, const WeightRows& rows,
                                       const InputOrder* order);

}  // namespace ingot::formats
