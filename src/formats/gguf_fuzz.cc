#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/fuzz_reads.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ingot::formats::ReadAllOfGguf(std::as_bytes(std::span(data, size)));
  return 0;
}
