#include <cstddef>
#include <cstdint>

#include "tokenizer/fuzz_common.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ingot::Vocabulary vocabulary;
  vocabulary.sentencepiece_model.assign(reinterpret_cast<const char*>(data), size);
  ingot::tokenizer::TryVocabulary(vocabulary);
  return 0;
}
