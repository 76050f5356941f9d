// Reads numbers and strings out of untrusted bytes; every error names file, field and offset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace ingot::formats {

// Little-endian. A cursor over borrowed bytes; what it returns points into them.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}

  const std::string& file() const { return file_; }
  size_t offset() const { return offset_; }
  size_t remaining() const { return bytes_.size() - offset_; }

  template <typename T>
  Result<T> Read(std::string_view field) {
    if (remaining() < sizeof(T)) return Short(field, sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  Result<std::span<const std::byte>> ReadBytes(uint64_t count, std::string_view field) {
    if (remaining() < count) return Short(field, count);
    const auto bytes = bytes_.subspan(offset_, static_cast<size_t>(count));
    offset_ += bytes.size();
    return bytes;
  }

  Result<std::string_view> ReadText(uint64_t count, std::string_view field) {
    INGOT_ASSIGN_OR_RETURN(const auto bytes, ReadBytes(count, field));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  // A u64 count of things that take at least `min_bytes` each, so that no count passes what the file can hold.
  Result<uint64_t> ReadCount(size_t min_bytes, std::string_view field) {
    const size_t at = offset_;
    INGOT_ASSIGN_OR_RETURN(const auto count, Read<uint64_t>(field));
    if (count > remaining() / min_bytes) {
      return Corrupt("{}: {} at offset {} is {}: the {} bytes left hold at most {}", file_, field, at, count,
                     remaining(), remaining() / min_bytes);
    }
    return count;
  }

 private:
  Error Short(std::string_view field, uint64_t wanted) const {
    return Corrupt("{}: {} at offset {} takes {} bytes, {} are left", file_, field, offset_, wanted, remaining());
  }

  std::span<const std::byte> bytes_;
  std::string file_;
  size_t offset_ = 0;
};

}  // namespace ingot::formats
