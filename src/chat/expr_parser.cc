#include "chat/expr_parser.h"

namespace ingot::chat {

using Kind = Expr::Kind;

ExprPtr ExprParser::Finish(ExprPtr expr) {
  int depth = 0;
  const auto add = [&](const ExprPtr& child) {
    if (child) depth = std::max(depth, child->depth);
  };
  for (const ExprPtr& child : expr->children) add(child);
  for (const ExprPtr& argument : expr->args.positional) add(argument);
  for (const auto& [name, argument] : expr->args.keywords) add(argument);
  add(expr->args.star);
  expr->depth = depth + 1;
  if (expr->depth > kMaxExprDepth) s_.Error(fmt::format("an expression is nested more than {} deep", kMaxExprDepth));
  return expr;
}

ExprPtr ExprParser::Make(Kind kind, int line, std::vector<ExprPtr> children) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  expr->children = std::move(children);
  return Finish(std::move(expr));
}

ExprPtr ExprParser::MakeConst(Value value, int line) {
  ExprPtr expr = Make(Kind::kConst, line);
  expr->value = std::move(value);
  return expr;
}

namespace {
std::vector<ExprPtr> List(ExprPtr a) {
  std::vector<ExprPtr> list;
  list.push_back(std::move(a));
  return list;
}
std::vector<ExprPtr> List(ExprPtr a, ExprPtr b) {
  std::vector<ExprPtr> list = List(std::move(a));
  list.push_back(std::move(b));
  return list;
}
}  // namespace

ExprPtr ExprParser::ParseExpression(bool with_condition) {
  const TokenStream::Nested nested(s_);
  if (!with_condition) return ParseOr();
  const int line = s_.line();
  ExprPtr value = ParseOr();
  while (s_.SkipName("if")) {
    ExprPtr test = ParseOr();
    std::vector<ExprPtr> children = List(std::move(test), std::move(value));
    children.push_back(s_.SkipName("else") ? ParseExpression() : nullptr);
    value = Make(Kind::kCond, line, std::move(children));
  }
  return value;
}

ExprPtr ExprParser::ParseOr() {
  const int line = s_.line();
  ExprPtr left = ParseAnd();
  while (s_.SkipName("or")) {
    ExprPtr right = ParseAnd();
    left = Make(Kind::kOr, line, List(std::move(left), std::move(right)));
  }
  return left;
}

ExprPtr ExprParser::ParseAnd() {
  const int line = s_.line();
  ExprPtr left = ParseNot();
  while (s_.SkipName("and")) {
    ExprPtr right = ParseNot();
    left = Make(Kind::kAnd, line, List(std::move(left), std::move(right)));
  }
  return left;
}

ExprPtr ExprParser::ParseNot() {
  const int line = s_.line();
  if (!s_.SkipName("not")) return ParseCompare();
  const TokenStream::Nested nested(s_);
  return Make(Kind::kNot, line, List(ParseNot()));
}

ExprPtr ExprParser::ParseCompare() {
  struct Spelling {
    std::string_view text;
    CompareOp op;
  };
  constexpr Spelling kSpellings[] = {{"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
                                     {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  const int line = s_.line();
  std::vector<ExprPtr> operands = List(ParseSum());
  std::vector<CompareOp> ops;
  while (true) {
    const auto* found = std::find_if(std::begin(kSpellings), std::end(kSpellings),
                                     [&](const auto& each) { return s_.IsOp(each.text); });
    const Token& ahead = s_.Ahead();
    if (found != std::end(kSpellings)) {
      s_.Next();
      ops.push_back(found->op);
    } else if (s_.SkipName("in")) {
      ops.push_back(CompareOp::kIn);
    } else if (s_.IsName("not") && ahead.kind == Token::Kind::kName && ahead.text == "in") {
      s_.Next();
      s_.Next();
      ops.push_back(CompareOp::kNotIn);
    } else {
      break;
    }
    operands.push_back(ParseSum());
  }
  if (ops.empty()) return std::move(operands[0]);
  ExprPtr expr = Make(Kind::kCompare, line, std::move(operands));
  expr->compare_ops = std::move(ops);
  return expr;
}

ExprPtr ExprParser::ParseSum() {
  const int line = s_.line();
  ExprPtr left = ParseConcat();
  while (s_.IsOp("+") || s_.IsOp("-")) {
    const BinaryOp op = s_.IsOp("+") ? BinaryOp::kAdd : BinaryOp::kSub;
    s_.Next();
    ExprPtr right = ParseConcat();
    left = Make(Kind::kBinary, line, List(std::move(left), std::move(right)));
    left->binary_op = op;
  }
  return left;
}

ExprPtr ExprParser::ParseConcat() {
  const int line = s_.line();
  std::vector<ExprPtr> parts = List(ParseProduct());
  while (s_.SkipOp("~")) parts.push_back(ParseProduct());
  if (parts.size() == 1) return std::move(parts[0]);
  return Make(Kind::kConcat, line, std::move(parts));
}

ExprPtr ExprParser::ParseProduct() {
  const int line = s_.line();
  ExprPtr left = ParseUnary(true);
  while (s_.IsOp("*") || s_.IsOp("/") || s_.IsOp("//") || s_.IsOp("%")) {
    const BinaryOp op = s_.IsOp("*")    ? BinaryOp::kMul
                        : s_.IsOp("/")  ? BinaryOp::kDiv
                        : s_.IsOp("//") ? BinaryOp::kFloorDiv
                                        : BinaryOp::kMod;
    s_.Next();
    ExprPtr right = ParseUnary(true);
    left = Make(Kind::kBinary, line, List(std::move(left), std::move(right)));
    left->binary_op = op;
  }
  return left;
}

ExprPtr ExprParser::ParseUnary(bool with_filters) {
  const int line = s_.line();
  ExprPtr expr;
  if (s_.IsOp("-") || s_.IsOp("+")) {
    const TokenStream::Nested nested(s_);
    const Kind kind = s_.IsOp("-") ? Kind::kNegate : Kind::kPositive;
    s_.Next();
    expr = Make(kind, line, List(ParseUnary(false)));
  } else {
    expr = ParsePrimary(false);
  }
  expr = ParsePostfix(std::move(expr));
  return with_filters ? ParseFiltersAndTests(std::move(expr)) : std::move(expr);
}

ExprPtr ExprParser::ParseNameOrLiteral(bool namespace_refs) {
  const int line = s_.line();
  const std::string name = s_.ExpectName();
  if (name == "true" || name == "True") return MakeConst(true, line);
  if (name == "false" || name == "False") return MakeConst(false, line);
  if (name == "none" || name == "None") return MakeConst(None{}, line);
  ExprPtr expr = Make(Kind::kName, line);
  expr->name_id = s_.Intern(name);
  if (namespace_refs && s_.SkipOp(".")) {
    expr->kind = Kind::kNamespaceRef;
    expr->name = s_.ExpectName();
  }
  return expr;
}

ExprPtr ExprParser::ParsePrimary(bool namespace_refs) {
  const int line = s_.line();
  const Token& token = s_.Current();
  switch (token.kind) {
    case Token::Kind::kName:
      return ParseNameOrLiteral(namespace_refs);
    case Token::Kind::kString: {
      std::string text;
      for (; s_.Is(Token::Kind::kString); s_.Next()) text += s_.Current().text;
      return MakeConst(TrustedStr(text), line);
    }
    case Token::Kind::kInteger: {
      const int64_t number = token.integer;
      s_.Next();
      return MakeConst(number, line);
    }
    case Token::Kind::kFloat: {
      const double number = token.real;
      s_.Next();
      return MakeConst(number, line);
    }
    default:
      break;
  }
  if (s_.IsOp("[")) return ParseList();
  if (s_.IsOp("{")) return ParseDict();
  if (s_.SkipOp("(")) {
    const TokenStream::Nested nested(s_);
    ExprPtr expr = ParseTuple({.in_brackets = true});
    s_.ExpectOp(")");
    return expr;
  }
  s_.Error(fmt::format("unexpected {}", s_.Described()));
}

ExprPtr ExprParser::ParseTuple(const TupleStyle& style) {
  const int line = s_.line();
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) s_.ExpectOp(",");
    if (s_.Is(Token::Kind::kVariableEnd) || s_.Is(Token::Kind::kBlockEnd) || s_.IsOp(")")) break;
    if (!style.end_name.empty() && s_.IsName(style.end_name)) break;
    items.push_back(style.targets ? ParsePrimary(true) : ParseExpression(style.with_condition));
    if (!s_.IsOp(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (!is_tuple && !style.in_brackets) s_.Error(fmt::format("expected an expression, got {}", s_.Described()));
  return Make(Kind::kTuple, line, std::move(items));
}

void ExprParser::CheckTarget(const Expr& target) const {
  if (target.kind == Kind::kName || target.kind == Kind::kNamespaceRef) return;
  if (target.kind != Kind::kTuple) throw SyntaxError{target.line, "this cannot be assigned to"};
  for (const ExprPtr& item : target.children) CheckTarget(*item);
}

ExprPtr ExprParser::ParseTarget(bool namespace_refs, std::string_view end_name) {
  ExprPtr target = ParseTuple({.targets = true, .end_name = end_name});
  CheckTarget(*target);
  const auto is_ref = [](const ExprPtr& item) { return item->kind == Kind::kNamespaceRef; };
  const bool has_ref = is_ref(target) || std::any_of(target->children.begin(), target->children.end(), is_ref);
  if (has_ref && !namespace_refs) s_.Error("an attribute cannot be assigned to here");
  return target;
}

ExprPtr ExprParser::ParseList() {
  const TokenStream::Nested nested(s_);
  const int line = s_.line();
  s_.ExpectOp("[");
  std::vector<ExprPtr> items;
  while (!s_.IsOp("]")) {
    if (!items.empty()) s_.ExpectOp(",");
    if (s_.IsOp("]")) break;
    items.push_back(ParseExpression());
  }
  s_.ExpectOp("]");
  return Make(Kind::kList, line, std::move(items));
}

ExprPtr ExprParser::ParseDict() {
  const TokenStream::Nested nested(s_);
  const int line = s_.line();
  s_.ExpectOp("{");
  std::vector<ExprPtr> items;
  while (!s_.IsOp("}")) {
    if (!items.empty()) s_.ExpectOp(",");
    if (s_.IsOp("}")) break;
    items.push_back(ParseExpression());
    s_.ExpectOp(":");
    items.push_back(ParseExpression());
  }
  s_.ExpectOp("}");
  return Make(Kind::kDict, line, std::move(items));
}

ExprPtr ExprParser::ParsePostfix(ExprPtr operand) {
  while (true) {
    if (s_.IsOp(".") || s_.IsOp("[")) {
      operand = ParseSubscript(std::move(operand));
    } else if (s_.IsOp("(")) {
      operand = ParseCall(std::move(operand));
    } else {
      return operand;
    }
  }
}

ExprPtr ExprParser::ParseFiltersAndTests(ExprPtr operand) {
  while (true) {
    if (s_.IsOp("|")) {
      operand = ParseFilters(std::move(operand), false);
    } else if (s_.IsName("is")) {
      operand = ParseTest(std::move(operand));
    } else if (s_.IsOp("(")) {
      operand = ParseCall(std::move(operand));
    } else {
      return operand;
    }
  }
}

ExprPtr ExprParser::ParseSubscript(ExprPtr operand) {
  const int line = s_.line();
  if (s_.SkipOp(".")) {
    if (s_.Is(Token::Kind::kInteger)) return Make(Kind::kGetItem, line, List(std::move(operand), ParsePrimary(false)));
    ExprPtr expr = Make(Kind::kGetAttr, line, List(std::move(operand)));
    expr->name = s_.ExpectName();
    return expr;
  }
  s_.ExpectOp("[");
  const auto bound = [&]() -> ExprPtr { return s_.IsOp(":") || s_.IsOp("]") ? nullptr : ParseExpression(); };
  ExprPtr first = bound();
  if (!s_.IsOp(":")) {
    if (first == nullptr) s_.Error(fmt::format("expected a subscript, got {}", s_.Described()));
    s_.ExpectOp("]");
    return Make(Kind::kGetItem, line, List(std::move(operand), std::move(first)));
  }
  s_.ExpectOp(":");
  std::vector<ExprPtr> children = List(std::move(operand), std::move(first));
  children.push_back(bound());
  children.push_back(s_.SkipOp(":") ? bound() : nullptr);
  s_.ExpectOp("]");
  return Make(Kind::kSlice, line, std::move(children));
}

void ExprParser::ParseCallArg(CallArgs& args) {
  if (args.star) s_.Error("*list is the last argument");
  if (s_.SkipOp("*")) {
    args.star = ParseExpression();
  } else if (s_.Is(Token::Kind::kName) && s_.Ahead().kind == Token::Kind::kOperator && s_.Ahead().text == "=") {
    std::string name = s_.ExpectName();
    s_.Next();
    const bool repeated =
        std::any_of(args.keywords.begin(), args.keywords.end(), [&](const auto& each) { return each.first == name; });
    if (repeated) s_.Error(fmt::format("the argument '{}' is given twice", name));
    args.keywords.emplace_back(std::move(name), ParseExpression());
  } else {
    if (!args.keywords.empty()) s_.Error("arguments by position come before those by name");
    args.positional.push_back(ParseExpression());
  }
}

CallArgs ExprParser::ParseCallArgs() {
  const TokenStream::Nested nested(s_);
  s_.ExpectOp("(");
  CallArgs args;
  bool first = true;
  while (!s_.IsOp(")")) {
    if (!first) s_.ExpectOp(",");
    if (s_.IsOp(")") && !first) break;
    first = false;
    ParseCallArg(args);
  }
  s_.ExpectOp(")");
  return args;
}

ExprPtr ExprParser::ParseCall(ExprPtr callee) {
  ExprPtr expr = Make(Kind::kCall, s_.line(), List(std::move(callee)));
  expr->args = ParseCallArgs();
  return Finish(std::move(expr));
}

ExprPtr ExprParser::ParseFilters(ExprPtr operand, bool first_inline) {
  while (first_inline || s_.IsOp("|")) {
    if (!first_inline) s_.ExpectOp("|");
    first_inline = false;
    ExprPtr expr = Make(Kind::kFilter, s_.line(), List(std::move(operand)));
    expr->name = s_.ExpectName();
    expr->filter = FindFilter(expr->name);
    if (s_.IsOp("(")) expr->args = ParseCallArgs();
    operand = Finish(std::move(expr));
  }
  return operand;
}

ExprPtr ExprParser::ParseTest(ExprPtr operand) {
  const int line = s_.line();
  s_.Next();  // is
  const bool negated = s_.SkipName("not");
  ExprPtr expr = Make(Kind::kTest, line, List(std::move(operand)));
  expr->name = s_.ExpectName();
  expr->test = FindTest(expr->name);
  const bool literal = s_.Is(Token::Kind::kName) || s_.Is(Token::Kind::kString) || s_.Is(Token::Kind::kInteger) ||
                       s_.Is(Token::Kind::kFloat) || s_.IsOp("[") || s_.IsOp("{");
  if (s_.IsOp("(")) {
    expr->args = ParseCallArgs();
  } else if (literal && !s_.IsNameIn({"else", "or", "and"})) {
    if (s_.IsName("is")) s_.Error("tests cannot be chained with 'is'");
    expr->args.positional.push_back(ParsePostfix(ParsePrimary(false)));
  }
  expr = Finish(std::move(expr));
  return negated ? Make(Kind::kNot, line, List(std::move(expr))) : std::move(expr);
}

}  // namespace ingot::chat
