#include "formats/writers/gguf_writer.h"

#include <algorithm>
#include <set>
#include <type_traits>

#include "formats/gguf_types.h"
#include "formats/writers/output_file.h"

namespace ingot::formats {
namespace {

template <typename T>
inline constexpr bool kIsArray = false;
template <typename T>
inline constexpr bool kIsArray<std::vector<T>> = true;

template <typename T>
constexpr GgufType TypeOf() {
  if constexpr (std::is_same_v<T, uint8_t>) return GgufType::kU8;
  if constexpr (std::is_same_v<T, int8_t>) return GgufType::kI8;
  if constexpr (std::is_same_v<T, uint16_t>) return GgufType::kU16;
  if constexpr (std::is_same_v<T, int16_t>) return GgufType::kI16;
  if constexpr (std::is_same_v<T, uint32_t>) return GgufType::kU32;
  if constexpr (std::is_same_v<T, int32_t>) return GgufType::kI32;
  if constexpr (std::is_same_v<T, float>) return GgufType::kF32;
  if constexpr (std::is_same_v<T, bool>) return GgufType::kBool;
  if constexpr (std::is_same_v<T, std::string>) return GgufType::kString;
  if constexpr (std::is_same_v<T, uint64_t>) return GgufType::kU64;
  if constexpr (std::is_same_v<T, int64_t>) return GgufType::kI64;
  if constexpr (std::is_same_v<T, double>) return GgufType::kF64;
  return GgufType::kArray;
}

// Little-endian, as are the machines this runs on.
template <typename T>
void AppendScalar(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <typename T>
void AppendValue(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    AppendScalar<uint64_t>(out, value.size());
    out += value;
  } else if constexpr (std::is_same_v<T, bool>) {
    AppendScalar<uint8_t>(out, value ? 1 : 0);
  } else if constexpr (kIsArray<T>) {
    using Element = typename T::value_type;
    AppendScalar<uint32_t>(out, static_cast<uint32_t>(TypeOf<Element>()));
    AppendScalar<uint64_t>(out, value.size());
    for (const Element& element : value) AppendValue<Element>(out, element);
  } else {
    AppendScalar<T>(out, value);
  }
}

int64_t Padded(int64_t bytes) { return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment; }

}  // namespace

struct GgufWriter::Impl {
  std::unique_ptr<OutputFile> file;
  std::vector<OutputTensor> tensors;
  std::vector<int64_t> bytes;  // of each tensor
  size_t next = 0;             // the tensor that Write continues
  int64_t written = 0;         // bytes of it

  // Pads and steps over tensors that are complete.
  Status Advance() {
    while (next < tensors.size() && written == bytes[next]) {
      INGOT_RETURN_IF_ERROR(file->Pad(static_cast<size_t>(Padded(written) - written)));
      ++next;
      written = 0;
    }
    return {};
  }
};

GgufWriter::GgufWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GgufWriter::~GgufWriter() = default;

Result<std::unique_ptr<GgufWriter>> GgufWriter::Create(const std::string& path, const GgufMetadata& metadata,
                                                       std::vector<OutputTensor> tensors) {
  std::string header = "GGUF";
  AppendScalar<uint32_t>(header, 3);
  AppendScalar<uint64_t>(header, tensors.size());
  AppendScalar<uint64_t>(header, metadata.size());
  std::set<std::string> names;
  for (const auto& [key, value] : metadata) {
    if (!names.insert(key).second) return InvalidArgument("metadata {}: the key is taken", key);
    AppendValue(header, key);
    std::visit(
        [&header](const auto& typed) {
          using T = std::remove_cvref_t<decltype(typed)>;
          AppendScalar<uint32_t>(header, static_cast<uint32_t>(TypeOf<T>()));
          AppendValue<T>(header, typed);
        },
        value);
  }
  auto impl = std::make_unique<Impl>();
  names.clear();
  int64_t offset = 0;
  for (const OutputTensor& tensor : tensors) {
    const auto type = InfoOf(tensor.encoding).ggml_type;
    if (!type) return InvalidArgument("tensor {}: GGUF has no {}", tensor.name, InfoOf(tensor.encoding).name);
    if (!names.insert(tensor.name).second) return InvalidArgument("tensor {}: the name is taken", tensor.name);
    if (tensor.shape.size() > kGgufMaxDims)
      return InvalidArgument("tensor {}: GGUF has at most 4 dimensions", tensor.name);
    INGOT_ASSIGN_OR_RETURN(const int64_t bytes, BytesOf(tensor));
    AppendValue(header, tensor.name);
    AppendScalar<uint32_t>(header, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;)
      AppendScalar<uint64_t>(header, static_cast<uint64_t>(tensor.shape[i]));
    AppendScalar<uint32_t>(header, *type);
    AppendScalar<uint64_t>(header, static_cast<uint64_t>(offset));
    impl->bytes.push_back(bytes);
    offset += Padded(bytes);
  }
  header.resize(static_cast<size_t>(Padded(static_cast<int64_t>(header.size()))), '\0');
  impl->tensors = std::move(tensors);
  INGOT_ASSIGN_OR_RETURN(impl->file, OutputFile::Create(path));
  INGOT_RETURN_IF_ERROR(impl->file->Write(header));
  INGOT_RETURN_IF_ERROR(impl->Advance());
  return std::unique_ptr<GgufWriter>(new GgufWriter(std::move(impl)));
}

Status GgufWriter::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (impl_->next == impl_->tensors.size()) return InvalidArgument("{} bytes past the last tensor", bytes.size());
    const auto left = static_cast<size_t>(impl_->bytes[impl_->next] - impl_->written);
    const auto piece = bytes.first(std::min(left, bytes.size()));
    INGOT_RETURN_IF_ERROR(impl_->file->Write(piece));
    impl_->written += static_cast<int64_t>(piece.size());
    bytes = bytes.subspan(piece.size());
    INGOT_RETURN_IF_ERROR(impl_->Advance());
  }
  return {};
}

Status GgufWriter::Finish() {
  if (impl_->next < impl_->tensors.size()) {
    return InvalidArgument("tensor {} got {} of {} bytes", impl_->tensors[impl_->next].name, impl_->written,
                           impl_->bytes[impl_->next]);
  }
  return impl_->file->Commit();
}

}  // namespace ingot::formats
