#include <cstddef>
#include <cstdint>

#include "tokenizer/fuzz_common.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ingot::tokenizer::TryVocabulary(ingot::tokenizer::GgufFromBytes({reinterpret_cast<const char*>(data), size}));
  return 0;
}
