// Expressions and calls.
#include <algorithm>
#include <utility>

#include "chat/interpreter.h"

namespace ingot::chat {

using Kind = Expr::Kind;

Value Interpreter::Eval(const Expr& expr) {
  const DepthGuard depth(*this);
  runtime_.Step();
  line_ = expr.line;
  const auto child = [&](size_t i) { return Eval(*expr.children[i]); };
  switch (expr.kind) {
    case Kind::kConst:
      return expr.value;
    case Kind::kName:
    case Kind::kNamespaceRef:
      return EvalName(expr);
    case Kind::kTuple:
      return runtime_.MakeList(EvalItems(expr), ListData::Kind::kTuple);
    case Kind::kList:
      return runtime_.MakeList(EvalItems(expr));
    case Kind::kDict:
      return EvalDict(expr);
    case Kind::kAnd:
    case Kind::kOr: {
      Value left = child(0);
      return Truth(left) == (expr.kind == Kind::kOr) ? left : child(1);
    }
    case Kind::kNot:
      return !Truth(child(0));
    case Kind::kCond:
      return EvalCond(expr);
    case Kind::kCompare:
      return EvalCompare(expr);
    case Kind::kBinary: {
      const Value left = child(0);
      return Binary(runtime_, expr.binary_op, left, child(1));
    }
    case Kind::kNegate:
      return Negate(runtime_, child(0));
    case Kind::kPositive:
      return Positive(child(0));
    case Kind::kConcat:
      return EvalConcat(expr);
    case Kind::kGetAttr:
      return GetAttr(runtime_, child(0), expr.name);
    case Kind::kGetItem: {
      const Value object = child(0);
      return GetItem(runtime_, object, child(1));
    }
    case Kind::kSlice: {
      const Value object = child(0), start = EvalOptional(expr.children[1]), stop = EvalOptional(expr.children[2]);
      return GetSlice(runtime_, object, start, stop, EvalOptional(expr.children[3]));
    }
    case Kind::kCall: {
      const Value callee = child(0);
      return Call(callee, EvalArgs(expr.args));
    }
    case Kind::kFilter:
      return ApplyFilter(expr, child(0));
    case Kind::kTest:
      return EvalTest(expr);
  }
  return {};
}

Value Interpreter::EvalName(const Expr& expr) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    const auto found = scope->variables.find(expr.name_id);
    if (found != scope->variables.end()) return found->second;
  }
  return MakeUndefined(fmt::format("'{}' is undefined", tree_.names[static_cast<size_t>(expr.name_id)]));
}

Value Interpreter::EvalCond(const Expr& expr) {
  if (Truth(Eval(*expr.children[0]))) return Eval(*expr.children[1]);
  if (expr.children[2]) return Eval(*expr.children[2]);
  return MakeUndefined("the inline if-expression evaluated to false and no else section was defined.");
}

Value Interpreter::EvalCompare(const Expr& expr) {
  Value left = Eval(*expr.children[0]);
  for (size_t i = 0; i < expr.compare_ops.size(); ++i) {
    Value right = Eval(*expr.children[i + 1]);
    if (!Compare(runtime_, expr.compare_ops[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::EvalConcat(const Expr& expr) {
  MarkedText out;
  for (const Value& part : EvalItems(expr)) {
    const StrPtr text = Print(runtime_, part);
    runtime_.CheckLength(out.text.size() + text->marked.text.size());
    AppendMarked(out, text->marked);
  }
  return runtime_.MakeString(std::move(out));
}

Value Interpreter::EvalDict(const Expr& expr) {
  DictData dict;
  for (size_t i = 0; i < expr.children.size(); i += 2) {
    Value key = Eval(*expr.children[i]);
    runtime_.WorkOn(key);
    dict.Set(std::move(key), Eval(*expr.children[i + 1]));
  }
  return runtime_.MakeDict(std::move(dict));
}

Values Interpreter::EvalItems(const Expr& expr) {
  Values items;
  for (const ExprPtr& child : expr.children) items.push_back(Eval(*child));
  return items;
}

Value Interpreter::ApplyFilter(const Expr& expr, const Value& operand) {
  if (expr.filter == nullptr) Fail(fmt::format("no filter is named '{}'", expr.name));
  return expr.filter(runtime_, operand, EvalArgs(expr.args));
}

Value Interpreter::FilterBlock(const Expr& expr, Value text) {
  const DepthGuard depth(*this);
  if (expr.children[0] != nullptr) text = FilterBlock(*expr.children[0], std::move(text));
  return ApplyFilter(expr, text);
}

Value Interpreter::EvalTest(const Expr& expr) {
  const Value operand = Eval(*expr.children[0]);
  if (expr.test == nullptr) Fail(fmt::format("no test is named '{}'", expr.name));
  return expr.test(runtime_, operand, EvalArgs(expr.args));
}

Args Interpreter::EvalArgs(const CallArgs& args) {
  Args values;
  for (const ExprPtr& expr : args.positional) values.positional.push_back(Eval(*expr));
  for (const auto& [name, expr] : args.keywords) values.keywords.emplace_back(name, Eval(*expr));
  if (args.star) {
    for (Value& item : Iterate(runtime_, Eval(*args.star))) values.positional.push_back(std::move(item));
  }
  return values;
}

Value Interpreter::Call(const Value& callee, const Args& args) {
  runtime_.WorkOnItems(args.positional.size() + args.keywords.size());
  if (const MethodPtr* method = callee.As<MethodPtr>()) return (*method)->entry->call(runtime_, (*method)->self, args);
  if (const Builtin* builtin = callee.As<Builtin>()) return CallBuiltin(runtime_, *builtin, args);
  if (const Undefined* undefined = callee.As<Undefined>()) Fail(*undefined->why);
  if (Object* const* object = callee.As<Object*>()) {
    if (const auto* macro = dynamic_cast<Macro*>(*object)) return CallMacro(*macro, args);
  }
  Fail(fmt::format("'{}' object is not callable", TypeName(callee)));
}

Value Interpreter::CallMacro(const Macro& macro, const Args& args) {
  const DepthGuard call(call_depth_, runtime_.limits().max_recursion);
  const Stmt& definition = *macro.definition;
  MarkedText text;
  MarkedText* const outer = std::exchange(out_, &text);
  {
    const ScopeGuard scope(*this, macro.scope);
    BindMacro(definition.signature, definition.name, args);
    ExecBody(definition.body);
  }
  out_ = outer;
  return runtime_.MakeString(std::move(text));
}

// Parameters and `caller` become variables of the macro's scope.
void Interpreter::BindMacro(const Signature& signature, std::string_view name, const Args& args) {
  const std::vector<std::string>& names = signature.parameter_names;
  if (args.positional.size() > names.size()) {
    Fail(fmt::format("macro '{}' takes not more than {} argument(s)", name, names.size()));
  }
  std::vector<const Value*> given(names.size(), nullptr);
  for (size_t i = 0; i < args.positional.size(); ++i) given[i] = &args.positional[i];
  for (const auto& [keyword, value] : args.keywords) {
    const auto at = static_cast<size_t>(std::find(names.begin(), names.end(), keyword) - names.begin());
    if (at < names.size() && given[at] == nullptr) {
      given[at] = &value;
    } else if (keyword == "caller" && signature.uses_caller) {
      scope_->variables[caller_id_] = value;
    } else {
      Fail(fmt::format("macro '{}' takes no keyword argument '{}'", name, keyword));
    }
  }
  for (size_t i = 0; i < names.size(); ++i) {
    scope_->variables[signature.parameters[i]] =
        given[i] != nullptr ? *given[i] : MakeUndefined(fmt::format("parameter '{}' was not provided", names[i]));
  }
  const size_t first_default = names.size() - signature.defaults.size();
  for (size_t i = first_default; i < names.size(); ++i) {
    if (given[i] == nullptr) scope_->variables[signature.parameters[i]] = Eval(*signature.defaults[i - first_default]);
  }
}

}  // namespace ingot::chat
