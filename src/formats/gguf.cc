#include "formats/gguf.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <tuple>

#include "base/json.h"
#include "formats/byte_reader.h"
#include "formats/gguf_metadata.h"
#include "formats/gguf_types.h"

namespace ingot::formats {
namespace {

constexpr uint32_t kMaxAlignment = 1u << 30;
constexpr uint64_t kMaxNameBytes = 1 << 16;

// The GGML types that have no Encoding here.
struct ForeignType {
  uint32_t number;
  const char* text;
};
constexpr ForeignType kForeignTypes[] = {
    {9, "Q8_1, which GGML computes with and no file holds"},
    {15, "Q8_K, which GGML computes with and no file holds"},
    {31, "Q4_0_4_4, which GGML replaced by Q4_0"},
    {32, "Q4_0_4_8, which GGML replaced by Q4_0"},
    {33, "Q4_0_8_8, which GGML replaced by Q4_0"},
    {36, "IQ4_NL_4_4, which GGML replaced by IQ4_NL"},
    {37, "IQ4_NL_4_8, which GGML replaced by IQ4_NL"},
    {38, "IQ4_NL_8_8, which GGML replaced by IQ4_NL"},
    {41, "Q1_0"},
};

std::string ForeignName(uint32_t type) {
  for (const ForeignType& foreign : kForeignTypes) {
    if (foreign.number == type) return fmt::format("type {}", foreign.text);
  }
  return fmt::format("GGML type {}", type);
}

struct TensorInfo {
  TensorEntry entry;
  uint64_t offset;  // within the data section
  size_t bytes;
};

Result<uint32_t> ReadVersion(ByteReader* reader) {
  INGOT_ASSIGN_OR_RETURN(const std::string_view magic, reader->ReadText(4, "magic"));
  if (magic != "GGUF") return Corrupt("{}: no GGUF file: the first four bytes are not \"GGUF\"", reader->file());
  INGOT_ASSIGN_OR_RETURN(const auto version, reader->Read<uint32_t>("version"));
  if ((version & 0xffff) == 0 && version != 0) {
    return Unsupported(
        "{}: a big-endian GGUF file (version at offset 4 is {:#010x}); only little-endian files are read",
        reader->file(), version);
  }
  if (version != 2 && version != 3) {
    return Unsupported("{}: version at offset 4 is {}; GGUF versions 2 and 3 are read", reader->file(), version);
  }
  return version;
}

Result<uint64_t> ReadAlignment(const JsonView& metadata) {
  INGOT_ASSIGN_OR_RETURN(const int64_t alignment, metadata.Int("general.alignment", kGgufAlignment));
  if (alignment <= 0 || alignment > kMaxAlignment || !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    return Corrupt("{}: general.alignment is {}, must be a power of two up to {}", metadata.path(), alignment,
                   kMaxAlignment);
  }
  return static_cast<uint64_t>(alignment);
}

// The file's dimensions run from the innermost; ours from the outermost.
Result<std::vector<int64_t>> ReadShape(ByteReader* reader, const std::string& field) {
  const size_t at = reader->offset();
  INGOT_ASSIGN_OR_RETURN(const auto rank, reader->Read<uint32_t>(field));
  if (rank > kGgufMaxDims) {
    return Corrupt("{}: {} at offset {} has {} dimensions, at most {} are allowed", reader->file(), field, at, rank,
                   kGgufMaxDims);
  }
  std::vector<int64_t> shape(rank);
  for (uint32_t i = rank; i-- > 0;) {
    const size_t dim_at = reader->offset();
    INGOT_ASSIGN_OR_RETURN(const auto dim, reader->Read<uint64_t>(field));
    if (dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Corrupt("{}: {} at offset {} has a dimension of {}", reader->file(), field, dim_at, dim);
    }
    shape[i] = static_cast<int64_t>(dim);
  }
  return shape;
}

Result<size_t> TensorBytes(const TensorEntry& entry, const ByteReader& reader, size_t at) {
  const auto row = RowBytes(entry.encoding, entry.shape.empty() ? 1 : entry.shape.back());
  if (!row) {
    return Corrupt("{}: tensor {} at offset {}: {}", reader.file(), entry.name, at, row.error().message());
  }
  auto bytes = static_cast<int64_t>(*row);
  for (size_t i = 0; i + 1 < entry.shape.size(); ++i) {
    if (__builtin_mul_overflow(bytes, entry.shape[i], &bytes)) {
      return Corrupt("{}: tensor {} at offset {}: shape [{}] passes 2^63 bytes", reader.file(), entry.name, at,
                     fmt::join(entry.shape, ", "));
    }
  }
  return static_cast<size_t>(bytes);
}

Result<TensorInfo> ReadTensorInfo(ByteReader* reader) {
  const size_t at = reader->offset();
  TensorInfo info{};
  INGOT_ASSIGN_OR_RETURN(const auto name_bytes, reader->ReadCount(1, "tensor name"));
  if (name_bytes > kMaxNameBytes) {
    return Corrupt("{}: tensor name at offset {} has {} bytes, at most {} are allowed", reader->file(), at, name_bytes,
                   kMaxNameBytes);
  }
  INGOT_ASSIGN_OR_RETURN(info.entry.name, reader->ReadText(name_bytes, "tensor name"));
  const std::string field = "tensor " + info.entry.name;
  INGOT_ASSIGN_OR_RETURN(info.entry.shape, ReadShape(reader, field));
  INGOT_ASSIGN_OR_RETURN(const auto type, reader->Read<uint32_t>(field));
  const auto encoding = EncodingOfGgmlType(type);
  info.entry.encoding = encoding.value_or(Encoding::kU8);
  if (!encoding) info.entry.unsupported = ForeignName(type);
  INGOT_ASSIGN_OR_RETURN(info.offset, reader->Read<uint64_t>(field));
  if (!encoding) return info;
  INGOT_ASSIGN_OR_RETURN(info.bytes, TensorBytes(info.entry, *reader, at));
  return info;
}

// Sorts by offset, checks each extent against the data and the one before it, and fills in the bytes.
Status PlaceTensors(std::span<const std::byte> data, uint64_t alignment, const std::string& file,
                    std::vector<TensorInfo>* infos) {
  // Empty tensors share the offset of the one that follows; they come first.
  std::sort(infos->begin(), infos->end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.offset, a.bytes, a.entry.name) < std::tie(b.offset, b.bytes, b.entry.name);
  });
  uint64_t end = 0;  // of the tensors so far
  for (size_t i = 0; i < infos->size(); ++i) {
    TensorInfo& info = (*infos)[i];
    if (!info.entry.unsupported.empty()) {  // how large its type is, is not known
      const uint64_t next = i + 1 < infos->size() ? (*infos)[i + 1].offset : data.size();
      info.bytes = next > info.offset ? next - info.offset : 0;
    }
    const std::string& name = info.entry.name;
    if (info.offset % alignment != 0) {
      return Corrupt("{}: tensor {}: offset {} is no multiple of the alignment {}", file, name, info.offset, alignment);
    }
    if (info.offset > data.size() || info.bytes > data.size() - info.offset) {
      return Corrupt("{}: tensor {}: {} bytes at offset {} of the data, which has {} bytes", file, name, info.bytes,
                     info.offset, data.size());
    }
    if (info.offset < end) {
      return Corrupt("{}: tensor {}: offset {} of the data lies in the tensor before it, which ends at {}", file, name,
                     info.offset, end);
    }
    end = info.offset + info.bytes;
    info.entry.bytes = data.subspan(info.offset, info.bytes);
  }
  return {};
}

Status ReadTensors(std::span<const std::byte> bytes, uint64_t count, ByteReader* reader, GgufFile* out) {
  std::vector<TensorInfo> infos;
  infos.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    INGOT_ASSIGN_OR_RETURN(TensorInfo info, ReadTensorInfo(reader));
    infos.push_back(std::move(info));
  }
  INGOT_ASSIGN_OR_RETURN(const uint64_t alignment, ReadAlignment(JsonView(out->metadata, reader->file())));
  const uint64_t begin = (reader->offset() + alignment - 1) / alignment * alignment;
  const auto data = begin < bytes.size() ? bytes.subspan(begin) : std::span<const std::byte>();
  INGOT_RETURN_IF_ERROR(PlaceTensors(data, alignment, reader->file(), &infos));
  for (TensorInfo& info : infos) out->tensors.push_back(std::move(info.entry));
  return {};
}

Status ReadKnownKeys(const std::string& file, GgufVocabulary vocabulary, GgufFile* out) {
  const JsonView metadata(out->metadata, file);
  INGOT_ASSIGN_OR_RETURN(out->chat_template, metadata.String("tokenizer.chat_template", ""));
  INGOT_ASSIGN_OR_RETURN(out->split_no, metadata.Int("split.no", 0));
  INGOT_ASSIGN_OR_RETURN(out->split_count, metadata.Int("split.count", 1));
  INGOT_ASSIGN_OR_RETURN(out->split_tensors, metadata.Int("split.tensors.count", -1));
  out->vocabulary.source = file;
  INGOT_ASSIGN_OR_RETURN(out->vocabulary.model_type, metadata.String("general.architecture", ""));
  if (!metadata.Find("tokenizer.ggml.model")) return {};
  INGOT_RETURN_IF_ERROR(FinishVocabulary(metadata, &vocabulary));
  out->vocabulary.bos_id = vocabulary.bos_id;
  out->vocabulary.gguf = std::move(vocabulary);
  return {};
}

}  // namespace

Result<GgufFile> ParseGguf(std::span<const std::byte> bytes, const std::string& file) {
  ByteReader reader(bytes, file);
  GgufFile out;
  INGOT_ASSIGN_OR_RETURN(out.version, ReadVersion(&reader));
  INGOT_ASSIGN_OR_RETURN(const uint64_t tensors,
                         reader.ReadCount(24, "tensor count"));  // an info takes 24 bytes or more
  INGOT_ASSIGN_OR_RETURN(const uint64_t pairs, reader.ReadCount(13, "metadata count"));  // key length, type, a byte
  GgufVocabulary vocabulary;
  INGOT_RETURN_IF_ERROR(GgufMetadataReader(&reader, &out.metadata.get_object(), &vocabulary).Read(pairs));
  INGOT_RETURN_IF_ERROR(ReadKnownKeys(file, std::move(vocabulary), &out));
  INGOT_RETURN_IF_ERROR(ReadTensors(bytes, tensors, &reader, &out));
  return out;
}

}  // namespace ingot::formats
