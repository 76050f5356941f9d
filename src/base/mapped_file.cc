#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/file_writer.h"
#include "base/memory_limit.h"

namespace ingot {
namespace {

constexpr size_t kReadBytes = 16 << 10;  // at a time, past the size that a file tells

// Closes on scope exit.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Error SystemError(const std::string& path, const char* what) {
  const int error = errno;
  if (error == ENOENT) return NotFound("{}: no such file", path);
  return Io("{}: cannot {}: {}", path, what, std::strerror(error));
}

Result<struct stat> StatusOf(int fd, const std::string& path) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return SystemError(path, "stat");
  if (S_ISDIR(info.st_mode)) return InvalidArgument("{}: a folder, not a file", path);
  return info;
}

// Appends up to `count` bytes; returns how many there were, 0 at the end.
Result<size_t> ReadSome(int fd, const std::string& path, size_t count, std::string* content) {
  const size_t before = content->size();
  content->resize(before + count);
  ssize_t n = 0;
  do {
    n = read(fd, content->data() + before, count);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return SystemError(path, "read");
  content->resize(before + static_cast<size_t>(n));
  return static_cast<size_t>(n);
}

}  // namespace

Result<MappedFile> MappedFile::Open(const std::string& path) {
  const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return SystemError(path, "open");
  INGOT_ASSIGN_OR_RETURN(const struct stat info, StatusOf(fd.get(), path));
  if (!S_ISREG(info.st_mode)) return InvalidArgument("{}: not a regular file", path);
  const auto size = static_cast<size_t>(info.st_size);
  MappedFile file(path, info.st_mtim.tv_sec * int64_t{1'000'000'000} + info.st_mtim.tv_nsec);
  if (size == 0) return file;
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED && errno == ENOMEM && MemoryLeftByLimits())
    return ResourceExhausted("{}: cannot map {} bytes under the limit of this process's memory (ulimit -v); raise it",
                             path, size);
  if (data == MAP_FAILED) return SystemError(path, "map");
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = size;
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      modified_ns_(other.modified_ns_),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(modified_ns_, other.modified_ns_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::DropPages(size_t offset, size_t length) const {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (offset >= size_) return;
  const size_t end = length > size_ - offset ? size_ : offset + length;
  const size_t begin_page = (offset + page - 1) / page * page;
  const size_t end_page = end == size_ ? size_ : end / page * page;
  if (begin_page < end_page) {
    madvise(const_cast<std::byte*>(data_) + begin_page, end_page - begin_page, MADV_DONTNEED);
  }
}

Result<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return SystemError(path, "open");
  INGOT_ASSIGN_OR_RETURN(const struct stat info, StatusOf(fd.get(), path));
  const auto size = static_cast<size_t>(info.st_size);  // 0 of a pipe, and of files in /proc that are not empty
  if (size > max_bytes) return InvalidArgument("{}: {} bytes, at most {} are read", path, size, max_bytes);
  std::string content;
  content.reserve(size + kReadBytes);
  for (size_t count = size + kReadBytes;; count = kReadBytes) {
    INGOT_ASSIGN_OR_RETURN(const size_t read, ReadSome(fd.get(), path, count, &content));
    if (read == 0) return content;
    if (content.size() > max_bytes)
      return InvalidArgument("{}: more than {} bytes, which is all that is read", path, max_bytes);
  }
}

Status WriteFile(const std::string& path, std::string_view content) {
  INGOT_ASSIGN_OR_RETURN(FileWriter writer, FileWriter::Create(path));
  INGOT_RETURN_IF_ERROR(writer.Append(content));
  return writer.Commit(/*durable=*/true);
}

Result<FileWriter> FileWriter::Create(const std::string& path) {
  // Process ids repeat in containers that share a folder, so a name that is taken leads to the next.
  for (int number = 0;; ++number) {
    std::string temporary = fmt::format("{}.{}.{}.tmp", path, getpid(), number);
    const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) return FileWriter(path, std::move(temporary), fd);
    if (errno != EEXIST) return SystemError(path, "create");
  }
}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::move(other.temporary_)), fd_(std::exchange(other.fd_, -1)) {}

FileWriter& FileWriter::operator=(FileWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  return *this;
}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

Status FileWriter::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path_, "write");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Status FileWriter::Commit(bool durable) {
  if (durable && fsync(fd_) != 0) return SystemError(path_, "sync");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) return SystemError(path_, "rename to");
  close(std::exchange(fd_, -1));
  return {};
}

}  // namespace ingot
