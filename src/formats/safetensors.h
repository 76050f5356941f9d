// Reads the safetensors format: u64 length of the header, JSON header, data.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace ingot::formats {

// The tensors of a file, by offset. `bytes` must outlive them; `file` opens error messages.
Result<std::vector<TensorEntry>> ParseSafetensors(std::span<const std::byte> bytes, const std::string& file);

}  // namespace ingot::formats
