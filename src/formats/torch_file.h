// Reads what torch.save writes: a zip archive with a pickle and one entry per storage.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace ingot::formats {

// The tensors of a file, in the order of its dictionary. Tensors may share storage. One whose strides are not those of
// a contiguous tensor is listed as unsupported. `bytes` must outlive them; `file` opens error messages.
Result<std::vector<TensorEntry>> ParseTorch(std::span<const std::byte> bytes, const std::string& file);

}  // namespace ingot::formats
