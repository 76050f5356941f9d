// Byte pair encoding: merges the adjacent pair of the lowest rank until there is none.
#pragma once

#include <array>
#include <memory>

#include "base/status.h"
#include "tokenizer/model.h"

namespace ingot::tokenizer {

struct BpeParams {
  const TokenTable* table = nullptr;  // outlives the model
  // By rank: the parts as spelled in the table. The product is their concatenation.
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<bool>
      excluded;  // [vocab_size] or empty: tokens that text never becomes (special ones, and those added to the model)
  bool byte_level = false;     // pieces are bytes, spelled in the table as printable characters
  bool byte_fallback = false;  // a character without token becomes <0xXX> tokens
  bool fuse_unk = false;
  bool ignore_merges = false;  // a piece that is a token is that token
  int32_t unk_id = -1;
};

// Time is linear in the piece but for a logarithm. Short words are remembered per thread.
class BpeModel : public Model {
 public:
  static Result<std::unique_ptr<BpeModel>> Create(BpeParams params);
  void Encode(std::string_view piece, std::vector<int32_t>& ids) const override;

 private:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  struct Symbol {
    int32_t id;          // -1: merged into its left neighbour
    int32_t prev, next;  // -1 at the ends
  };
  explicit BpeModel(BpeParams params);
  Status AddMerges(const std::vector<std::pair<std::string, std::string>>& merges);
  void AddBytes();

  const Merge* FindMerge(int32_t left, int32_t right) const {
    const auto it =
        merges_.find(static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right));
    return it == merges_.end() ? nullptr : &it->second;
  }
  int32_t FindPlain(std::string_view token) const {
    const int32_t id = params_.table->Find(token);
    return id >= 0 && !params_.excluded.empty() && params_.excluded[static_cast<size_t>(id)] ? -1 : id;
  }
  void InitialSymbols(std::string_view piece, std::vector<int32_t>& symbols) const;
  bool FallBackToBytes(std::string_view character, std::vector<int32_t>& symbols) const;
  void MergeShort(std::vector<int32_t>& symbols) const;
  void MergeLong(std::vector<int32_t>& symbols) const;

  BpeParams params_;
  uint64_t serial_;                                    // tells the models apart in the threads' caches
  boost::unordered_flat_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::array<std::vector<int32_t>, 256> of_byte_;      // byte_level: the symbols a byte begins as; empty: unknown
  std::array<int32_t, 256> fallback_;                  // <0xXX>, -1 where absent
  std::vector<std::string> byte_spellings_;  // byte_level and ignore_merges: the tokens as bytes, what whole_ views
  TokenIds whole_;
};

}  // namespace ingot::tokenizer
