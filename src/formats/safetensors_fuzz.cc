#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/fuzz_reads.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ingot::formats::ReadAllOfSafetensors(std::as_bytes(std::span(data, size)));
  return 0;
}
