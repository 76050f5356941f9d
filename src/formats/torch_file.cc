#include "formats/torch_file.h"

#include <algorithm>

#include "formats/pickle.h"
#include "formats/zip.h"

namespace ingot::formats {
namespace {

struct StorageClass {
  std::string_view name;
  Encoding encoding;
};
constexpr StorageClass kStorageClasses[] = {
    {"torch FloatStorage", Encoding::kF32},     {"torch HalfStorage", Encoding::kF16},
    {"torch BFloat16Storage", Encoding::kBF16}, {"torch DoubleStorage", Encoding::kF64},
    {"torch LongStorage", Encoding::kI64},      {"torch IntStorage", Encoding::kI32},
    {"torch ShortStorage", Encoding::kI16},     {"torch CharStorage", Encoding::kI8},
    {"torch ByteStorage", Encoding::kU8},       {"torch BoolStorage", Encoding::kBool},
};

Result<Encoding> EncodingOf(const PickledTensor& tensor, const std::string& file) {
  for (const StorageClass& known : kStorageClasses) {
    if (known.name == tensor.storage_class) return known.encoding;
  }
  return Unsupported("{}: tensor {} is stored as {}", file, tensor.name, tensor.storage_class);
}

// Elements of the tensor, once it is known that they lie, as its strides say, within `available` elements.
Result<int64_t> CheckExtent(const PickledTensor& tensor, int64_t available, const std::string& file) {
  int64_t count = 1, last = tensor.offset;  // the element of highest address
  const bool empty = std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end();
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(count, tensor.shape[i], &count) ||
        __builtin_mul_overflow(std::max<int64_t>(tensor.shape[i] - 1, 0), tensor.stride[i], &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      return Corrupt("{}: tensor {}: shape [{}] with strides [{}] passes 2^63 elements", file, tensor.name,
                     fmt::join(tensor.shape, ", "), fmt::join(tensor.stride, ", "));
    }
  }
  if (tensor.offset < 0 || tensor.offset > available || (!empty && last >= available)) {
    return Corrupt("{}: tensor {}: shape [{}] with strides [{}] at element {} passes its storage {} of {} elements",
                   file, tensor.name, fmt::join(tensor.shape, ", "), fmt::join(tensor.stride, ", "), tensor.offset,
                   tensor.storage_key, available);
  }
  return count;
}

bool IsContiguous(const PickledTensor& tensor) {
  int64_t expected = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] == 0) return true;
    if (tensor.shape[i] != 1 && tensor.stride[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

Result<TensorEntry> Entry(const PickledTensor& tensor, std::span<const std::byte> storage, const std::string& file) {
  TensorEntry entry;
  entry.name = tensor.name;
  entry.shape = tensor.shape;
  INGOT_ASSIGN_OR_RETURN(entry.encoding, EncodingOf(tensor, file));
  const auto element_bytes = static_cast<size_t>(InfoOf(entry.encoding).block_bytes);
  if (static_cast<uint64_t>(tensor.storage_elements) > storage.size() / element_bytes) {
    return Corrupt("{}: tensor {}: storage {} of {} elements has only {} bytes", file, tensor.name, tensor.storage_key,
                   tensor.storage_elements, storage.size());
  }
  INGOT_ASSIGN_OR_RETURN(const int64_t count, CheckExtent(tensor, tensor.storage_elements, file));
  if (!IsContiguous(tensor)) {
    entry.unsupported = fmt::format("strides [{}] of a tensor that is not contiguous", fmt::join(tensor.stride, ", "));
    return entry;
  }
  entry.bytes =
      storage.subspan(static_cast<size_t>(tensor.offset) * element_bytes, static_cast<size_t>(count) * element_bytes);
  return entry;
}

}  // namespace

Result<std::vector<TensorEntry>> ParseTorch(std::span<const std::byte> bytes, const std::string& file) {
  // Before version 1.6 torch wrote bare pickles.
  if (bytes.size() > 2 && bytes[0] == std::byte{0x80}) {
    return Unsupported("{}: the format of torch before 1.6 (a pickle, no zip archive); save it again", file);
  }
  INGOT_ASSIGN_OR_RETURN(const auto files, ReadZip(bytes, file));
  // Everything is in one folder, whose name is that of the file as it was first saved.
  std::string_view folder;
  for (const auto& [name, data] : files) {
    if (name.ends_with("/data.pkl")) folder = std::string_view(name).substr(0, name.size() - 8);
  }
  if (folder.empty()) return Corrupt("{}: the archive has no data.pkl", file);
  if (const auto order = files.find(fmt::format("{}byteorder", folder)); order != files.end()) {
    const std::string_view text(reinterpret_cast<const char*>(order->second.data()), order->second.size());
    if (text != "little") return Unsupported("{}: byteorder is \"{}\"; \"little\" is read", file, text.substr(0, 16));
  }
  INGOT_ASSIGN_OR_RETURN(const auto tensors,
                         ReadPickledTensors(files.find(fmt::format("{}data.pkl", folder))->second, file));
  std::vector<TensorEntry> entries;
  entries.reserve(tensors.size());
  for (const PickledTensor& tensor : tensors) {
    const auto storage = files.find(fmt::format("{}data/{}", folder, tensor.storage_key));
    if (storage == files.end()) {
      return Corrupt("{}: tensor {}: the archive has no entry data/{}", file, tensor.name, tensor.storage_key);
    }
    INGOT_ASSIGN_OR_RETURN(TensorEntry entry, Entry(tensor, storage->second, file));
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace ingot::formats
