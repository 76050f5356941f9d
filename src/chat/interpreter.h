// Runs a syntax tree.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "chat/ast.h"

namespace ingot::chat {

// Variables by name. A scope lives until its block ends, or to the end of the rendering where a macro looks into it.
struct Scope {
  Scope* parent = nullptr;
  bool captured = false;
  std::unordered_map<NameId, Value> variables;
};

struct Macro : Object {
  const Stmt* definition = nullptr;  // kMacro or kCallBlock
  Scope* scope = nullptr;            // where it was defined
  std::string_view TypeName() const override { return "Macro"; }
  std::string Repr() const override;
  std::optional<Value> Attribute(Runtime& runtime, std::string_view name) override;
};

// The `loop` of a for statement. Items are tested only when they are asked for, as in Jinja.
struct LoopState : Object {
  Values items;
  size_t next = 0;                                // the first of items that was not looked at
  std::function<bool(const Value&)> accept;       // null: all are
  std::optional<Value> current, previous, after;  // after: looked at ahead of time
  int64_t index0 = -1;
  int64_t depth0 = 0;
  std::optional<int64_t> length;
  std::optional<Values> last_changed;
  const Stmt* definition = nullptr;  // of a recursive loop, which can be called
  Scope* scope = nullptr;

  bool Advance();  // to the next item; false at the end
  int64_t Length();
  std::string_view TypeName() const override { return "LoopContext"; }
  std::optional<Value> Attribute(Runtime& runtime, std::string_view name) override;

 private:
  std::optional<Value> Pull();
  const std::optional<Value>& Peek();
};

// Not thread-safe. One Run.
class Interpreter {
 public:
  Interpreter(const SyntaxTree& tree, Runtime& runtime) : tree_(tree), runtime_(runtime) {}

  // Throws Failure. `globals`: what the template finds beside its own variables.
  MarkedText Run(const std::vector<std::pair<std::string_view, Value>>& globals);
  int line() const { return line_; }  // where it is, or failed

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  class ScopeGuard;
  class DepthGuard;

  Flow ExecBody(const Body& body);
  Flow Exec(const Stmt& stmt);
  Flow ExecIf(const Stmt& stmt);
  Flow ExecFor(const Stmt& stmt);
  void ExecWith(const Stmt& stmt);
  void ExecCallBlock(const Stmt& stmt);
  // Whether one of its iterations came to the end of the body.
  bool RunLoop(LoopState& loop, const Stmt& stmt);
  void RunLoopAndElse(const Stmt& stmt, const Value& iterable, int64_t depth0);
  // What the body prints, in a scope of its own.
  MarkedText Capture(const Body& body);
  void Assign(const Expr& target, const Value& value);
  void Emit(const MarkedText& text);
  Value MakeMacro(const Stmt& stmt);

  Value Eval(const Expr& expr);
  Value EvalOptional(const ExprPtr& expr) { return expr ? Eval(*expr) : Value(None{}); }
  Value EvalName(const Expr& expr);
  Value EvalCond(const Expr& expr);
  Value EvalCompare(const Expr& expr);
  Value EvalConcat(const Expr& expr);
  Value EvalDict(const Expr& expr);
  Values EvalItems(const Expr& expr);
  Value ApplyFilter(const Expr& expr, const Value& operand);
  // A chain of filters whose first has no operand of its own.
  Value FilterBlock(const Expr& expr, Value text);
  Value EvalTest(const Expr& expr);
  Args EvalArgs(const CallArgs& args);
  Value Call(const Value& callee, const Args& args);
  Value CallMacro(Macro& macro, const Args& args);
  void BindMacro(const Signature& signature, std::string_view name, const Args& args);
  Value CallLoop(LoopState& loop, const Args& args);

  NameId IdOf(std::string_view name) const;  // a number of its own where the template does not have the name

  const SyntaxTree& tree_;
  Runtime& runtime_;
  NameId loop_id_ = -1;
  int line_ = 1;
  int depth_ = 0;       // of Exec and Eval on the stack
  int call_depth_ = 0;  // of macros and recursive loops
  Scope* scope_ = nullptr;
  MarkedText* out_ = nullptr;
  std::vector<std::unique_ptr<Scope>> captured_scopes_;
};

}  // namespace ingot::chat
