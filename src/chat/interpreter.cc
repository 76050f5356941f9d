// Statements.
#include "chat/interpreter.h"

#include <algorithm>
#include <utility>

namespace ingot::chat {

using Kind = Stmt::Kind;

MarkedText Interpreter::Run(const std::vector<std::pair<std::string_view, Value>>& globals) {
  scope_ = std::make_shared<Scope>();
  for (size_t id = 0; id < tree_.names.size(); ++id) {
    for (const auto& [name, value] : globals) {
      if (tree_.names[id] == name) scope_->variables[static_cast<NameId>(id)] = value;
    }
  }
  loop_id_ = IdOf("loop");
  caller_id_ = IdOf("caller");
  MarkedText out;
  out_ = &out;
  const ScopeGuard root(*this);
  ExecBody(tree_.body);
  return out;
}

NameId Interpreter::IdOf(std::string_view name) const {
  return static_cast<NameId>(std::find(tree_.names.begin(), tree_.names.end(), name) - tree_.names.begin());
}

void Interpreter::Emit(const MarkedText& text) {
  runtime_.CheckLength(out_->text.size() + text.text.size());
  runtime_.Work(static_cast<int64_t>(text.text.size()));
  AppendMarked(*out_, text);
}

Interpreter::Flow Interpreter::ExecBody(const Body& body) {
  for (const StmtPtr& stmt : body) {
    const Flow flow = Exec(*stmt);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::Exec(const Stmt& stmt) {
  const DepthGuard depth(*this);
  runtime_.Step();
  line_ = stmt.line;
  switch (stmt.kind) {
    case Kind::kData:
      Emit(stmt.data->marked);
      break;
    case Kind::kOutput:
      for (const ExprPtr& expr : stmt.exprs) Emit(Print(runtime_, Eval(*expr))->marked);
      break;
    case Kind::kSet:
      Assign(*stmt.target, Eval(*stmt.exprs[0]));
      break;
    case Kind::kSetBlock: {
      Value text = runtime_.MakeString(Capture(stmt.body));
      Assign(*stmt.target, stmt.filter ? FilterBlock(*stmt.filter, text) : text);
      break;
    }
    case Kind::kFor:
      ExecFor(stmt);
      break;
    case Kind::kIf:
      return ExecIf(stmt);
    case Kind::kMacro:
      scope_->variables[stmt.name_id] = MakeMacro(stmt);
      break;
    case Kind::kCallBlock:
      ExecCallBlock(stmt);
      break;
    case Kind::kFilterBlock:
      Emit(Print(runtime_, FilterBlock(*stmt.filter, runtime_.MakeString(Capture(stmt.body))))->marked);
      break;
    case Kind::kScope: {
      const ScopeGuard scope(*this);
      return ExecBody(stmt.body);
    }
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecIf(const Stmt& stmt) {
  for (const auto& [test, body] : stmt.branches) {
    if (test == nullptr || Truth(Eval(*test))) return ExecBody(body);
  }
  return Flow::kNext;
}

MarkedText Interpreter::Capture(const Body& body) {
  MarkedText text;
  MarkedText* const outer = std::exchange(out_, &text);
  const ScopeGuard scope(*this);
  ExecBody(body);
  out_ = outer;
  return text;
}

void Interpreter::Assign(const Expr& target, const Value& value) {
  if (target.kind == Expr::Kind::kName) {
    scope_->variables[target.name_id] = value;
  } else if (target.kind == Expr::Kind::kNamespaceRef) {
    const Value object = EvalName(target);
    Object* const* thing = object.As<Object*>();
    auto* attributes = thing == nullptr ? nullptr : dynamic_cast<Namespace*>(*thing);
    if (attributes == nullptr) Fail("cannot assign attribute on non-namespace object");
    attributes->attributes[target.name] = value;
  } else {
    if (!IsIterable(value)) Fail(fmt::format("cannot unpack non-iterable {} object", TypeName(value)));
    const Values items = Iterate(runtime_, value);
    if (items.size() != target.children.size()) {
      Fail(fmt::format("{} values cannot be unpacked into {} names", items.size(), target.children.size()));
    }
    for (size_t i = 0; i < items.size(); ++i) Assign(*target.children[i], items[i]);
  }
}

Values Interpreter::ItemsOf(const Stmt& stmt) {
  Values items = Iterate(runtime_, Eval(*stmt.exprs[0]));
  if (stmt.test == nullptr) return items;
  std::erase_if(items, [&](const Value& item) {
    const ScopeGuard scope(*this);
    Assign(*stmt.target, item);
    return !Truth(Eval(*stmt.test));
  });
  return items;
}

void Interpreter::ExecFor(const Stmt& stmt) {
  LoopState* loop = runtime_.New<LoopState>();
  loop->items = ItemsOf(stmt);
  bool any = false;  // an iteration came to the end of the body; in Jinja `continue` does not count
  for (size_t i = 0; i < loop->items.size(); ++i) {
    runtime_.Step();
    loop->index0 = i;
    const ScopeGuard scope(*this);
    scope_->variables[loop_id_] = static_cast<Object*>(loop);
    Assign(*stmt.target, loop->items[i]);
    const Flow flow = ExecBody(stmt.body);
    if (flow == Flow::kBreak) break;
    any = any || flow == Flow::kNext;
  }
  loop->items.clear();
  if (any || stmt.else_body.empty()) return;
  const ScopeGuard scope(*this);
  ExecBody(stmt.else_body);
}

Value Interpreter::MakeMacro(const Stmt& stmt) {
  Macro* macro = runtime_.New<Macro>();
  macro->definition = &stmt;
  macro->scope = scope_;
  return static_cast<Object*>(macro);
}

void Interpreter::ExecCallBlock(const Stmt& stmt) {
  const Value caller = MakeMacro(stmt);
  const Expr& call = *stmt.exprs[0];
  const Value callee = Eval(*call.children[0]);
  Args args = EvalArgs(call.args);
  args.keywords.emplace_back("caller", caller);
  Emit(Print(runtime_, Call(callee, args))->marked);
}

std::optional<Value> LoopState::Attribute(Runtime&, std::string_view name) {
  const size_t size = items.size();
  const auto number = [](size_t value) { return Value(static_cast<int64_t>(value)); };
  if (name == "index") return number(index0 + 1);
  if (name == "index0") return number(index0);
  if (name == "first") return index0 == 0;
  if (name == "last") return index0 + 1 >= size;
  if (name == "length") return number(size);
  if (name == "revindex") return number(size - index0);
  if (name == "revindex0") return number(size - index0 - 1);
  if (name == "previtem") return index0 == 0 ? MakeUndefined("there is no previous item") : items[index0 - 1];
  if (name == "nextitem") return index0 + 1 >= size ? MakeUndefined("there is no next item") : items[index0 + 1];
  return std::nullopt;
}

}  // namespace ingot::chat
