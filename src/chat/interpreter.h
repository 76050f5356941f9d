// Runs a syntax tree.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "chat/ast.h"

namespace ingot::chat {

// Variables by name. Lives until its block ends, or to the end of the rendering where a macro looks into it.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::unordered_map<NameId, Value> variables;
};
using ScopePtr = std::shared_ptr<Scope>;

struct Macro : Object {
  const Stmt* definition = nullptr;  // kMacro or kCallBlock
  ScopePtr scope;                    // where it was defined
  std::string_view TypeName() const override { return "Macro"; }
  std::optional<Value> Attribute(Runtime&, std::string_view) override { return std::nullopt; }
};

// The `loop` of a for statement.
struct LoopState : Object {
  Values items;
  size_t index0 = 0;
  std::string_view TypeName() const override { return "LoopContext"; }
  std::optional<Value> Attribute(Runtime& runtime, std::string_view name) override;
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
  class DepthGuard;
  // A new scope in `parent`, for as long as it lives.
  class ScopeGuard {
   public:
    ScopeGuard(Interpreter& interpreter, ScopePtr parent)
        : interpreter_(interpreter), outer_(std::exchange(interpreter.scope_, std::make_shared<Scope>())) {
      interpreter.scope_->parent = std::move(parent);
    }
    explicit ScopeGuard(Interpreter& interpreter) : ScopeGuard(interpreter, interpreter.scope_) {}
    ~ScopeGuard() { interpreter_.scope_ = std::move(outer_); }
    ScopeGuard(const ScopeGuard&) = delete;
    ScopeGuard& operator=(const ScopeGuard&) = delete;

   private:
    Interpreter& interpreter_;
    ScopePtr outer_;
  };

  Flow ExecBody(const Body& body);
  Flow Exec(const Stmt& stmt);
  Flow ExecIf(const Stmt& stmt);
  void ExecFor(const Stmt& stmt);
  void ExecCallBlock(const Stmt& stmt);
  // The items that the loop goes through: those for which its `if` holds.
  Values ItemsOf(const Stmt& stmt);
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
  Value CallMacro(const Macro& macro, const Args& args);
  void BindMacro(const Signature& signature, std::string_view name, const Args& args);

  NameId IdOf(std::string_view name) const;  // a number of its own where the template does not have the name

  const SyntaxTree& tree_;
  Runtime& runtime_;
  NameId loop_id_ = -1, caller_id_ = -1;
  int line_ = 1;
  int depth_ = 0;       // of Exec and Eval on the stack
  int call_depth_ = 0;  // of macros
  ScopePtr scope_;
  MarkedText* out_ = nullptr;
};

// Guards the stack: a level of Eval or Exec takes some hundred bytes, in a debug build with sanitizers some thousand.
class Interpreter::DepthGuard {
 public:
  DepthGuard(int& depth, int limit) : depth_(depth) {
    if (++depth_ <= limit) return;
    --depth_;
    Fail(fmt::format("the template recurses more than {} deep", limit));
  }
  explicit DepthGuard(Interpreter& interpreter) : DepthGuard(interpreter.depth_, kMaxDepth) {}
  ~DepthGuard() { --depth_; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  static constexpr int kMaxDepth = 1000;
  int& depth_;
};

}  // namespace ingot::chat
