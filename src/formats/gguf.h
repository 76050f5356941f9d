// Reads GGUF v2 and v3: header, metadata, tensor infos, aligned data.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/vocabulary.h"
#include "formats/checkpoint.h"

namespace ingot::formats {

struct GgufFile {
  uint32_t version = 0;
  boost::json::value metadata = boost::json::object();  // an object, without the arrays of the vocabulary
  Vocabulary vocabulary;                                // gguf is empty when the file has no tokenizer.ggml.model
  std::string chat_template;
  std::vector<TensorEntry> tensors;       // by offset
  int64_t split_no = 0, split_count = 1;  // which part of a split model this is
  int64_t split_tensors = -1;             // tensors of all parts; -1: not said
};

// `bytes` must outlive the tensors; `file` opens error messages.
Result<GgufFile> ParseGguf(std::span<const std::byte> bytes, const std::string& file);

}  // namespace ingot::formats
