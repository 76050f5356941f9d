// Expressions and calls.
#include <algorithm>
#include <utility>

#include "chat/interpreter.h"
#include "chat/interpreter_guards.h"

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
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
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
  if (args.double_star) {
    const Value named = Eval(*args.double_star);
    const DictPtr* dict = named.As<DictPtr>();
    if (dict == nullptr) Fail(fmt::format("argument after ** must be a mapping, not {}", TypeName(named)));
    runtime_.WorkOnItems((*dict)->entries.size() * (1 + values.keywords.size()));
    for (const auto& [key, value] : (*dict)->entries) {
      const StrPtr* name = key.As<StrPtr>();
      if (name == nullptr) Fail("keywords must be strings");
      const bool repeated = std::any_of(args.keywords.begin(), args.keywords.end(),
                                        [&](const auto& each) { return each.first == (*name)->view(); });
      if (repeated) Fail(fmt::format("the argument '{}' is given twice", (*name)->view()));
      values.keywords.emplace_back((*name)->marked.text, value);
    }
  }
  return values;
}

Value Interpreter::Call(const Value& callee, const Args& args) {
  runtime_.WorkOnItems(args.positional.size() + args.keywords.size());
  if (const MethodPtr* method = callee.As<MethodPtr>()) return (*method)->entry->call(runtime_, (*method)->self, args);
  if (const Builtin* builtin = callee.As<Builtin>()) return CallBuiltin(runtime_, *builtin, args);
  if (const Undefined* undefined = callee.As<Undefined>()) Fail(*undefined->why);
  if (Object* const* object = callee.As<Object*>()) {
    if (auto* macro = dynamic_cast<Macro*>(*object)) return CallMacro(*macro, args);
    if (auto* loop = dynamic_cast<LoopState*>(*object)) return CallLoop(*loop, args);
    if (auto* joiner = dynamic_cast<Joiner*>(*object)) {
      BoundArgs("joiner", args, {});
      return std::exchange(joiner->used, true) ? joiner->separator : Value(TrustedStr(""));
    }
  }
  Fail(fmt::format("'{}' object is not callable", TypeName(callee)));
}

namespace {

// One more call on the stack, for as long as it lives.
class CallDepth {
 public:
  CallDepth(int& depth, int limit) : depth_(depth) {
    if (++depth_ <= limit) return;
    --depth_;
    Fail(fmt::format("macros or loops recurse more than {} deep", limit));
  }
  ~CallDepth() { --depth_; }
  CallDepth(const CallDepth&) = delete;
  CallDepth& operator=(const CallDepth&) = delete;

 private:
  int& depth_;
};

}  // namespace

Value Interpreter::CallMacro(Macro& macro, const Args& args) {
  const CallDepth call(call_depth_, runtime_.limits().max_recursion);
  Scope* const caller_scope = std::exchange(scope_, macro.scope);
  const Stmt& definition = *macro.definition;
  MarkedText text;
  MarkedText* const outer = std::exchange(out_, &text);
  {
    const ScopeGuard scope(*this);
    BindMacro(definition.signature, definition.name, args);
    ExecBody(definition.body);
  }
  out_ = outer;
  scope_ = caller_scope;
  return runtime_.MakeString(std::move(text));
}

// Parameters, `varargs`, `kwargs` and `caller` become variables of the macro's scope.
void Interpreter::BindMacro(const Signature& signature, std::string_view name, const Args& args) {
  const size_t num_parameters = signature.parameters.size();
  std::vector<const Value*> given(num_parameters, nullptr);
  const size_t num_positional = std::min(num_parameters, args.positional.size());
  for (size_t i = 0; i < num_positional; ++i) given[i] = &args.positional[i];
  DictData kwargs;
  Value caller = MakeUndefined("No caller defined");
  for (const auto& [keyword, value] : args.keywords) {
    const auto found = std::find(signature.parameter_names.begin() + static_cast<ptrdiff_t>(num_positional),
                                 signature.parameter_names.end(), keyword);
    if (found != signature.parameter_names.end()) {
      given[static_cast<size_t>(found - signature.parameter_names.begin())] = &value;
    } else if (keyword == "caller" && signature.uses_caller) {
      caller = value.IsNone() ? caller : value;
    } else if (signature.uses_kwargs) {
      kwargs.Set(TrustedStr(keyword), value);
    } else {
      Fail(fmt::format("macro '{}' takes no keyword argument '{}'", name, keyword));
    }
  }
  if (args.positional.size() > num_parameters && !signature.uses_varargs) {
    Fail(fmt::format("macro '{}' takes not more than {} argument(s)", name, num_parameters));
  }
  auto& variables = scope_->variables;
  if (signature.uses_caller) variables[IdOf("caller")] = caller;
  if (signature.uses_kwargs) variables[IdOf("kwargs")] = runtime_.MakeDict(std::move(kwargs));
  if (signature.uses_varargs) {
    Values rest(args.positional.begin() + static_cast<ptrdiff_t>(num_positional), args.positional.end());
    variables[IdOf("varargs")] = runtime_.MakeList(std::move(rest), ListData::Kind::kTuple);
  }
  for (size_t i = 0; i < num_parameters; ++i) {
    variables[signature.parameters[i]] =
        given[i] != nullptr
            ? *given[i]
            : MakeUndefined(fmt::format("parameter '{}' was not provided", signature.parameter_names[i]));
  }
  const size_t first_default = num_parameters - signature.defaults.size();
  for (size_t i = first_default; i < num_parameters; ++i) {
    if (given[i] == nullptr) variables[signature.parameters[i]] = Eval(*signature.defaults[i - first_default]);
  }
}

Value Interpreter::CallLoop(LoopState& loop, const Args& args) {
  const BoundArgs bound("loop", args, {"iterable"}, 1);
  if (loop.definition == nullptr) Fail("the loop must have the 'recursive' marker to be called recursively");
  const CallDepth call(call_depth_, runtime_.limits().max_recursion);
  Scope* const caller_scope = std::exchange(scope_, loop.scope);
  MarkedText text;
  MarkedText* const outer = std::exchange(out_, &text);
  RunLoopAndElse(*loop.definition, bound.At(0), loop.depth0 + 1);
  out_ = outer;
  scope_ = caller_scope;
  return runtime_.MakeString(std::move(text));
}

}  // namespace ingot::chat
