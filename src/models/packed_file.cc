#include "models/packed_file.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>

#include "base/file_writer.h"
#include "base/hash.h"
#include "models/packed_file_format.h"

namespace ingot::models {
namespace {

constexpr int64_t kHeadRows = 16;

uint64_t Align(uint64_t offset) { return (offset + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment; }

Status CheckHeader(const PackedHeader& header, std::string_view key, uint64_t size) {
  if (std::string_view(header.magic, sizeof header.magic) != kPackedMagic) return Corrupt("it holds no packed weights");
  if (std::string_view(header.key, sizeof header.key) != key) return Corrupt("it is of another model or version");
  if (header.file_bytes != size) return Corrupt("it has {} of {} bytes", size, header.file_bytes);
  if (header.count > (size - sizeof header) / sizeof(PackedEntry)) return Corrupt("its table is damaged");
  return {};
}

}  // namespace

Result<uint64_t> HeadHash(ops::Backend& backend, const WeightSourcePtr& source) {
  const WeightSourcePtr head = SliceRows(source, 0, std::min(kHeadRows, source->rows()));
  INGOT_ASSIGN_OR_RETURN(const ops::PackedWeight packed, backend.Prepack(*head));
  return Hash64(TextOf(packed.contents()));
}

Result<std::vector<PackedMatrix>> ParsePackedFile(std::span<const std::byte> content, std::string_view key,
                                                  ThreadPool& pool) {
  PackedHeader header;
  if (content.size() < sizeof header) return Corrupt("it has only {} bytes", content.size());
  std::memcpy(&header, content.data(), sizeof header);
  INGOT_RETURN_IF_ERROR(CheckHeader(header, key, content.size()));
  const std::span<const std::byte> table = content.subspan(sizeof header, header.count * sizeof(PackedEntry));
  if (PackedTableHash(header, table) != header.table_hash) return Corrupt("its table is damaged");
  std::vector<PackedEntry> entries(header.count);
  if (!table.empty()) std::memcpy(entries.data(), table.data(), table.size());
  std::vector<PackedMatrix> matrices;
  for (const PackedEntry& entry : entries) {
    if (entry.offset % kPackedAlignment != 0 || entry.offset > content.size() ||
        entry.bytes > content.size() - entry.offset)
      return Corrupt("its table is damaged");
    matrices.push_back({content.subspan(entry.offset, entry.bytes), entry.head_hash});
  }
  std::atomic<bool> is_damaged = false;
  pool.ParallelFor(std::ssize(matrices), [&](int64_t i) {
    const auto index = static_cast<size_t>(i);
    if (Hash64(TextOf(matrices[index].data)) != entries[index].hash) is_damaged = true;
  });
  if (is_damaged) return Corrupt("its weights are damaged");
  return matrices;
}

Result<PackedFile> PackedFile::Open(const std::string& path, std::string_view key, ThreadPool& pool) {
  INGOT_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  auto file = std::make_shared<const MappedFile>(std::move(mapped));
  INGOT_ASSIGN_OR_RETURN(std::vector<PackedMatrix> matrices, ParsePackedFile(file->bytes(), key, pool));
  return PackedFile(std::move(file), std::move(matrices));
}

Result<Buffer> PackedFile::Next(int64_t bytes, uint64_t head_hash) {
  if (next_ == matrices_.size()) return Corrupt("it has {} matrices, which are too few", matrices_.size());
  const PackedMatrix& matrix = matrices_[next_++];
  if (std::ssize(matrix.data) != bytes || matrix.head_hash != head_hash)
    return Corrupt("its matrix {} is another one", next_);
  // Kernels only read weights.
  return Buffer::Adopt(const_cast<std::byte*>(matrix.data.data()), bytes, [](std::byte*, int64_t) {});
}

Status WritePackedFile(const std::string& path, std::string_view key, const std::vector<PackedMatrix>& matrices,
                       ThreadPool& pool) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);  // Create reports it
  std::vector<PackedEntry> entries(matrices.size());
  uint64_t offset = sizeof(PackedHeader) + entries.size() * sizeof(PackedEntry);
  for (size_t i = 0; i < matrices.size(); ++i) {
    offset = Align(offset);
    entries[i] = {offset, matrices[i].data.size(), 0, matrices[i].head_hash};
    offset += matrices[i].data.size();
  }
  pool.ParallelFor(std::ssize(matrices), [&](int64_t i) {
    entries[static_cast<size_t>(i)].hash = Hash64(TextOf(matrices[static_cast<size_t>(i)].data));
  });
  const auto table = std::as_bytes(std::span(entries));
  PackedHeader header{.magic = {}, .key = {}, .count = entries.size(), .file_bytes = offset, .table_hash = 0};
  INGOT_CHECK(key.size() == sizeof header.key);
  std::ranges::copy(kPackedMagic, header.magic);
  std::ranges::copy(key, header.key);
  header.table_hash = PackedTableHash(header, table);

  INGOT_ASSIGN_OR_RETURN(FileWriter writer, FileWriter::Create(path));
  INGOT_RETURN_IF_ERROR(writer.Append({reinterpret_cast<const char*>(&header), sizeof header}));
  INGOT_RETURN_IF_ERROR(writer.Append(TextOf(table)));
  uint64_t written = sizeof header + table.size();
  for (size_t i = 0; i < matrices.size(); ++i) {
    INGOT_RETURN_IF_ERROR(writer.Append(std::string(entries[i].offset - written, '\0')));
    INGOT_RETURN_IF_ERROR(writer.Append(TextOf(matrices[i].data)));
    written = entries[i].offset + entries[i].bytes;
  }
  return writer.Commit(/*durable=*/false);  // hashes tell what a power failure lost
}

}  // namespace ingot::models
