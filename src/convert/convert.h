// Checkpoints into other forms: a Hugging Face directory, a GGUF file. Weights stream; nothing half-written stays
// behind.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "formats/checkpoint.h"

namespace ingot::convert {

struct ConvertOptions {
  std::string output;                  // a directory, or a file for GGUF
  Encoding encoding = Encoding::kF16;  // of the matrices. Hugging Face: F16, BF16 or F32; GGUF: those, Q8_0, Q4_0, Q4_1
  bool force = false;                  // write over what is there
  std::function<void(int64_t done, int64_t total)> progress;  // bytes written
};

struct ConvertReport {
  std::vector<std::string> files;
  int64_t bytes = 0;
  std::vector<std::string>
      notices;  // what a user should know: rows that did not fit the encoding, a template that is missing
};

Result<ConvertReport> ToHuggingFace(const formats::Checkpoint& checkpoint, const ConvertOptions& options,
                                    ThreadPool& pool);
Result<ConvertReport> ToGguf(const formats::Checkpoint& checkpoint, const ConvertOptions& options, ThreadPool& pool);

}  // namespace ingot::convert
