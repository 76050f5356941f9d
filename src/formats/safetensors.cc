#include "formats/safetensors.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>

#include "base/json.h"
#include "formats/byte_reader.h"

namespace ingot::formats {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

struct Dtype {
  std::string_view name;
  int bits;
  std::optional<Encoding> encoding;  // none: Ingot can list, but not read it
};
constexpr Dtype kDtypes[] = {
    {"F32", 32, Encoding::kF32},
    {"F16", 16, Encoding::kF16},
    {"BF16", 16, Encoding::kBF16},
    {"F64", 64, Encoding::kF64},
    {"I64", 64, Encoding::kI64},
    {"I32", 32, Encoding::kI32},
    {"I16", 16, Encoding::kI16},
    {"I8", 8, Encoding::kI8},
    {"U8", 8, Encoding::kU8},
    {"BOOL", 8, Encoding::kBool},
    {"U16", 16, {}},
    {"U32", 32, {}},
    {"U64", 64, {}},
    {"C64", 64, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F4", 4, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
};

Result<const Dtype*> FindDtype(const JsonView& info) {
  INGOT_ASSIGN_OR_RETURN(const std::string name, info.String("dtype"));
  const auto* dtype =
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) { return d.name == name; });
  if (dtype == std::end(kDtypes)) return Corrupt("{}.dtype: {} is no safetensors type", info.path(), name);
  return dtype;
}

Result<std::vector<int64_t>> ReadShape(const JsonView& info) {
  INGOT_ASSIGN_OR_RETURN(const JsonView dims, info.Get("shape"));
  INGOT_ASSIGN_OR_RETURN(const boost::json::array* array, dims.AsArray());
  std::vector<int64_t> shape;
  for (size_t i = 0; i < array->size(); ++i) {
    INGOT_ASSIGN_OR_RETURN(const int64_t dim, dims.At(i).AsInt());
    if (dim < 0) return Corrupt("{}: {} is negative", dims.At(i).path(), dim);
    shape.push_back(dim);
  }
  return shape;
}

// Bytes of a tensor; kCorrupt when they pass 2^63 or are no whole number.
Result<int64_t> TensorBytes(const std::vector<int64_t>& shape, int bits, const JsonView& info) {
  int64_t total_bits = bits;
  for (const int64_t dim : shape) {
    if (__builtin_mul_overflow(total_bits, dim, &total_bits)) {
      return Corrupt("{}.shape: [{}] passes 2^63 bits", info.path(), fmt::join(shape, ", "));
    }
  }
  if (total_bits % 8 != 0) return Corrupt("{}.shape: {} bits are no whole bytes", info.path(), total_bits);
  return total_bits / 8;
}

struct Data {
  std::span<const std::byte> bytes;
  size_t file_offset;  // of its first byte, for messages
};

Result<TensorEntry> ReadTensor(std::string_view name, const JsonView& info, const Data& data) {
  INGOT_ASSIGN_OR_RETURN(const Dtype* dtype, FindDtype(info));
  TensorEntry entry;
  entry.name = name;
  entry.encoding = dtype->encoding.value_or(Encoding::kU8);
  if (!dtype->encoding) entry.unsupported = fmt::format("type {}", dtype->name);
  INGOT_ASSIGN_OR_RETURN(entry.shape, ReadShape(info));
  INGOT_ASSIGN_OR_RETURN(const int64_t expected, TensorBytes(entry.shape, dtype->bits, info));
  INGOT_ASSIGN_OR_RETURN(const JsonView offsets, info.Get("data_offsets"));
  INGOT_ASSIGN_OR_RETURN(const boost::json::array* array, offsets.AsArray());
  if (array->size() != 2) return Corrupt("{}: must be two numbers, has {}", offsets.path(), array->size());
  INGOT_ASSIGN_OR_RETURN(const int64_t begin, offsets.At(0).AsInt());
  INGOT_ASSIGN_OR_RETURN(const int64_t end, offsets.At(1).AsInt());
  const auto size = static_cast<int64_t>(data.bytes.size());
  if (begin < 0 || end < begin || end > size) {
    return Corrupt("{}: [{}, {}] must be ordered within the {} bytes of data at offset {}", offsets.path(), begin, end,
                   size, data.file_offset);
  }
  if (end - begin != expected) {
    return Corrupt("{}: [{}, {}] are {} bytes, dtype and shape take {}", offsets.path(), begin, end, end - begin,
                   expected);
  }
  entry.bytes = data.bytes.subspan(static_cast<size_t>(begin), static_cast<size_t>(expected));
  return entry;
}

// Sorted by offset the tensors must follow one another without overlap or hole and use up the data, as the format says.
Status CheckLayout(const std::vector<TensorEntry>& tensors, const Data& data, const std::string& file) {
  const std::byte* at = data.bytes.data();
  for (const TensorEntry& tensor : tensors) {
    if (tensor.bytes.data() != at) {
      return Corrupt("{}: {}.data_offsets: begins at offset {} of the file, the tensor before it ends at {}", file,
                     tensor.name, data.file_offset + static_cast<size_t>(tensor.bytes.data() - data.bytes.data()),
                     data.file_offset + static_cast<size_t>(at - data.bytes.data()));
    }
    at += tensor.bytes.size();
  }
  const size_t used = static_cast<size_t>(at - data.bytes.data());
  if (used != data.bytes.size()) {
    return Corrupt("{}: {} bytes at offset {} belong to no tensor", file, data.bytes.size() - used,
                   data.file_offset + used);
  }
  return {};
}

Status CheckMetadata(const JsonView& metadata) {
  if (metadata.value().is_null()) return {};  // as the reference reads it
  INGOT_ASSIGN_OR_RETURN(const boost::json::object* object, metadata.AsObject());
  for (const auto& member : *object) {
    if (!member.value().is_string())
      return Corrupt("{}.{}: must be a string", metadata.path(), std::string_view(member.key()));
  }
  return {};
}

}  // namespace

Result<std::vector<TensorEntry>> ParseSafetensors(std::span<const std::byte> bytes, const std::string& file) {
  ByteReader reader(bytes, file);
  INGOT_ASSIGN_OR_RETURN(const auto header_bytes, reader.Read<uint64_t>("header length"));
  if (header_bytes > kMaxHeaderBytes) {
    return Corrupt("{}: header length at offset 0 is {}, at most {} are allowed", file, header_bytes, kMaxHeaderBytes);
  }
  INGOT_ASSIGN_OR_RETURN(const std::string_view header, reader.ReadText(header_bytes, "header"));
  INGOT_ASSIGN_OR_RETURN(const boost::json::value json, ParseJson(header, file + ": header at offset 8"));
  const JsonView root(json, file);
  INGOT_ASSIGN_OR_RETURN(const boost::json::object* object, root.AsObject());
  const Data data = {bytes.subspan(reader.offset()), reader.offset()};
  std::vector<TensorEntry> tensors;
  tensors.reserve(object->size());
  for (const auto& member : *object) {
    const std::string_view name = member.key();
    const JsonView info(member.value(), fmt::format("{}: {}", file, name));
    if (name == "__metadata__") {
      INGOT_RETURN_IF_ERROR(CheckMetadata(info));
      continue;
    }
    INGOT_ASSIGN_OR_RETURN(TensorEntry entry, ReadTensor(name, info, data));
    tensors.push_back(std::move(entry));
  }
  // Empty tensors share the offset of the one that follows; they come first.
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    const std::byte *a_begin = a.bytes.data(), *b_begin = b.bytes.data();
    const size_t a_size = a.bytes.size(), b_size = b.bytes.size();
    return std::tie(a_begin, a_size, a.name) < std::tie(b_begin, b_size, b.name);
  });
  INGOT_RETURN_IF_ERROR(CheckLayout(tensors, data, file));
  return tensors;
}

}  // namespace ingot::formats
