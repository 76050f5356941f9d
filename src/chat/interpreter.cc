// Statements.
#include "chat/interpreter.h"

#include <algorithm>
#include <utility>

#include "chat/interpreter_guards.h"

namespace ingot::chat {

using Kind = Stmt::Kind;

MarkedText Interpreter::Run(const std::vector<std::pair<std::string_view, Value>>& globals) {
  Scope global;
  for (size_t id = 0; id < tree_.names.size(); ++id) {
    for (const auto& [name, value] : globals) {
      if (tree_.names[id] == name) global.variables[static_cast<NameId>(id)] = value;
    }
  }
  scope_ = &global;
  loop_id_ = IdOf("loop");
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
      return ExecFor(stmt);
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
    case Kind::kWith:
      ExecWith(stmt);
      break;
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

Interpreter::Flow Interpreter::ExecFor(const Stmt& stmt) {
  const Value iterable = Eval(*stmt.exprs[0]);
  if (!stmt.recursive) {
    RunLoopAndElse(stmt, iterable, 0);
    return Flow::kNext;
  }
  CaptureScopes(scope_);
  RunLoopAndElse(stmt, iterable, 0);
  return Flow::kNext;
}

void Interpreter::RunLoopAndElse(const Stmt& stmt, const Value& iterable, int64_t depth0) {
  LoopState* loop = runtime_.New<LoopState>();
  loop->items = Iterate(runtime_, iterable);
  loop->depth0 = depth0;
  if (stmt.recursive) {
    loop->definition = &stmt;
    loop->scope = scope_;
  }
  if (stmt.test) {
    loop->accept = [this, &stmt, outer = scope_](const Value& item) {
      Scope* const inner = std::exchange(scope_, outer);
      bool accepted = false;
      {
        const ScopeGuard scope(*this);
        Assign(*stmt.target, item);
        accepted = Truth(Eval(*stmt.test));
      }
      scope_ = inner;
      return accepted;
    };
  }
  const bool any = RunLoop(*loop, stmt);
  loop->accept = nullptr;  // what it refers to ends here
  loop->items.clear();
  loop->next = 0;
  if (any || stmt.else_body.empty()) return;
  const ScopeGuard scope(*this);
  ExecBody(stmt.else_body);
}

bool Interpreter::RunLoop(LoopState& loop, const Stmt& stmt) {
  bool any = false;
  while (loop.Advance()) {
    runtime_.Step();
    const ScopeGuard scope(*this);
    scope_->variables[loop_id_] = static_cast<Object*>(&loop);
    Assign(*stmt.target, *loop.current);
    const Flow flow = ExecBody(stmt.body);
    if (flow == Flow::kBreak) break;
    any = any || flow == Flow::kNext;  // `continue` does not count: so it is in Jinja
  }
  return any;
}

void Interpreter::ExecWith(const Stmt& stmt) {
  Values values;
  for (const ExprPtr& expr : stmt.exprs) values.push_back(Eval(*expr));
  const ScopeGuard scope(*this);
  for (size_t i = 0; i < values.size(); ++i) Assign(*stmt.targets[i], values[i]);
  ExecBody(stmt.body);
}

Value Interpreter::MakeMacro(const Stmt& stmt) {
  CaptureScopes(scope_);
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
  const bool repeated =
      std::any_of(args.keywords.begin(), args.keywords.end(), [](const auto& each) { return each.first == "caller"; });
  if (repeated) Fail("'caller' is given twice");
  args.keywords.emplace_back("caller", caller);
  Emit(Print(runtime_, Call(callee, args))->marked);
}

std::string Macro::Repr() const {
  return definition->kind == Stmt::Kind::kCallBlock ? "<Macro anonymous>" : "<Macro '" + definition->name + "'>";
}

std::optional<Value> Macro::Attribute(Runtime& runtime, std::string_view name) {
  const Signature& signature = definition->signature;
  if (name == "name") {
    return definition->kind == Stmt::Kind::kCallBlock ? Value(None{}) : Value(TrustedStr(definition->name));
  }
  if (name == "caller") return signature.uses_caller;
  if (name == "catch_kwargs") return signature.uses_kwargs;
  if (name == "catch_varargs") return signature.uses_varargs;
  if (name != "arguments") return std::nullopt;
  Values names;
  for (const std::string& parameter : signature.parameter_names) names.emplace_back(TrustedStr(parameter));
  return runtime.MakeList(std::move(names), ListData::Kind::kTuple);
}

std::optional<Value> LoopState::Pull() {
  while (next < items.size()) {
    Value item = items[next++];
    if (accept == nullptr || accept(item)) return item;
  }
  return std::nullopt;
}

const std::optional<Value>& LoopState::Peek() {
  if (!after) after = Pull();
  return after;
}

bool LoopState::Advance() {
  std::optional<Value> item = after ? std::exchange(after, std::nullopt) : Pull();
  if (!item) return false;
  previous = std::exchange(current, std::move(item));
  ++index0;
  return true;
}

int64_t LoopState::Length() {
  if (length) return *length;
  if (accept == nullptr) {
    length = static_cast<int64_t>(items.size());
    return *length;
  }
  Values rest;
  while (std::optional<Value> item = Pull()) rest.push_back(*std::move(item));
  length = static_cast<int64_t>(rest.size()) + index0 + 1 + (after ? 1 : 0);
  items = std::move(rest);
  next = 0;
  accept = nullptr;
  return *length;
}

namespace {

LoopState& LoopOf(const Value& self) { return static_cast<LoopState&>(**self.As<Object*>()); }

constexpr MethodEntry kCycle{
    "cycle", [](Runtime&, const Value& self, const Args& args) -> Value {
      if (args.positional.empty()) Fail("no items for cycling given");
      return args.positional[static_cast<size_t>(LoopOf(self).index0) % args.positional.size()];
    }};
constexpr MethodEntry kChanged{"changed", [](Runtime& runtime, const Value& self, const Args& args) -> Value {
                                 std::optional<Values>& last = LoopOf(self).last_changed;
                                 for (const Value& value : args.positional) runtime.WorkOn(value);
                                 const bool same =
                                     last && std::equal(last->begin(), last->end(), args.positional.begin(),
                                                        args.positional.end(), EqualValues);
                                 last = args.positional;
                                 return !same;
                               }};

}  // namespace

std::optional<Value> LoopState::Attribute(Runtime&, std::string_view name) {
  if (name == "index") return index0 + 1;
  if (name == "index0") return index0;
  if (name == "first") return index0 == 0;
  if (name == "last") return !Peek().has_value();
  if (name == "length") return Length();
  if (name == "revindex") return Length() - index0;
  if (name == "revindex0") return Length() - index0 - 1;
  if (name == "depth") return depth0 + 1;
  if (name == "depth0") return depth0;
  if (name == "previtem") return index0 == 0 || !previous ? MakeUndefined("there is no previous item") : *previous;
  if (name == "nextitem") return Peek() ? *after : MakeUndefined("there is no next item");
  const MethodEntry* entry = name == "cycle" ? &kCycle : name == "changed" ? &kChanged : nullptr;
  if (entry == nullptr) return std::nullopt;
  return Value(std::make_shared<const MethodData>(static_cast<Object*>(this), entry));
}

}  // namespace ingot::chat
