#include "formats/checkpoint.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cstring>

#include "base/check.h"
#include "formats/quantized.h"

namespace ingot::formats {
namespace {

// "F32 F16 BF16 Q4_0 …"
std::string WeightTypes() {
  std::string names;
  for (int i = 0; IsWeightEncoding(static_cast<Encoding>(i)); ++i) {
    names += fmt::format("{}{}", i == 0 ? "" : " ", InfoOf(static_cast<Encoding>(i)).name);
  }
  return names;
}

class EncodedMatrix : public WeightSource {
 public:
  EncodedMatrix(std::shared_ptr<const Checkpoint> checkpoint, const TensorEntry& entry, int64_t rows)
      : checkpoint_(std::move(checkpoint)),
        entry_(entry),
        rows_(rows),
        row_bytes_(rows == 0 ? 0 : entry.bytes.size() / static_cast<size_t>(rows)) {}

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return entry_.shape.back(); }
  Format format() const override { return FormatOf(entry_.encoding); }
  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    INGOT_CHECK(row >= 0 && count >= 0 && row <= rows_ - count);
    const auto bytes =
        entry_.bytes.subspan(static_cast<size_t>(row) * row_bytes_, static_cast<size_t>(count) * row_bytes_);
    DecodeRows(entry_.encoding, bytes, count, cols(), out);
  }
  void Drop() const override { checkpoint_->DropPages(entry_); }

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;  // owns what entry_ refers to
  const TensorEntry& entry_;
  int64_t rows_;
  size_t row_bytes_;
};

Result<const TensorEntry*> FindReadable(const Checkpoint& checkpoint, const std::string& name) {
  const TensorEntry* entry = checkpoint.Find(name);
  if (entry == nullptr) return NotFound("{}: no tensor {}", checkpoint.path(), name);
  const std::string& file = checkpoint.files()[static_cast<size_t>(entry->file)];
  if (!entry->unsupported.empty()) {
    return Unsupported("{}: tensor {}: {}; readable are contiguous tensors of {}", file, name, entry->unsupported,
                       WeightTypes());
  }
  return entry;
}

std::vector<float> FloatsOfF64(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(double));
  for (size_t i = 0; i < values.size(); ++i) {
    double value;
    std::memcpy(&value, bytes.data() + i * sizeof(double), sizeof(double));
    values[i] = static_cast<float>(value);
  }
  return values;
}

}  // namespace

std::string StoredAs(const TensorEntry& tensor) {
  const std::string_view why = tensor.unsupported;
  if (why.starts_with("type ")) return std::string(why.substr(5, why.find(',') - 5));
  if (why.starts_with("GGML type ")) return std::string(why);
  return tensor.quantized ? tensor.quantized->stored_as : InfoOf(tensor.encoding).name;
}

std::optional<Format> StoredFormat(const TensorEntry& tensor) {
  if (tensor.quantized) return tensor.quantized->format;
  if (!tensor.unsupported.empty() || !IsWeightEncoding(tensor.encoding)) return std::nullopt;
  return FormatOf(tensor.encoding);
}

Result<WeightSourcePtr> Checkpoint::Weight(const std::string& name) const {
  INGOT_ASSIGN_OR_RETURN(const TensorEntry* entry, FindReadable(*this, name));
  if (entry->quantized) return OpenQuantized(shared_from_this(), entry->quantized);
  if (!IsWeightEncoding(entry->encoding)) {
    return Unsupported("{}: tensor {}: type {}; weights are {}", path(), name, InfoOf(entry->encoding).name,
                       WeightTypes());
  }
  const std::vector<int64_t>& shape = entry->shape;
  if (shape.size() != 2 && shape.size() != 3) {
    return InvalidArgument("{}: tensor {}: shape [{}] is no matrix", path(), name, fmt::join(shape, ", "));
  }
  // The product was checked against the file, except for shapes with a zero in them.
  int64_t rows = shape[0];
  if (shape.size() == 3 && __builtin_mul_overflow(rows, shape[1], &rows)) {
    return InvalidArgument("{}: tensor {}: shape [{}] is too large", path(), name, fmt::join(shape, ", "));
  }
  return std::make_shared<EncodedMatrix>(shared_from_this(), *entry, rows);
}

Result<std::vector<float>> Checkpoint::Floats(const std::string& name, int64_t expected) const {
  INGOT_ASSIGN_OR_RETURN(const TensorEntry* entry, FindReadable(*this, name));
  const EncodingInfo& info = InfoOf(entry->encoding);
  const auto blocks = static_cast<int64_t>(entry->bytes.size()) / info.block_bytes;
  const int64_t count = blocks * info.block_size;
  if (expected >= 0 && count != expected) {
    return InvalidArgument("{}: tensor {}: shape [{}] has {} elements, expected {}", path(), name,
                           fmt::join(entry->shape, ", "), count, expected);
  }
  if (entry->encoding == Encoding::kF64) return FloatsOfF64(entry->bytes);
  if (!IsWeightEncoding(entry->encoding)) {
    return Unsupported("{}: tensor {}: type {} where numbers are {} or F64", path(), name, info.name, WeightTypes());
  }
  WeightRows rows;
  DecodeRows(entry->encoding, entry->bytes, 1, count, &rows);
  std::vector<float> values(static_cast<size_t>(count));
  DequantizeRows(rows, values.data());
  return values;
}

void AddTo(const Checkpoint& checkpoint, Fingerprint* print) {
  print->Add(boost::json::serialize(checkpoint.config()));
  for (const TensorEntry* tensor : checkpoint.tensors()) {
    print->Add(tensor->name);
    const size_t bytes = std::min<size_t>(tensor->bytes.size(), 64);
    print->Add({reinterpret_cast<const char*>(tensor->bytes.data()), bytes});
  }
}

}  // namespace ingot::formats
