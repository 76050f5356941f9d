// What Interpreter sets for the length of a block.
#pragma once

#include <memory>
#include <utility>

#include "chat/interpreter.h"

namespace ingot::chat {

// A macro may look into the scope, and into those around it, for as long as the rendering lasts.
inline void CaptureScopes(Scope* scope) {
  for (; scope != nullptr && !scope->captured; scope = scope->parent) scope->captured = true;
}

class Interpreter::ScopeGuard {
 public:
  explicit ScopeGuard(Interpreter& interpreter) : interpreter_(interpreter), scope_(std::make_unique<Scope>()) {
    scope_->parent = interpreter.scope_;
    interpreter.scope_ = scope_.get();
  }
  ~ScopeGuard() {
    interpreter_.scope_ = scope_->parent;
    if (scope_->captured) interpreter_.captured_scopes_.push_back(std::move(scope_));
  }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Interpreter& interpreter_;
  std::unique_ptr<Scope> scope_;
};

// Guards the stack: a level of Eval or Exec takes some hundred bytes, in a debug build with sanitizers some thousand.
class Interpreter::DepthGuard {
 public:
  explicit DepthGuard(Interpreter& interpreter) : interpreter_(interpreter) {
    constexpr int kMaxDepth = 1000;
    if (++interpreter_.depth_ <= kMaxDepth) return;
    --interpreter_.depth_;
    Fail("the template recurses too deep");
  }
  ~DepthGuard() { --interpreter_.depth_; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  Interpreter& interpreter_;
};

}  // namespace ingot::chat
