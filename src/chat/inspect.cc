#include "chat/inspect.h"

#include <functional>
#include <set>
#include <string_view>
#include <unordered_map>

#include "chat/parser.h"

namespace ingot::chat {
namespace {

using Kind = Expr::Kind;

// Statements, whatever they are nested in.
void ForEachStmt(const Body& body, const std::function<void(const Stmt&)>& visit) {
  for (const StmtPtr& stmt : body) {
    visit(*stmt);
    for (const auto& [test, branch] : stmt->branches) ForEachStmt(branch, visit);
    ForEachStmt(stmt->body, visit);
    ForEachStmt(stmt->else_body, visit);
  }
}

bool IsText(const Expr& expr, std::string_view text) {
  const StrPtr* value = expr.kind == Kind::kConst ? expr.value.As<StrPtr>() : nullptr;
  return value != nullptr && (*value)->view() == text;
}

// Follows the member `field` of messages through variables, macro parameters and filters that keep its type.
class FieldTracker {
 public:
  FieldTracker(const SyntaxTree& tree, std::string_view field) : field_(field) {
    // A name may be given the field by way of another name: until there is no more to learn.
    size_t known = 0;
    do {
      known = names_.size();
      ForEachStmt(tree.body, [&](const Stmt& stmt) { Learn(stmt); });
      ForEachExpr(tree.body, [&](const Expr& expr) { LearnCall(expr); });
    } while (names_.size() > known);
  }

  bool Is(const Expr* expr) const {
    if (expr == nullptr) return false;
    switch (expr->kind) {
      case Kind::kName:
        return names_.contains(expr->name_id);
      case Kind::kGetAttr:
        return expr->name == field_;
      case Kind::kGetItem:
        return IsText(*expr->children[1], field_);
      case Kind::kFilter:
        return (expr->name == "default" || expr->name == "d" || expr->name == "list") && Is(expr->children[0].get());
      case Kind::kCond:
        return Is(expr->children[1].get()) || Is(expr->children[2].get());
      case Kind::kOr:
        return Is(expr->children[0].get()) || Is(expr->children[1].get());
      case Kind::kCall:  // message.get('content')
        return expr->children[0]->kind == Kind::kGetAttr && expr->children[0]->name == "get" &&
               !expr->args.positional.empty() && IsText(*expr->args.positional[0], field_);
      default:
        return false;
    }
  }

 private:
  void Learn(const Stmt& stmt) {
    if (stmt.kind == Stmt::Kind::kMacro) macros_[stmt.name_id] = &stmt;
    if (stmt.kind == Stmt::Kind::kSet && stmt.target->kind == Kind::kName && Is(stmt.exprs[0].get())) {
      names_.insert(stmt.target->name_id);
    }
  }

  void LearnCall(const Expr& expr) {
    if (expr.kind != Kind::kCall || expr.children[0]->kind != Kind::kName) return;
    const auto macro = macros_.find(expr.children[0]->name_id);
    if (macro == macros_.end()) return;
    const Signature& signature = macro->second->signature;
    for (size_t i = 0; i < expr.args.positional.size() && i < signature.parameters.size(); ++i) {
      if (Is(expr.args.positional[i].get())) names_.insert(signature.parameters[i]);
    }
    for (const auto& [name, argument] : expr.args.keywords) {
      for (size_t i = 0; i < signature.parameters.size(); ++i) {
        if (signature.parameter_names[i] == name && Is(argument.get())) names_.insert(signature.parameters[i]);
      }
    }
  }

  std::string_view field_;
  std::set<NameId> names_;
  std::unordered_map<NameId, const Stmt*> macros_;
};

TemplateTraits::Content InspectContent(const SyntaxTree& tree) {
  const FieldTracker content(tree, "content");
  bool as_list = false, asks_type = false;
  ForEachStmt(tree.body, [&](const Stmt& stmt) {
    as_list = as_list || (stmt.kind == Stmt::Kind::kFor && content.Is(stmt.exprs[0].get()));
  });
  ForEachExpr(tree.body, [&](const Expr& expr) {
    if (expr.kind == Kind::kTest && content.Is(expr.children[0].get())) {
      asks_type = asks_type || expr.name == "string" || expr.name == "mapping" || expr.name == "iterable" ||
                  expr.name == "sequence";
    }
    // content[0].text, content[0]['text']
    const bool member = expr.kind == Kind::kGetAttr || expr.kind == Kind::kGetItem;
    if (!member || expr.children[0]->kind != Kind::kGetItem) return;
    const Expr& inner = *expr.children[0];
    as_list = as_list || (content.Is(inner.children[0].get()) && inner.children[1]->value.Is<int64_t>());
  });
  if (!as_list) return TemplateTraits::Content::kText;
  return asks_type ? TemplateTraits::Content::kBoth : TemplateTraits::Content::kParts;
}

bool ArgumentsAsText(const SyntaxTree& tree) {
  const FieldTracker arguments(tree, "arguments");
  bool as_text = false, as_object = false;
  ForEachStmt(tree.body, [&](const Stmt& stmt) {
    as_object = as_object || (stmt.kind == Stmt::Kind::kFor && arguments.Is(stmt.exprs[0].get()));
    if (stmt.kind != Stmt::Kind::kOutput) return;
    for (const ExprPtr& expr : stmt.exprs) as_text = as_text || arguments.Is(expr.get());
  });
  ForEachExpr(tree.body, [&](const Expr& expr) {
    const bool joins = expr.kind == Kind::kConcat || (expr.kind == Kind::kBinary && expr.binary_op == BinaryOp::kAdd);
    for (const ExprPtr& child : expr.children) {
      if (!arguments.Is(child.get())) continue;
      as_text = as_text || joins;
      as_object = as_object || expr.kind == Kind::kTest || expr.kind == Kind::kGetAttr || expr.kind == Kind::kGetItem ||
                  (expr.kind == Kind::kFilter && expr.name != "trim" && expr.name != "string" && expr.name != "safe");
    }
  });
  return as_text && !as_object;
}

}  // namespace

TemplateTraits Inspect(const SyntaxTree& tree) { return {InspectContent(tree), ArgumentsAsText(tree)}; }

}  // namespace ingot::chat
