// Small sound files in memory, with the places where damage is most telling. For tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ingot::formats {

struct Field {
  size_t offset;
  size_t bytes;  // 1, 2, 4 or 8, little-endian
};

struct Sample {
  std::string bytes;
  std::vector<Field> fields;  // lengths, counts, types, dimensions, offsets
  size_t header_bytes;        // where the data begin; text and opcodes lie before
};

Sample GgufSample();
Sample SafetensorsSample();
// `path`: a file of torch.save.
Sample TorchSample(const std::string& path);
// Model-like JSON: config, generation_config and tokenizer_config, joined by a zero byte each.
Sample HfConfigSample();
Sample ShardIndexSample();

}  // namespace ingot::formats
