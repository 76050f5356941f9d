#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/fuzz_reads.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  ingot::formats::ReadAllOfHfConfig(bytes);
  ingot::formats::ReadAllOfShardIndex(bytes);
  return 0;
}
