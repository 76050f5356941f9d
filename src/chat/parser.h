// Tokens → syntax tree, by the grammar of Jinja 3.1 with loop controls and the `generation` tag.
#pragma once

#include <functional>
#include <string_view>

#include "chat/ast.h"
#include "chat/lexer.h"

namespace ingot::chat {

// Throws SyntaxError, also for nesting beyond what an interpreter may recurse into.
SyntaxTree Parse(std::string_view source);

// Every expression in the statements, whatever it is nested in, targets of assignments excepted.
void ForEachExpr(const Body& body, const std::function<void(const Expr&)>& visit);

}  // namespace ingot::chat
