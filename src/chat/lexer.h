// Template source → tokens, as Jinja does it with trim_blocks and lstrip_blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chat/value.h"

namespace ingot::chat {

struct Token {
  enum class Kind : uint8_t {
    kData,           // text
    kBlockBegin,     // {%
    kBlockEnd,       // %}
    kVariableBegin,  // {{
    kVariableEnd,    // }}
    kName,           // text
    kString,         // text, unescaped
    kInteger,        // integer
    kFloat,          // real
    kOperator,       // text
    kEnd,
  };
  Kind kind = Kind::kEnd;
  int line = 1;
  std::string text;
  int64_t integer = 0;
  double real = 0;
};

// Thrown by lexer and parser.
struct SyntaxError {
  int line;
  std::string message;
};

std::vector<Token> Tokenize(std::string_view source);

}  // namespace ingot::chat
