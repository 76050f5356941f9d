#include "chat/parser.h"

#include <functional>

#include "chat/expr_parser.h"

namespace ingot::chat {
namespace {

using Kind = Stmt::Kind;

// Calls `visit` for every expression in a statement, whatever it is nested in.
void VisitExprs(const Expr* expr, const std::function<void(const Expr&)>& visit) {
  if (expr == nullptr) return;
  visit(*expr);
  for (const ExprPtr& child : expr->children) VisitExprs(child.get(), visit);
  for (const ExprPtr& argument : expr->args.positional) VisitExprs(argument.get(), visit);
  for (const auto& [name, argument] : expr->args.keywords) VisitExprs(argument.get(), visit);
  VisitExprs(expr->args.star.get(), visit);
}

// Every expression in the statements, whatever it is nested in, targets of assignments excepted.
void ForEachExpr(const Body& body, const std::function<void(const Expr&)>& visit) {
  for (const StmtPtr& stmt : body) {
    for (const ExprPtr* expr : {&stmt->filter, &stmt->test}) VisitExprs(expr->get(), visit);
    for (const ExprPtr& expr : stmt->exprs) VisitExprs(expr.get(), visit);
    for (const ExprPtr& expr : stmt->signature.defaults) VisitExprs(expr.get(), visit);
    for (const auto& [test, branch] : stmt->branches) {
      VisitExprs(test.get(), visit);
      ForEachExpr(branch, visit);
    }
    ForEachExpr(stmt->body, visit);
    ForEachExpr(stmt->else_body, visit);
  }
}

class StmtParser {
 public:
  explicit StmtParser(std::string_view source) : s_(source), expr_(s_) {}

  SyntaxTree Run() {
    SyntaxTree tree;
    tree.body = ParseBody({});
    tree.names = s_.TakeNames();
    return tree;
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  static StmtPtr Make(Kind kind, int line) {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = line;
    return stmt;
  }

  // Statements up to a tag that begins with one of `ends`; that name is then the current token.
  Body ParseBody(Ends ends) {
    Body body;
    while (!s_.Is(Token::Kind::kEnd)) {
      const int line = s_.line();
      if (s_.Is(Token::Kind::kData)) {
        body.push_back(Make(Kind::kData, line));
        body.back()->data = TrustedStr(s_.Current().text);
        s_.Next();
      } else if (s_.Is(Token::Kind::kVariableBegin)) {
        s_.Next();
        body.push_back(Make(Kind::kOutput, line));
        body.back()->exprs.push_back(expr_.ParseTuple({}));
        s_.Expect(Token::Kind::kVariableEnd, "the end of the print statement");
      } else {
        s_.Expect(Token::Kind::kBlockBegin, "a tag");
        if (s_.IsNameIn(ends)) return body;
        body.push_back(ParseStatement());
        s_.Expect(Token::Kind::kBlockEnd, "the end of the statement");
      }
    }
    if (ends.size() > 0) s_.Error(fmt::format("'{}' is missing", *(ends.end() - 1)));
    return body;
  }

  // The rest of the opening tag, then the body.
  Body ParseBlock(Ends ends) {
    s_.SkipOp(":");
    s_.Expect(Token::Kind::kBlockEnd, "the end of the statement");
    return ParseBody(ends);
  }

  Body ParseBlockToEnd(std::string_view end) {
    Body body = ParseBlock({end});
    s_.Next();
    return body;
  }

  StmtPtr ParseStatement() {
    const TokenStream::Nested nested(s_);
    const int line = s_.line();
    const std::string tag = s_.ExpectName();
    if (tag == "for") return ParseFor(line);
    if (tag == "if") return ParseIf(line);
    if (tag == "set") return ParseSet(line);
    if (tag == "macro") return ParseMacro(line);
    if (tag == "call") return ParseCallBlock(line);
    if (tag == "filter") return ParseFilterBlock(line);
    if (tag == "break" || tag == "continue") {
      if (!in_loop_) s_.Error(fmt::format("'{}' outside of a loop", tag));
      return Make(tag == "break" ? Kind::kBreak : Kind::kContinue, line);
    }
    if (tag == "generation") {
      // Its names are its own, and loops around it cannot be left from it: for Hugging Face it is a call block.
      const LoopState state(*this, false);
      StmtPtr stmt = Make(Kind::kScope, line);
      stmt->body = ParseBlockToEnd("endgeneration");
      return stmt;
    }
    s_.Error(fmt::format("unknown or unsupported tag '{}'", tag));
  }

  // Sets in_loop_ for a while.
  class LoopState {
   public:
    LoopState(StmtParser& parser, bool in_loop) : parser_(parser), saved_(parser.in_loop_) {
      parser.in_loop_ = in_loop;
    }
    ~LoopState() { parser_.in_loop_ = saved_; }
    LoopState(const LoopState&) = delete;
    LoopState& operator=(const LoopState&) = delete;

   private:
    StmtParser& parser_;
    bool saved_;
  };

  StmtPtr ParseFor(int line) {
    StmtPtr stmt = Make(Kind::kFor, line);
    const size_t loop_assignments = loop_assignments_;
    stmt->target = ParseNames("in");
    if (!s_.SkipName("in")) s_.Error(fmt::format("expected 'in', got {}", s_.Described()));
    stmt->exprs.push_back(expr_.ParseTuple({.with_condition = false}));
    if (s_.SkipName("if")) stmt->test = expr_.ParseExpression();
    {
      const LoopState state(*this, true);
      stmt->body = ParseBlock({"else", "endfor"});
    }
    const bool has_else = s_.SkipName("else");
    if (!has_else) s_.Next();
    if (has_else) stmt->else_body = ParseBlockToEnd("endfor");
    if (loop_assignments_ != loop_assignments) s_.Error("'loop' cannot be assigned to in a loop");
    return stmt;
  }

  StmtPtr ParseIf(int line) {
    StmtPtr stmt = Make(Kind::kIf, line);
    bool more = true;
    while (more) {
      ExprPtr test = expr_.ParseTuple({.with_condition = false});
      Body body = ParseBlock({"elif", "else", "endif"});
      stmt->branches.emplace_back(std::move(test), std::move(body));
      more = s_.SkipName("elif");
    }
    if (s_.SkipName("else")) {
      stmt->branches.emplace_back(nullptr, ParseBlockToEnd("endif"));
    } else {
      s_.Next();
    }
    return stmt;
  }

  void NoteAssignment(const Expr& target) {
    if (target.kind == Expr::Kind::kName && target.name_id == s_.Intern("loop")) ++loop_assignments_;
    for (const ExprPtr& item : target.children) NoteAssignment(*item);
  }

  ExprPtr ParseNames(std::string_view end_name) {
    ExprPtr target = expr_.ParseTarget(false, end_name);
    NoteAssignment(*target);
    return target;
  }

  StmtPtr ParseSet(int line) {
    StmtPtr stmt = Make(Kind::kSet, line);
    stmt->target = expr_.ParseTarget(true, {});
    NoteAssignment(*stmt->target);
    if (s_.SkipOp("=")) {
      stmt->exprs.push_back(expr_.ParseTuple({}));
      return stmt;
    }
    stmt->kind = Kind::kSetBlock;
    if (s_.IsOp("|")) stmt->filter = expr_.ParseFilters(nullptr, false);
    stmt->body = ParseBlockToEnd("endset");
    return stmt;
  }

  void ParseSignature(Signature& signature) {
    s_.ExpectOp("(");
    while (!s_.IsOp(")")) {
      if (!signature.parameters.empty()) s_.ExpectOp(",");
      std::string name = s_.ExpectName();
      signature.parameters.push_back(s_.Intern(name));
      signature.parameter_names.push_back(std::move(name));
      if (s_.SkipOp("=")) {
        signature.defaults.push_back(expr_.ParseExpression());
      } else if (!signature.defaults.empty()) {
        s_.Error("a parameter without a default follows one with a default");
      }
    }
    s_.ExpectOp(")");
  }

  void ParseMacroBody(Stmt& stmt, std::string_view end) {
    const LoopState state(*this, false);
    stmt.body = ParseBlockToEnd(end);
    const NameId caller = s_.Intern("caller");
    ForEachExpr(stmt.body, [&](const Expr& expr) {
      if (expr.kind == Expr::Kind::kName && expr.name_id == caller) stmt.signature.uses_caller = true;
    });
  }

  StmtPtr ParseMacro(int line) {
    StmtPtr stmt = Make(Kind::kMacro, line);
    stmt->name = s_.ExpectName();
    stmt->name_id = s_.Intern(stmt->name);
    ParseSignature(stmt->signature);
    ParseMacroBody(*stmt, "endmacro");
    return stmt;
  }

  StmtPtr ParseCallBlock(int line) {
    StmtPtr stmt = Make(Kind::kCallBlock, line);
    if (s_.IsOp("(")) ParseSignature(stmt->signature);
    stmt->exprs.push_back(expr_.ParseExpression());
    if (stmt->exprs[0]->kind != Expr::Kind::kCall) s_.Error("expected a call");
    ParseMacroBody(*stmt, "endcall");
    return stmt;
  }

  StmtPtr ParseFilterBlock(int line) {
    StmtPtr stmt = Make(Kind::kFilterBlock, line);
    stmt->filter = expr_.ParseFilters(nullptr, true);
    stmt->body = ParseBlockToEnd("endfilter");
    return stmt;
  }

  TokenStream s_;
  ExprParser expr_;
  bool in_loop_ = false;
  size_t loop_assignments_ = 0;
};

}  // namespace

SyntaxTree Parse(std::string_view source) { return StmtParser(source).Run(); }

}  // namespace ingot::chat
