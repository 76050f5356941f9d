// Tokens → syntax tree, by the grammar of Jinja 3.1 with loop controls and the `generation` tag.
#pragma once

#include <string_view>

#include "chat/ast.h"
#include "chat/lexer.h"

namespace ingot::chat {

// Throws SyntaxError, also for nesting beyond what an interpreter may recurse into.
SyntaxTree Parse(std::string_view source);

}  // namespace ingot::chat
