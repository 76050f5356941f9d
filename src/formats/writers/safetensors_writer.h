// Writes safetensors: model.safetensors, or shards with model.safetensors.index.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/writers/output_tensor.h"

namespace ingot::formats {

inline constexpr int64_t kOneShard = std::numeric_limits<int64_t>::max();  // as max_shard_bytes

// Streams tensors to disk: nothing of them is kept in memory. Files get their names when Finish succeeds; a writer that
// is destroyed before leaves none. Not thread-safe.
//
//   INGOT_ASSIGN_OR_RETURN(auto writer, SafetensorsWriter::Create(directory, tensors));
//   for each tensor, in the order given: writer->Write(bytes) as often as it takes
//   INGOT_RETURN_IF_ERROR(writer->Finish());
class SafetensorsWriter {
 public:
  // The directory must exist. Plain encodings only: F32 F16 BF16 F64 I64 I32 I16 I8 U8 BOOL.
  static Result<std::unique_ptr<SafetensorsWriter>> Create(const std::string& directory,
                                                           std::vector<OutputTensor> tensors,
                                                           int64_t max_shard_bytes = 5'000'000'000);
  ~SafetensorsWriter();

  // The next bytes of the tensors, one after another, little-endian.
  Status Write(std::span<const std::byte> bytes);
  // kInvalidArgument when bytes are missing.
  Status Finish();

 private:
  struct Impl;
  explicit SafetensorsWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ingot::formats
