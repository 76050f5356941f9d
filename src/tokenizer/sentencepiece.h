// SentencePiece's own algorithms, which tokenizer.model files and GGUF vocabularies of the "llama" kind need.
#pragma once

#include <memory>

#include "tokenizer/charsmap.h"
#include "tokenizer/model.h"
#include "tokenizer/pre_tokenize.h"
#include "tokenizer/sentencepiece_model.h"

namespace ingot::tokenizer {

// Finds the longest of some literals at a place.
class PrefixMatcher {
 public:
  void Add(std::string_view literal);
  // Its length, 0 if none begins here.
  size_t Match(std::string_view text) const;

 private:
  boost::unordered_flat_map<uint64_t, uint32_t> edges_;  // node << 8 | byte → node
  std::vector<bool> ends_ = {false};                     // by node
};

struct SpacingParams {
  CharsMap charsmap;
  PrefixMatcher user_defined;  // left as they are
  bool add_dummy_prefix = true;
  bool dummy_prefix_at_start_only = false;  // else before every part of the text between special tokens
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;
};

// Character replacements, spaces as "▁", and one in front. The piece is the whole text.
class SentencePieceNormalizer : public PreTokenizer {
 public:
  explicit SentencePieceNormalizer(SpacingParams params) : params_(std::move(params)) {}
  void Split(std::string_view text, bool at_start, PieceSink sink) const override;

 private:
  // What the prefix of `text` becomes, and how many bytes it has.
  std::string_view NormalizePrefix(std::string_view text, size_t& length) const;
  SpacingParams params_;
};

struct SentencePieceBpeParams {
  const TokenTable* table = nullptr;  // outlives the model
  std::vector<float> scores;          // [vocab_size]
  std::vector<PieceType> types;       // [vocab_size]
  bool byte_fallback = false;
  int32_t unk_id = -1;
};

// Merges the pair whose concatenation is the piece of the highest score.
// Time is linear in the text but for a logarithm (and times the longest piece).
class SentencePieceBpe : public Model {
 public:
  explicit SentencePieceBpe(SentencePieceBpeParams params);
  void Encode(std::string_view piece, std::vector<int32_t>& ids) const override;

 private:
  struct Symbol {
    int32_t prev, next;  // -1 at the ends
    size_t begin, size;  // in the text; size 0: merged into its left neighbour
    bool frozen;         // user-defined: never merged
  };
  // Where the merge that made an unused piece cut it.
  using Cuts = boost::unordered_flat_map<std::string_view, size_t>;
  int32_t FindPlain(std::string_view text) const;
  void Symbols(std::string_view piece, std::vector<Symbol>& symbols) const;
  void MergeAll(std::string_view piece, std::vector<Symbol>& symbols, Cuts& cuts) const;
  // Unused pieces are taken apart again.
  void Append(std::string_view text, const Cuts& cuts, bool& after_unknown, std::vector<int32_t>& ids) const;

  SentencePieceBpeParams params_;
  PrefixMatcher user_defined_;
  size_t max_piece_bytes_ = 0;
  std::vector<int32_t> fallback_;  // [256] or empty
};

}  // namespace ingot::tokenizer
