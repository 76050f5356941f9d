// Unigram language model: the segmentation of the highest probability (Viterbi).
#pragma once

#include <memory>

#include "tokenizer/model.h"

namespace ingot::tokenizer {

struct UnigramParams {
  const TokenTable* table = nullptr;  // outlives the model
  std::vector<double> scores;         // [vocab_size]; NaN for tokens that text never becomes (control, byte, unused)
  double min_score = 0;               // unknown characters score a fixed penalty below it
  bool byte_fallback = false;
  int32_t unk_id = -1;
  // SentencePiece computes in float and splits a run of unknown characters; `tokenizers` in double, and looks the run
  // up.
  bool single_precision = false;
};

// Time is linear in the piece (times the longest token).
class UnigramModel : public Model {
 public:
  explicit UnigramModel(UnigramParams params);
  void Encode(std::string_view piece, std::vector<int32_t>& ids) const override;

 private:
  struct Node {
    double score;  // of the best way from the start to here
    size_t begin;  // of the last token on it
    int32_t id;    // of that token; -2: not reached
  };
  template <typename Score>
  void Viterbi(std::string_view piece, std::vector<Node>& best) const;
  void AppendUnknown(std::string_view text, std::vector<int32_t>& ids) const;

  UnigramParams params_;
  double unk_score_;
  // A trie over bytes: (node << 8 | byte) → node. token_at_[node] is the token that ends there, -1 if none.
  boost::unordered_flat_map<uint64_t, uint32_t> edges_;
  std::vector<int32_t> token_at_;
  std::vector<int32_t> fallback_;  // [256], empty unless all are there
};

}  // namespace ingot::tokenizer
