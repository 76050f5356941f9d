// Text ↔ token ids, for every tokenizer kind that checkpoints carry.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/vocabulary.h"
#include "text/marked_text.h"

namespace ingot::tokenizer {

struct EncodeOptions {
  bool add_special_tokens =
      true;  // what the post-processor adds: BOS, EOS. BOS is not added where the text begins with it
};

// Thread safety: const methods from any thread at once.
class Tokenizer {
 public:
  // Which of the vocabulary's forms is read: tokenizer_json, else sentencepiece_model, else gguf.
  static Result<std::unique_ptr<Tokenizer>> Create(const Vocabulary& vocabulary);
  virtual ~Tokenizer() = default;

  // Special (added) tokens are matched in the trusted spans alone; elsewhere their text is ordinary text.
  // Never fails: bytes that are not UTF-8 are encoded as bytes where the kind can, else as U+FFFD.
  virtual std::vector<int32_t> Encode(const MarkedText& text, const EncodeOptions& options) const = 0;
  // All of `text` trusted: what Hugging Face's `encode` gives.
  std::vector<int32_t> Encode(std::string text, const EncodeOptions& options = {}) const;

  // What one id stands for, as bytes that may be half a character; "" for ids outside the vocabulary.
  virtual std::string TokenBytes(int32_t id) const = 0;
  // Whole text, as Hugging Face's `decode` gives it (clean_up_tokenization_spaces off). Invalid UTF-8 becomes U+FFFD.
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  virtual int32_t vocab_size() const = 0;                       // ids are in [0, vocab_size)
  virtual bool IsSpecial(int32_t id) const = 0;                 // skipped by skip_special_tokens
  virtual int32_t TokenToId(std::string_view token) const = 0;  // the vocabulary's spelling; -1 if absent
  virtual std::string IdToToken(int32_t id) const = 0;          // the vocabulary's spelling; "" if absent
  virtual int32_t bos_id() const = 0;                           // -1 if none
  virtual bool adds_bos() const = 0;                            // whether Encode with special tokens puts it in front
  // Every id that ends a generation: config, generation_config, tokenizer (eos, <|im_end|>, <|eot_id|>, <end_of_turn>
  // …), GGUF. Sorted.
  virtual const std::vector<int32_t>& eos_ids() const = 0;
  // Whether the decoded text loses one leading space (SentencePiece's); used by the decoders.
  virtual bool strips_leading_space() const = 0;
  // Whether further tokens too lose a leading space, as long as there is no text before them.
  virtual bool strips_every_leading_space() const { return false; }
  // What `id` stands for where it is the first of the ids that are decoded; most kinds make no difference.
  virtual std::string FirstTokenBytes(int32_t id) const { return TokenBytes(id); }
  // Whether decoding replaces every invalid byte by a U+FFFD of its own (byte fallback), or every broken character.
  virtual bool replaces_each_byte() const { return false; }
};

// Decodes a growing sequence of ids. The pieces, joined, equal Decode of all the ids; a piece never ends amid a UTF-8
// character that later ids may complete.
class IncrementalDecoder {
 public:
  IncrementalDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}
  // The text that `id` completes; often one token's, sometimes "".
  std::string Push(int32_t id);
  // What is still held back, with U+FFFD for an unfinished character.
  std::string Finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  bool first_token_ = true;  // no id was decoded yet
  bool at_start_ = true;     // no text was decoded yet
  std::string held_;         // bytes of an unfinished character, at most 3
};

}  // namespace ingot::tokenizer
