// The part of the grammar that is expressions.
#pragma once

#include "chat/token_stream.h"

namespace ingot::chat {

class ExprParser {
 public:
  explicit ExprParser(TokenStream& stream) : s_(stream) {}

  ExprPtr ParseExpression(bool with_condition = true);
  // a, b, c without brackets. Ends before the end of the tag, ")" or the name `end_name`.
  struct TupleStyle {
    bool targets = false;  // names and literals only, and ns.name
    bool with_condition = true;
    bool in_brackets = false;  // may be empty
    std::string_view end_name = {};
  };
  ExprPtr ParseTuple(const TupleStyle& style);
  // What may stand to the left of "=" or of `in`; namespace_refs: ns.name too.
  ExprPtr ParseTarget(bool namespace_refs, std::string_view end_name);
  // |name(…)|name … on `operand`, which may be null; `first_inline`: the first without its "|".
  ExprPtr ParseFilters(ExprPtr operand, bool first_inline);

 private:
  ExprPtr Make(Expr::Kind kind, int line, std::vector<ExprPtr> children = {});
  ExprPtr Finish(ExprPtr expr);  // sets depth, and checks it
  ExprPtr MakeConst(Value value, int line);
  ExprPtr ParseOr();
  ExprPtr ParseAnd();
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParseUnary(bool with_filters);
  ExprPtr ParsePrimary(bool namespace_refs);
  ExprPtr ParseNameOrLiteral(bool namespace_refs);
  ExprPtr ParsePostfix(ExprPtr operand);
  ExprPtr ParseFiltersAndTests(ExprPtr operand);
  ExprPtr ParseSubscript(ExprPtr operand);
  ExprPtr ParseTest(ExprPtr operand);
  ExprPtr ParseCall(ExprPtr callee);
  CallArgs ParseCallArgs();
  void ParseCallArg(CallArgs& args);
  ExprPtr ParseList();
  ExprPtr ParseDict();
  void CheckTarget(const Expr& target) const;

  TokenStream& s_;
};

}  // namespace ingot::chat
