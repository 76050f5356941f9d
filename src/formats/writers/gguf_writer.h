// Writes a GGUF v3 file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "formats/writers/output_tensor.h"

namespace ingot::formats {

// A metadata value; the type chosen is the type in the file.
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                               uint64_t, int64_t, double, std::vector<std::string>, std::vector<float>,
                               std::vector<int32_t>, std::vector<uint32_t>, std::vector<uint8_t>, std::vector<bool>>;
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

// Streams tensors to disk like SafetensorsWriter (safetensors_writer.h); each is padded to 32 bytes by the writer.
// Not thread-safe.
class GgufWriter {
 public:
  // Encodings with a GGML number only. The metadata should begin with general.architecture.
  static Result<std::unique_ptr<GgufWriter>> Create(const std::string& path, const GgufMetadata& metadata,
                                                    std::vector<OutputTensor> tensors);
  ~GgufWriter();

  // The next bytes of the tensors, in the order given, without padding.
  Status Write(std::span<const std::byte> bytes);
  // kInvalidArgument when bytes are missing.
  Status Finish();

 private:
  struct Impl;
  explicit GgufWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ingot::formats
