#include "formats/writers/output_tensor.h"

namespace ingot::formats {

Result<int64_t> BytesOf(const OutputTensor& tensor) {
  const auto row = RowBytes(tensor.encoding, tensor.shape.empty() ? 1 : tensor.shape.back());
  if (!row) return Error(row.error().Annotate(fmt::format("tensor {}", tensor.name)));
  auto bytes = static_cast<int64_t>(*row);
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) {
    if (tensor.shape[i] < 0 || __builtin_mul_overflow(bytes, tensor.shape[i], &bytes)) {
      return InvalidArgument("tensor {}: dimension {} is {}", tensor.name, i, tensor.shape[i]);
    }
  }
  return bytes;
}

}  // namespace ingot::formats
