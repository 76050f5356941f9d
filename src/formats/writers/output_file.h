// A file that appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace ingot::formats {

// Writes to a temporary beside `path`; Commit syncs and renames it; without Commit it is removed. Not thread-safe.
class OutputFile {
 public:
  static Result<std::unique_ptr<OutputFile>> Create(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text) { return Write(std::as_bytes(std::span(text))); }
  Status Pad(size_t count);  // zeros
  Status Commit();

 private:
  OutputFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  Status Flush();
  Status WriteThrough(std::span<const std::byte> bytes);

  std::string path_, temporary_;
  int fd_;
  std::vector<std::byte> buffer_;  // at most kBufferBytes
};

}  // namespace ingot::formats
