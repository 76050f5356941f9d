// A file mapped read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace ingot {

// Thread safety: const methods from any thread. Owns the mapping; spans taken from bytes() live as long as it does.
// Movable, not copyable. An empty file maps to an empty span.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::string& path() const { return path_; }
  int64_t modified_ns() const { return modified_ns_; }  // when its content was changed, since 1970
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Tells the kernel that these bytes have been read for the last time: their pages leave our resident set.
  // Rounds inwards to whole pages; offset + length may pass the end.
  void DropPages(size_t offset, size_t length) const;

 private:
  MappedFile(std::string path, int64_t modified_ns) : path_(std::move(path)), modified_ns_(modified_ns) {}
  std::string path_;
  int64_t modified_ns_ = 0;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole file as a string; kIo or kNotFound with the path; kInvalidArgument above max_bytes.
Result<std::string> ReadFile(const std::string& path, size_t max_bytes = size_t{1} << 30);
// Replaces the file in one piece (FileWriter), durably.
Status WriteFile(const std::string& path, std::string_view content);

}  // namespace ingot
