// A tensor that a writer will be given.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "tensor/encoding.h"

namespace ingot::formats {

struct OutputTensor {
  std::string name;
  Encoding encoding;
  std::vector<int64_t> shape;  // row-major; shape.back() are the inputs
};

// kInvalidArgument when the last dimension is no multiple of the encoding's block, or the product is too large.
Result<int64_t> BytesOf(const OutputTensor& tensor);

}  // namespace ingot::formats
