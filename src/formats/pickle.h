// Reads the pickle inside a torch.save archive: a dictionary of names to tensors, and nothing else that could act.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace ingot::formats {

struct PickledTensor {
  std::string name;
  std::string storage_class;  // "torch HalfStorage"
  std::string storage_key;    // the data are the archive's entry data/<key>
  int64_t storage_elements;
  int64_t offset;                      // in elements
  std::vector<int64_t> shape, stride;  // of equal length; not checked further
};

// Runs the machine of pickle protocols 2 and 3 over the opcodes that tensors need. Every other opcode and every global
// but the few known ones are refused by name: nothing is ever imported or called. Entries of the dictionary that are no
// tensors are left out.
Result<std::vector<PickledTensor>> ReadPickledTensors(std::span<const std::byte> bytes, const std::string& file);

}  // namespace ingot::formats
