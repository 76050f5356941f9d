#include "formats/zip.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "formats/byte_reader.h"

namespace ingot::formats {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50, kEndSignature = 0x06054b50,
                   kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50;
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20;
constexpr size_t kMaxComment = 65535;
constexpr uint32_t kIn64 = 0xffffffff;  // the field's value stands in the zip64 record
constexpr uint16_t kExtra64 = 1;

// Fields at fixed offsets of a record whose size was checked.
template <typename T>
T Field(std::span<const std::byte> record, size_t offset) {
  T value;
  std::memcpy(&value, record.data() + offset, sizeof(T));
  return value;
}

struct Directory {
  uint64_t offset, bytes, entries;
};

struct Entry {
  std::string name;
  uint64_t local_offset, size;
};

class ZipReader {
 public:
  ZipReader(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  Result<Directory> FindDirectory() const;
  Result<std::vector<Entry>> ReadDirectory(const Directory& directory) const;
  // The data of an entry, which must end before the directory.
  Result<std::span<const std::byte>> Data(const Entry& entry, const Directory& directory) const;

 private:
  Result<std::span<const std::byte>> Record(uint64_t offset, size_t size, std::string_view what) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) {
      return Corrupt("{}: {} at offset {} takes {} bytes, the file has {}", file_, what, offset, size, bytes_.size());
    }
    return bytes_.subspan(static_cast<size_t>(offset), size);
  }
  Result<size_t> FindEnd() const;
  Result<Directory> ReadDirectory64(size_t end) const;
  Status ReadExtra64(std::span<const std::byte> extra, size_t at, Entry* entry) const;

  std::span<const std::byte> bytes_;
  const std::string& file_;
};

// The end record stands before a comment of up to 65535 bytes.
Result<size_t> ZipReader::FindEnd() const {
  const size_t size = bytes_.size();
  if (size >= kEndBytes) {
    const size_t last = size - kEndBytes;
    const size_t first = last > kMaxComment ? last - kMaxComment : 0;
    for (size_t at = last + 1; at-- > first;) {
      const auto record = bytes_.subspan(at, kEndBytes);
      if (Field<uint32_t>(record, 0) == kEndSignature && Field<uint16_t>(record, 20) == last - at) return at;
    }
  }
  return Corrupt("{}: no zip archive: its end record is missing", file_);
}

Result<Directory> ZipReader::ReadDirectory64(size_t end) const {
  if (end < kLocatorBytes) return Corrupt("{}: zip64 locator is missing before offset {}", file_, end);
  const size_t locator_at = end - kLocatorBytes;
  INGOT_ASSIGN_OR_RETURN(const auto locator, Record(locator_at, kLocatorBytes, "zip64 locator"));
  if (Field<uint32_t>(locator, 0) != kLocator64Signature) {
    return Corrupt("{}: zip64 locator is missing at offset {}", file_, locator_at);
  }
  const auto at = Field<uint64_t>(locator, 8);
  INGOT_ASSIGN_OR_RETURN(const auto record, Record(at, kEnd64Bytes, "zip64 end record"));
  if (Field<uint32_t>(record, 0) != kEnd64Signature)
    return Corrupt("{}: zip64 end record is missing at offset {}", file_, at);
  return Directory{.offset = Field<uint64_t>(record, 48),
                   .bytes = Field<uint64_t>(record, 40),
                   .entries = Field<uint64_t>(record, 32)};
}

Result<Directory> ZipReader::FindDirectory() const {
  INGOT_ASSIGN_OR_RETURN(const size_t end, FindEnd());
  const auto record = bytes_.subspan(end, kEndBytes);
  Directory directory = {.offset = Field<uint32_t>(record, 16),
                         .bytes = Field<uint32_t>(record, 12),
                         .entries = Field<uint16_t>(record, 10)};
  if (directory.offset == kIn64 || directory.bytes == kIn64 || directory.entries == 0xffff) {
    INGOT_ASSIGN_OR_RETURN(directory, ReadDirectory64(end));
  } else if (Field<uint16_t>(record, 4) != 0 || Field<uint16_t>(record, 6) != 0) {
    return Unsupported("{}: a zip archive of several volumes (end record at offset {})", file_, end);
  }
  if (directory.offset > end || directory.bytes > end - directory.offset) {
    return Corrupt("{}: zip directory of {} bytes at offset {} does not end before offset {}", file_, directory.bytes,
                   directory.offset, end);
  }
  if (directory.entries > directory.bytes / kCentralBytes) {
    return Corrupt("{}: zip directory at offset {} names {} entries, its {} bytes hold at most {}", file_,
                   directory.offset, directory.entries, directory.bytes, directory.bytes / kCentralBytes);
  }
  return directory;
}

// The fields that did not fit follow in a fixed order: uncompressed size, compressed size, offset.
Status ZipReader::ReadExtra64(std::span<const std::byte> extra, size_t at, Entry* entry) const {
  while (extra.size() >= 4) {
    const auto id = Field<uint16_t>(extra, 0);
    const size_t size = Field<uint16_t>(extra, 2);
    if (size > extra.size() - 4) break;
    auto fields = extra.subspan(4, size);
    extra = extra.subspan(4 + size);
    if (id != kExtra64) continue;
    uint64_t stored = entry->size;
    for (uint64_t* field : {&entry->size, &stored, &entry->local_offset}) {
      if (*field != kIn64) continue;
      if (fields.size() < 8) return Corrupt("{}: zip64 field of the entry at offset {} is short", file_, at);
      *field = Field<uint64_t>(fields, 0);
      fields = fields.subspan(8);
    }
    if (stored != entry->size) return Corrupt("{}: zip entry at offset {} has two sizes", file_, at);
    return {};
  }
  return Corrupt("{}: zip64 field of the entry at offset {} is missing", file_, at);
}

Result<std::vector<Entry>> ZipReader::ReadDirectory(const Directory& directory) const {
  ByteReader reader(bytes_.subspan(directory.offset, directory.bytes), file_);
  std::vector<Entry> entries;
  entries.reserve(directory.entries);
  for (uint64_t i = 0; i < directory.entries; ++i) {
    const size_t at = directory.offset + reader.offset();
    INGOT_ASSIGN_OR_RETURN(const auto record, reader.ReadBytes(kCentralBytes, "zip entry"));
    if (Field<uint32_t>(record, 0) != kCentralSignature) return Corrupt("{}: no zip entry at offset {}", file_, at);
    INGOT_ASSIGN_OR_RETURN(const auto name, reader.ReadText(Field<uint16_t>(record, 28), "zip entry name"));
    INGOT_ASSIGN_OR_RETURN(const auto extra, reader.ReadBytes(Field<uint16_t>(record, 30), "zip entry extra"));
    if (const auto skipped = reader.ReadBytes(Field<uint16_t>(record, 32), "zip entry comment"); !skipped) {
      return Error(skipped.error());
    }
    if (Field<uint16_t>(record, 8) & 1) return Unsupported("{}: zip entry {} is encrypted", file_, name);
    if (Field<uint16_t>(record, 10) != 0) {
      return Unsupported("{}: zip entry {} is compressed (method {}); torch stores them as they are", file_, name,
                         Field<uint16_t>(record, 10));
    }
    const auto stored = Field<uint32_t>(record, 20);
    Entry entry = {std::string(name), Field<uint32_t>(record, 42), Field<uint32_t>(record, 24)};
    if (entry.size == kIn64 || stored == kIn64 || entry.local_offset == kIn64) {
      INGOT_RETURN_IF_ERROR(ReadExtra64(extra, at, &entry));
    } else if (stored != entry.size) {
      return Corrupt("{}: zip entry {} is stored, but has sizes {} and {}", file_, name, stored, entry.size);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<std::span<const std::byte>> ZipReader::Data(const Entry& entry, const Directory& directory) const {
  INGOT_ASSIGN_OR_RETURN(const auto record, Record(entry.local_offset, kLocalBytes, "zip header of " + entry.name));
  const size_t name_bytes = Field<uint16_t>(record, 26), extra_bytes = Field<uint16_t>(record, 28);
  INGOT_ASSIGN_OR_RETURN(const auto name,
                         Record(entry.local_offset + kLocalBytes, name_bytes, "zip name of " + entry.name));
  const std::string_view name_text(reinterpret_cast<const char*>(name.data()), name.size());
  if (Field<uint32_t>(record, 0) != kLocalSignature || name_text != entry.name) {
    return Corrupt("{}: zip entry {}: no such header at offset {}", file_, entry.name, entry.local_offset);
  }
  const uint64_t begin = entry.local_offset + kLocalBytes + name_bytes + extra_bytes;
  if (begin > directory.offset || entry.size > directory.offset - begin) {
    return Corrupt("{}: zip entry {}: {} bytes at offset {} do not end before the directory at {}", file_, entry.name,
                   entry.size, begin, directory.offset);
  }
  return bytes_.subspan(begin, entry.size);
}

}  // namespace

Result<std::map<std::string, std::span<const std::byte>, std::less<>>> ReadZip(std::span<const std::byte> bytes,
                                                                               const std::string& file) {
  const ZipReader reader(bytes, file);
  INGOT_ASSIGN_OR_RETURN(const Directory directory, reader.FindDirectory());
  INGOT_ASSIGN_OR_RETURN(std::vector<Entry> entries, reader.ReadDirectory(directory));
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.local_offset < b.local_offset; });
  std::map<std::string, std::span<const std::byte>, std::less<>> files;
  uint64_t end = 0;  // of the entries so far
  for (const Entry& entry : entries) {
    if (entry.local_offset < end) {
      return Corrupt("{}: zip entry {}: offset {} lies in the entry before it, which ends at {}", file, entry.name,
                     entry.local_offset, end);
    }
    INGOT_ASSIGN_OR_RETURN(const auto data, reader.Data(entry, directory));
    end = static_cast<uint64_t>(data.data() - bytes.data()) + data.size();
    if (!files.emplace(entry.name, data).second) return Corrupt("{}: zip entry {} is there twice", file, entry.name);
  }
  return files;
}

}  // namespace ingot::formats
