// Replaces a file in one piece.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace ingot {

// Writes a temporary in the same folder, which Commit renames: readers see the old file or the new one, never a half,
// also where several processes write it at once. Without Commit nothing remains.
class FileWriter {
 public:
  static Result<FileWriter> Create(const std::string& path);
  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&& other) noexcept;
  ~FileWriter();

  Status Append(std::string_view bytes);
  // `durable`: it has the new content after a power failure, too.
  Status Commit(bool durable);

 private:
  FileWriter(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  std::string path_, temporary_;
  int fd_ = -1;  // -1: committed or moved from
};

}  // namespace ingot
