// The spelling of bytes as printable characters that byte-level vocabularies use: 'a' is "a", ' ' is "Ġ".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ingot::tokenizer {

// Every byte as the character that stands for it.
std::string BytesToSpelling(std::string_view bytes);
// Its inverse; nullopt if a character stands for no byte.
std::optional<std::string> SpellingToBytes(std::string_view spelling);

}  // namespace ingot::tokenizer
