#include "formats/writers/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ingot::formats {
namespace {

constexpr size_t kBufferBytes = 1 << 20;  // rows may be short; the kernel is called once a megabyte

Error SystemError(const std::string& path, const char* what) {
  return Io("{}: cannot {}: {}", path, what, std::strerror(errno));
}

}  // namespace

Result<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path) {
  std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return SystemError(path, "create");
  return std::unique_ptr<OutputFile>(new OutputFile(path, std::move(temporary), fd));
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

Status OutputFile::Write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) INGOT_RETURN_IF_ERROR(Flush());
  if (bytes.size() > kBufferBytes) return WriteThrough(bytes);
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return {};
}

Status OutputFile::Pad(size_t count) {
  static constexpr std::byte kZeros[64] = {};
  while (count > 0) {
    const size_t piece = std::min(count, sizeof(kZeros));
    INGOT_RETURN_IF_ERROR(Write(std::span(kZeros).first(piece)));
    count -= piece;
  }
  return {};
}

Status OutputFile::Flush() {
  const Status status = WriteThrough(buffer_);
  buffer_.clear();
  return status;
}

Status OutputFile::WriteThrough(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path_, "write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status OutputFile::Commit() {
  INGOT_RETURN_IF_ERROR(Flush());
  if (fsync(fd_) != 0) return SystemError(path_, "sync");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return SystemError(path_, "rename to");
  close(fd_);
  fd_ = -1;
  return {};
}

}  // namespace ingot::formats
