// The names that GGUF files have for pre-tokenizers (tokenizer.ggml.pre).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ingot::tokenizer {

inline constexpr std::string_view kDigitPattern = R"(\p{N})";  // every digit by itself

// What a name stands for: the patterns one after the other, as in the tokenizer.json it was made from.
struct GgufPre {
  std::string_view names;  // separated by spaces, the most usual first
  std::vector<std::string_view> patterns;
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;
};

// nullptr for a name that is not known.
const GgufPre* FindGgufPre(std::string_view name);
// The most usual name of each, for messages.
std::string KnownGgufPres();
// The name for these patterns; "" if there is none.
std::string GgufPreName(const std::vector<std::string>& patterns, bool nfc, bool ignore_merges);

}  // namespace ingot::tokenizer
