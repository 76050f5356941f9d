// The pre-tokenizer patterns of the well-known families, written out by hand. Each gives what its regular expression
// gives, tens of times faster; splitters_test.cc compares them with the expressions themselves.
#pragma once

#include <cstddef>
#include <string_view>

namespace ingot::tokenizer {

// The end of the match that begins at `begin`, or `begin` if none does. REQUIRES: begin < text.size()
using MatchFunction = size_t (*)(std::string_view text, size_t begin);

// The hand-written function for exactly this pattern; nullptr if there is none.
MatchFunction FindSplitter(std::string_view pattern);

// The patterns themselves, for GGUF files, which name them only.
extern const char kGpt2Pattern[];
extern const char kLlama3Pattern[];
extern const char kQwen2Pattern[];
extern const char kQwen35Pattern[];
extern const char kO200kPattern[];
extern const char kDeepSeek3NumberPattern[];
extern const char kDeepSeek3HanPattern[];
extern const char kDeepSeek3Pattern[];

}  // namespace ingot::tokenizer
