// A file of packed weights: an error, or matrices that lie in it. Once as it is, and once with a header whose sizes and
// hash are right, so that what lies behind them is reached.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/check.h"
#include "models/packed_file.h"
#include "models/packed_file_format.h"

namespace ingot::models {
namespace {

const std::string kKey(32, 'k');

void Check(const std::string& content) {
  static ThreadPool pool(1);
  const auto bytes = std::as_bytes(std::span(content));
  const auto matrices = ParsePackedFile(bytes, kKey, pool);
  if (!matrices) return;
  for (const PackedMatrix& matrix : *matrices) {
    INGOT_CHECK(matrix.data.data() >= bytes.data());
    INGOT_CHECK(matrix.data.data() + matrix.data.size() <= bytes.data() + bytes.size());
  }
}

std::string WithGoodHeader(std::string content) {
  if (content.size() < sizeof(PackedHeader)) return content;
  PackedHeader header;
  std::memcpy(&header, content.data(), sizeof header);
  std::ranges::copy(kPackedMagic, header.magic);
  std::ranges::copy(kKey, header.key);
  header.count %= (content.size() - sizeof header) / sizeof(PackedEntry) + 1;
  header.file_bytes = content.size();
  header.table_hash = PackedTableHash(
      header, std::as_bytes(std::span(content)).subspan(sizeof header, header.count * sizeof(PackedEntry)));
  std::memcpy(content.data(), &header, sizeof header);
  return content;
}

}  // namespace
}  // namespace ingot::models

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string content(reinterpret_cast<const char*>(data), size);
  ingot::models::Check(content);
  ingot::models::Check(ingot::models::WithGoodHeader(content));
  return 0;
}
