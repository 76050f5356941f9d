// What a template does with its messages, told from its syntax tree.
#pragma once

#include "chat/ast.h"

namespace ingot::chat {

struct TemplateTraits {
  // How the template takes message.content.
  enum class Content {
    kText,   // as a string only: parts are joined before
    kParts,  // as a list of parts only: a string is wrapped into one part
    kBoth,
  } content = Content::kText;
  // tool_call.function.arguments is concatenated or printed, and never treated as an object.
  bool arguments_as_text = false;
};

TemplateTraits Inspect(const SyntaxTree& tree);

}  // namespace ingot::chat
