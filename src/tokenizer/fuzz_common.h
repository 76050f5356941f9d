// What the fuzz targets and the test of damaged files do with a vocabulary.
#pragma once

#include <string>
#include <string_view>

#include "base/check.h"
#include "base/vocabulary.h"
#include "tokenizer/tokenizer.h"

namespace ingot::tokenizer {

// Loads it; where that works, encodes and decodes with it, and checks what must hold for any tokenizer.
inline void TryVocabulary(const Vocabulary& vocabulary) {
  const auto tokenizer = Tokenizer::Create(vocabulary);
  if (!tokenizer) return;
  const Tokenizer& t = **tokenizer;
  for (const std::string text : {"Hello, it's 12345  abc word\n\n x\u0301 é你😀 <s></s><|im_end|> \xFF", "", " ",
                                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
    for (const bool trusted : {true, false}) {
      const auto ids = t.Encode(trusted ? MarkedText::Trusted(text) : MarkedText::Untrusted(text), {});
      IncrementalDecoder decoder(t, true);
      std::string pieces;
      for (const int32_t id : ids) {
        INGOT_CHECK(id >= 0 && id < t.vocab_size());
        pieces += decoder.Push(id);
      }
      pieces += decoder.Finish();
      INGOT_CHECK(pieces == t.Decode(ids));
    }
  }
  for (const int32_t id : t.eos_ids()) INGOT_CHECK(id >= 0 && id < t.vocab_size());
  INGOT_CHECK(t.bos_id() < t.vocab_size());
}

// A vocabulary whose fields are cut from `bytes`.
inline Vocabulary GgufFromBytes(std::string_view bytes) {
  const auto byte = [&]() -> uint8_t {
    if (bytes.empty()) return 0;
    const auto value = static_cast<uint8_t>(bytes[0]);
    bytes.remove_prefix(1);
    return value;
  };
  static constexpr const char* kPre[] = {"",       "gpt-2",       "llama-bpe", "qwen2",
                                         "smollm", "deepseek-v3", "gpt-4o",    "klingon"};
  Vocabulary vocabulary;
  GgufVocabulary& gguf = vocabulary.gguf.emplace();
  gguf.model = byte() % 2 == 0 ? "gpt2" : "llama";
  gguf.pre = kPre[byte() % 8];
  const uint8_t flags = byte();
  if (flags & 1) gguf.bos_id = byte();
  if (flags & 2) gguf.eos_id = static_cast<int64_t>(byte()) - 128;
  if (flags & 4) gguf.unk_id = byte();
  if (flags & 8) gguf.add_bos = true;
  if (flags & 16) gguf.add_space_prefix = (flags & 32) != 0;
  while (!bytes.empty()) {
    const size_t length = std::min<size_t>(byte() % 8, bytes.size());
    gguf.tokens.emplace_back(bytes.substr(0, length));
    bytes.remove_prefix(length);
    const uint8_t kind = byte();
    if (flags & 64) gguf.token_types.push_back(kind % 8);
    gguf.scores.push_back(-static_cast<float>(kind));
    if (gguf.tokens.size() > 1 && kind & 1)
      gguf.merges.push_back(gguf.tokens[kind % gguf.tokens.size()] + " " + gguf.tokens.back());
  }
  return vocabulary;
}

}  // namespace ingot::tokenizer
