// The syntax tree of a template. Built once, then read only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chat/runtime.h"

namespace ingot::chat {

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;
using NameId = int;  // an index into SyntaxTree::names

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
  ExprPtr star;  // *list, behind all others; null where absent
};

struct Expr {
  enum class Kind : uint8_t {
    kConst,    // value
    kName,     // name_id
    kTuple,    // children
    kList,     // children
    kDict,     // children: key, value, key, value, …
    kAnd,      // children: left, right
    kOr,       // children: left, right
    kNot,      // children: operand
    kCond,     // children: test, then, else or null
    kCompare,  // children: n + 1 operands; compare_ops: n
    kBinary,   // children: left, right; binary_op
    kNegate,   // children: operand
    kPositive,
    kConcat,        // children: the parts of a ~ b ~ c
    kGetAttr,       // children: object; name
    kGetItem,       // children: object, key
    kSlice,         // children: object, start, stop, step; null where absent
    kCall,          // children: callee; args
    kFilter,        // children: operand, null in a filter block; name, args
    kTest,          // children: operand; name, args
    kNamespaceRef,  // target of `set`: name_id.name
  };
  Kind kind = Kind::kConst;
  int line = 0;
  int depth = 1;
  NameId name_id = -1;
  BinaryOp binary_op = BinaryOp::kAdd;
  std::string name;
  FilterFunction filter = nullptr;  // kFilter: null when there is none of that name
  TestFunction test = nullptr;      // kTest: likewise
  Value value;
  std::vector<ExprPtr> children;
  std::vector<CompareOp> compare_ops;
  CallArgs args;
};

// The parameters of a macro or call block.
struct Signature {
  std::vector<NameId> parameters;
  std::vector<std::string> parameter_names;
  std::vector<ExprPtr> defaults;  // of the last ones
  bool uses_caller = false;
};

struct Stmt {
  enum class Kind : uint8_t {
    kData,         // data
    kOutput,       // exprs
    kSet,          // target, exprs[0]
    kSetBlock,     // target, filter or null, body
    kFor,          // target, exprs[0]: what is iterated over, test or null, body, else_body
    kIf,           // branches: (test or null, body)
    kMacro,        // name_id, name, signature, body
    kCallBlock,    // exprs[0]: the call, signature, body
    kFilterBlock,  // filter, body
    kScope,        // body: of `generation`, whose names are its own
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kData;
  int line = 0;
  NameId name_id = -1;
  std::string name;
  StrPtr data;
  ExprPtr target, filter, test;
  std::vector<ExprPtr> exprs;
  Body body, else_body;
  std::vector<std::pair<ExprPtr, Body>> branches;
  Signature signature;
};

struct SyntaxTree {
  std::vector<std::string> names;
  Body body;
};

}  // namespace ingot::chat
