#include "formats/fuzz_reads.h"

#include <string>
#include <vector>

#include "base/check.h"
#include "formats/gguf.h"
#include "formats/hf_config.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "tensor/encoding.h"

namespace ingot::formats {
namespace {

// What an entry promises must hold: its bytes are those of its shape, within the file.
void ReadEntry(const TensorEntry& entry, std::span<const std::byte> file) {
  if (!entry.bytes.empty()) {
    INGOT_CHECK(entry.bytes.data() >= file.data());
    INGOT_CHECK(entry.bytes.data() + entry.bytes.size() <= file.data() + file.size());
  }
  size_t sum = 0;
  for (const std::byte byte : entry.bytes) sum += static_cast<size_t>(byte);
  INGOT_CHECK(sum <= 255 * entry.bytes.size());  // uses the sum, so that the bytes are read
  if (!entry.unsupported.empty() || entry.bytes.empty()) return;
  const int64_t cols = entry.shape.empty() ? 1 : entry.shape.back();
  const auto row_bytes = RowBytes(entry.encoding, cols);
  INGOT_CHECK(row_bytes.has_value());
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < entry.shape.size(); ++i) rows *= entry.shape[i];
  INGOT_CHECK(entry.bytes.size() == static_cast<size_t>(rows) * *row_bytes);
  if (!IsWeightEncoding(entry.encoding)) return;
  WeightRows decoded;
  DecodeRows(entry.encoding, entry.bytes, rows, cols, &decoded);
  std::vector<float> values(static_cast<size_t>(rows * cols));
  DequantizeRows(decoded, values.data());
}

}  // namespace

bool ReadAllOfSafetensors(std::span<const std::byte> bytes) {
  const auto tensors = ParseSafetensors(bytes, "x.safetensors");
  if (!tensors) return false;
  for (const TensorEntry& entry : *tensors) ReadEntry(entry, bytes);
  return true;
}

bool ReadAllOfGguf(std::span<const std::byte> bytes) {
  const auto gguf = ParseGguf(bytes, "x.gguf");
  if (!gguf) return false;
  for (const TensorEntry& entry : gguf->tensors) ReadEntry(entry, bytes);
  return true;
}

bool ReadAllOfTorch(std::span<const std::byte> bytes) {
  const auto tensors = ParseTorch(bytes, "x.bin");
  if (!tensors) return false;
  for (const TensorEntry& entry : *tensors) ReadEntry(entry, bytes);
  return true;
}

bool ReadAllOfHfConfig(std::span<const std::byte> bytes) {
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  HfTexts texts;
  for (std::string* text :
       {&texts.config, &texts.generation_config, &texts.tokenizer_config, &texts.chat_template_json}) {
    const size_t end = std::min(rest.find('\0'), rest.size());
    *text = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return ParseHfConfig(texts, "x").has_value();
}

bool ReadAllOfShardIndex(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto shards = ParseShardIndex(text, "x.index.json");
  if (!shards) return false;
  for (const auto& [tensor, file] : *shards) INGOT_CHECK(file.find('/') == std::string::npos);
  return true;
}

}  // namespace ingot::formats
