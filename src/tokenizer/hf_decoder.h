// The "decoder" of tokenizer.json, reduced to what each token becomes by itself.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace ingot::tokenizer {

struct DecodePlan {
  // Applied to a token's spelling in order; `first`: it is the first token of the text.
  std::vector<std::function<std::string(const std::string& token, bool first)>> steps;
  bool byte_level = false;                  // then the spelling is turned into bytes
  bool byte_fallback = false;               // <0xXX> is a byte
  bool strips_leading_space = false;        // of the joined text
  bool strips_every_leading_space = false;  // of further tokens, while there is no text
  bool first_differs = false;               // whether some step looks at `first`

  std::string TokenText(const std::string& token, bool first) const;
};

// `json` is null where the file has no decoder: tokens are joined by spaces. kUnsupported names an unknown type.
Result<DecodePlan> ParseDecoder(const JsonView* json);
// "<0x0A>" → 10; -1 for anything else.
int ByteOfToken(std::string_view token);

}  // namespace ingot::tokenizer
