// What turns a pre-tokenized piece of text into ids.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::tokenizer {

// Ids of spellings. The views point into strings that their owner keeps.
using TokenIds = boost::unordered_flat_map<std::string_view, int32_t>;

inline int32_t FindToken(const TokenIds& ids, std::string_view token) {
  const auto it = ids.find(token);
  return it == ids.end() ? -1 : it->second;
}

// Spellings by id; an id without a token has "". Not copyable: `ids` points into `tokens`.
struct TokenTable {
  std::vector<std::string> tokens;  // [vocab_size]
  TokenIds ids;

  TokenTable() = default;
  explicit TokenTable(std::vector<std::string> spellings) : tokens(std::move(spellings)) {
    ids.reserve(tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!tokens[i].empty()) ids.try_emplace(tokens[i], static_cast<int32_t>(i));
    }
  }
  TokenTable(const TokenTable&) = delete;
  TokenTable& operator=(const TokenTable&) = delete;
  int32_t Find(std::string_view token) const { return FindToken(ids, token); }
};

// Thread safety: const methods from any thread.
class Model {
 public:
  virtual ~Model() = default;
  // Appends the ids of `piece`. Never fails: what has no token becomes the unknown token, or nothing where there is
  // none.
  virtual void Encode(std::string_view piece, std::vector<int32_t>& ids) const = 0;
};

}  // namespace ingot::tokenizer
