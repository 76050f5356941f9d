// The one implementation of Tokenizer. Files of every kind are read into its parts.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/vocabulary.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/hf_decoder.h"
#include "tokenizer/model.h"
#include "tokenizer/normalize.h"
#include "tokenizer/pre_tokenize.h"
#include "tokenizer/tokenizer.h"

namespace ingot::tokenizer {

// Encoding: added tokens are found in the text; what is between them is normalized; added tokens are found in that too;
// the rest is cut by the pre-tokenizers, and each piece goes to the model. Then come `prefix` and `suffix`.
struct Pipeline {
  std::unique_ptr<TokenTable> table = std::make_unique<TokenTable>();  // on the heap: the model points to it
  AddedTokenMatcher added, added_normalized;
  Normalizers normalizers;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<Model> model;
  bool keeps_invalid_bytes = false;  // text that is not UTF-8 is encoded as its bytes

  DecodePlan decode;
  boost::unordered_flat_map<int32_t, std::string> decoded_as;  // instead of the spelling: normalized added tokens
  std::vector<bool> special;                                   // [vocab_size]

  std::vector<int32_t> prefix, suffix;  // what add_special_tokens adds
  int32_t bos_id = -1, eos_id = -1;
  std::vector<int32_t> eos_ids;
};

class PipelineTokenizer : public Tokenizer {
 public:
  explicit PipelineTokenizer(Pipeline pipeline);

  using Tokenizer::Encode;
  std::vector<int32_t> Encode(const MarkedText& text, const EncodeOptions& options) const override;
  std::string TokenBytes(int32_t id) const override { return Holds(id) ? text_[static_cast<size_t>(id)] : ""; }
  std::string FirstTokenBytes(int32_t id) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(pipeline_.table->tokens.size()); }
  bool IsSpecial(int32_t id) const override { return Holds(id) && pipeline_.special[static_cast<size_t>(id)]; }
  int32_t TokenToId(std::string_view token) const override { return pipeline_.table->Find(token); }
  std::string IdToToken(int32_t id) const override {
    return Holds(id) ? pipeline_.table->tokens[static_cast<size_t>(id)] : "";
  }
  int32_t bos_id() const override { return pipeline_.bos_id; }
  bool adds_bos() const override;
  const std::vector<int32_t>& eos_ids() const override { return pipeline_.eos_ids; }
  bool strips_leading_space() const override { return pipeline_.decode.strips_leading_space; }
  bool strips_every_leading_space() const override { return pipeline_.decode.strips_every_leading_space; }
  bool replaces_each_byte() const override { return pipeline_.decode.byte_fallback; }

 private:
  const std::string& DecodedAs(int32_t id) const;
  bool Holds(int32_t id) const { return id >= 0 && id < vocab_size(); }
  void EncodeText(std::string_view text, bool at_start, std::vector<int32_t>& ids) const;

  Pipeline pipeline_;
  std::vector<std::string> text_;  // [vocab_size] what each token becomes when decoded
};

// Registers an added token: its spelling, whether it is special, and where it is looked for. The table must hold its
// id.
void AddToken(Pipeline& pipeline, const AddedToken& token);

// What the configuration files say beyond the vocabulary: bos_id, whether BOS and EOS are added, every end token.
// After this the pipeline is complete.
Status ApplyConfig(const Vocabulary& vocabulary, Pipeline& pipeline);

// An added token without its id: content and flags, as tokenizer.json and tokenizer_config.json have them.
Result<AddedToken> ParseAddedToken(const JsonView& json);
// The added tokens that tokenizer_config.json and special_tokens_map.json name, by their ids: added_tokens_decoder,
// then those that have a name of their own (bos_token, …), as special tokens without an id (-1).
Result<std::vector<AddedToken>> ConfiguredTokens(const Vocabulary& vocabulary);

// Whether this spelling begins or ends a turn of a dialogue in some family.
bool IsTurnMarker(std::string_view spelling);

// The readers of the three forms.
Result<Pipeline> ReadTokenizerJson(const Vocabulary& vocabulary);
Result<Pipeline> ReadSentencePiece(const Vocabulary& vocabulary);
// How pieces of SentencePiece become text.
DecodePlan SentencePieceDecodePlan(bool strips_leading_space);
Result<Pipeline> ReadGgufVocabulary(const Vocabulary& vocabulary);

}  // namespace ingot::tokenizer
