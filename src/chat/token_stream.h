// The tokens of a template under a parser's cursor, and what both halves of the parser share.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "chat/ast.h"
#include "chat/lexer.h"

namespace ingot::chat {

constexpr int kMaxExprDepth = 200;
constexpr int kMaxNesting = 100;  // of brackets, tags and chained conditions

class TokenStream {
 public:
  explicit TokenStream(std::string_view source) : tokens_(Tokenize(source)) {}

  const Token& Current() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  int line() const { return Current().line; }
  bool Is(Token::Kind kind) const { return Current().kind == kind; }
  bool IsOp(std::string_view op) const { return Is(Token::Kind::kOperator) && Current().text == op; }
  bool IsName(std::string_view name) const { return Is(Token::Kind::kName) && Current().text == name; }
  bool IsNameIn(std::initializer_list<std::string_view> names) const {
    return std::any_of(names.begin(), names.end(), [&](std::string_view name) { return IsName(name); });
  }
  void Next() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  bool SkipOp(std::string_view op) { return IsOp(op) && (Next(), true); }
  bool SkipName(std::string_view name) { return IsName(name) && (Next(), true); }
  void ExpectOp(std::string_view op) {
    if (!SkipOp(op)) Error(fmt::format("expected '{}', got {}", op, Described()));
  }
  void Expect(Token::Kind kind, std::string_view what) {
    if (!Is(kind)) Error(fmt::format("expected {}, got {}", what, Described()));
    Next();
  }
  std::string ExpectName() {
    if (!Is(Token::Kind::kName)) Error(fmt::format("expected a name, got {}", Described()));
    std::string name = Current().text;
    Next();
    return name;
  }
  std::string Described() const {
    switch (Current().kind) {
      case Token::Kind::kEnd:
        return "the end of the template";
      case Token::Kind::kBlockEnd:
        return "the end of the statement";
      case Token::Kind::kVariableEnd:
        return "the end of the print statement";
      case Token::Kind::kData:
        return "text";
      default:
        return fmt::format("'{}'", Current().text);
    }
  }
  [[noreturn]] void Error(std::string message) const { throw SyntaxError{line(), std::move(message)}; }

  // One level deeper, for as long as it lives.
  class Nested {
   public:
    explicit Nested(TokenStream& stream) : stream_(stream) {
      if (++stream_.nesting_ > kMaxNesting) stream_.Error(fmt::format("nested more than {} deep", kMaxNesting));
    }
    ~Nested() { --stream_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    TokenStream& stream_;
  };

  NameId Intern(const std::string& name) {
    const auto [found, added] = ids_.emplace(name, static_cast<NameId>(names_.size()));
    if (added) names_.push_back(name);
    return found->second;
  }
  std::vector<std::string> TakeNames() { return std::move(names_); }

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  std::vector<std::string> names_;
  std::unordered_map<std::string, NameId> ids_;
};

}  // namespace ingot::chat
