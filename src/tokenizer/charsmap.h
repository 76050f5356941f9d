// SentencePiece's table of character replacements: a double-array trie and the strings that its values point to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace ingot::tokenizer {

// Thread safety: const methods from any thread. No content of the table leads out of it.
class CharsMap {
 public:
  CharsMap() = default;
  static Result<CharsMap> FromBytes(std::string_view bytes);
  static Result<CharsMap> FromBase64(std::string_view base64);

  bool empty() const { return units_.empty(); }
  // What the longest prefix of `text` in the table becomes; its length in `length`. False if there is none.
  bool FindLongest(std::string_view text, size_t& length, std::string_view& replacement) const;
  // What the shortest prefix of `text` in the table becomes.
  bool FindShortest(std::string_view text, std::string_view& replacement) const;

 private:
  // Calls found(length, value) for each prefix in the table, shortest first, until it returns false.
  template <typename Found>
  void Prefixes(std::string_view text, Found found) const;
  std::string_view ReplacementAt(uint32_t value) const;

  std::vector<uint32_t> units_;
  std::string replacements_;  // each ends with a NUL
};

}  // namespace ingot::tokenizer
