#include "chat/lexer.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "chat/string_ops.h"
#include "text/utf8.h"

namespace ingot::chat {
namespace {

// Every kind of line end becomes "\n"; one at the very end is dropped.
std::string NormalizeNewlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
      continue;
    }
    text += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

bool IsNameStart(unsigned char c) { return std::isalpha(c) || c == '_' || c >= 0x80; }
bool IsNameChar(unsigned char c) { return std::isalnum(c) || c == '_' || c >= 0x80; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(NormalizeNewlines(source)) {}

  std::vector<Token> Run() {
    while (pos_ < text_.size()) LexData();
    tokens_.push_back({Token::Kind::kEnd, line_, {}});
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return std::string_view(text_).substr(pos_); }
  bool At(std::string_view expected) const { return Rest().starts_with(expected); }
  [[noreturn]] void Error(std::string message) const { throw SyntaxError{line_, std::move(message)}; }

  void Advance(size_t count) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<ptrdiff_t>(pos_),
                                         text_.begin() + static_cast<ptrdiff_t>(pos_ + count), '\n'));
    pos_ += count;
  }

  size_t SpaceAt(size_t pos) const {  // bytes of white space from pos on
    const size_t begin = pos;
    while (pos < text_.size()) {
      const Decoded decoded = DecodeUtf8(text_, pos);
      if (!IsSpace(decoded.code_point)) break;
      pos += decoded.length;
    }
    return pos - begin;
  }

  void Push(Token::Kind kind, std::string text = {}) { tokens_.push_back({kind, line_, std::move(text)}); }

  // `data` before a tag, without what the tag's sign or lstrip_blocks takes from its end.
  std::string_view TrimmedBefore(std::string_view data, char sign, bool is_variable) const {
    if (sign == '-') {
      const StrPtr stripped = Strip(UntrustedStr(data), nullptr, {.left = false});
      return data.substr(0, stripped->view().size());
    }
    if (sign == '+' || is_variable) return data;
    const size_t newline = data.rfind('\n');
    const size_t line_begin = newline == data.npos ? 0 : newline + 1;
    if (line_begin == 0 && !line_starting_) return data;
    const std::string_view last_line = data.substr(line_begin);
    return Strip(UntrustedStr(last_line), nullptr, {})->view().empty() ? data.substr(0, line_begin) : data;
  }

  // The sign after a tag's opening ("{%-" → '-'), 0 if none.
  char SignAt(size_t pos) const {
    return pos < text_.size() && (text_[pos] == '-' || text_[pos] == '+') ? text_[pos] : 0;
  }

  // The length of `word` with white space around it and "%}" or "-%}" or "+%}" behind it, at pos; 0 if that is not
  // there.
  size_t WordTagAt(size_t pos, std::string_view word, size_t& closing) const {
    size_t at = pos + SpaceAt(pos);
    if (!std::string_view(text_).substr(at).starts_with(word)) return 0;
    at += word.size();
    at += SpaceAt(at);
    closing = at;
    const size_t end =
        std::string_view(text_).substr(at, 1) == "-" || std::string_view(text_).substr(at, 1) == "+" ? at + 1 : at;
    return std::string_view(text_).substr(end).starts_with("%}") ? end + 2 - pos : 0;
  }

  void PushData(std::string_view data) {
    if (!data.empty()) Push(Token::Kind::kData, std::string(data));
  }

  void LexData() {
    size_t tag = pos_;
    for (;; ++tag) {
      tag = text_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= text_.size()) {
        PushData(Rest());
        Advance(Rest().size());
        return;
      }
      const char next = text_[tag + 1];
      if (next == '%' || next == '{' || next == '#') break;
    }
    const char kind = text_[tag + 1];
    const char sign = SignAt(tag + 2);
    PushData(TrimmedBefore(std::string_view(text_).substr(pos_, tag - pos_), sign, kind == '{'));
    line_starting_ = false;
    Advance(tag - pos_ + 2 + (sign != 0));
    if (kind == '#') return LexComment();
    if (kind == '%') {
      size_t closing = 0;
      const size_t raw = WordTagAt(pos_, "raw", closing);
      if (raw != 0 && text_[closing] != '+') return LexRaw(raw, text_[closing] == '-');
    }
    Push(kind == '%' ? Token::Kind::kBlockBegin : Token::Kind::kVariableBegin);
    LexTag(kind == '%');
  }

  // After a block or comment: "-" takes all white space, nothing takes one newline, "+" nothing.
  void AfterTag(char sign, size_t length) {
    const size_t begin = pos_;
    Advance(length);
    if (sign == '-') Advance(SpaceAt(pos_));
    if (sign == 0 && At("\n")) Advance(1);
    line_starting_ = pos_ > begin && text_[pos_ - 1] == '\n';
  }

  void LexComment() {
    const size_t end = text_.find("#}", pos_);
    if (end == std::string::npos) Error("a comment is not closed");
    const bool has_sign = end > pos_ && (text_[end - 1] == '-' || text_[end - 1] == '+');
    const char sign = has_sign ? text_[end - 1] : 0;
    Advance(end - pos_ - has_sign);
    AfterTag(sign, 2 + has_sign);
  }

  void LexRaw(size_t length, bool strip) {
    Advance(length);
    if (strip) Advance(SpaceAt(pos_));
    line_starting_ = pos_ > 0 && text_[pos_ - 1] == '\n';
    for (size_t tag = text_.find("{%", pos_); tag != std::string::npos; tag = text_.find("{%", tag + 1)) {
      const char sign = SignAt(tag + 2);
      const size_t word = tag + 2 + (sign != 0);
      size_t closing = 0;
      const size_t word_length = WordTagAt(word, "endraw", closing);
      if (word_length == 0) continue;
      PushData(TrimmedBefore(std::string_view(text_).substr(pos_, tag - pos_), sign, false));
      Advance(closing - pos_);
      const char end_sign = SignAt(pos_);
      return AfterTag(end_sign, 2 + (end_sign != 0));
    }
    Error("a raw block is not closed");
  }

  // The end of the tag at pos_: takes it and returns true.
  bool TagEnd(bool is_block) {
    if (!open_brackets_.empty()) return false;
    const char sign = SignAt(pos_);
    const std::string_view end = is_block ? "%}" : "}}";
    const bool signed_end = sign != 0 && Rest().substr(1).starts_with(end) && (is_block || sign == '-');
    if (!signed_end && !At(end)) return false;
    Push(is_block ? Token::Kind::kBlockEnd : Token::Kind::kVariableEnd);
    if (is_block) {
      AfterTag(signed_end ? sign : 0, signed_end ? 3 : 2);
    } else {
      Advance(signed_end ? 3 : 2);
      if (signed_end) Advance(SpaceAt(pos_));
      line_starting_ = text_[pos_ - 1] == '\n';
    }
    return true;
  }

  void LexTag(bool is_block) {
    while (true) {
      Advance(SpaceAt(pos_));
      if (TagEnd(is_block)) return;
      if (pos_ >= text_.size()) Error("a tag is not closed");
      const auto c = static_cast<unsigned char>(text_[pos_]);
      if (std::isdigit(c)) {
        LexNumber();
      } else if (IsNameStart(c)) {
        size_t end = pos_;
        while (end < text_.size() && IsNameChar(static_cast<unsigned char>(text_[end]))) ++end;
        Push(Token::Kind::kName, text_.substr(pos_, end - pos_));
        pos_ = end;
      } else if (c == '"' || c == '\'') {
        LexString();
      } else {
        LexOperator();
      }
    }
  }

  size_t DigitsEnd(size_t at) const {
    while (at < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at]))) ++at;
    return at;
  }

  // Behind a dot come digits of an attribute, as in list.0.1, never a float.
  size_t FloatEnd() const {  // pos_ if no float begins here
    if (pos_ > 0 && text_[pos_ - 1] == '.') return pos_;
    const size_t integral = DigitsEnd(pos_);
    size_t end = integral;
    if (end < text_.size() && text_[end] == '.' && DigitsEnd(end + 1) > end + 1) end = DigitsEnd(end + 1);
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      const size_t digits = SignAt(end + 1) != 0 ? end + 2 : end + 1;
      if (DigitsEnd(digits) > digits) end = DigitsEnd(digits);
    }
    return end > integral ? end : pos_;
  }

  void LexNumber() {
    const size_t float_end = FloatEnd();
    const size_t end = float_end > pos_ ? float_end : DigitsEnd(pos_);
    const std::string digits = text_.substr(pos_, end - pos_);
    Token token{float_end > pos_ ? Token::Kind::kFloat : Token::Kind::kInteger, line_, digits};
    const std::optional<double> real = ParseFloat(digits);
    const std::optional<int64_t> integer = ParseInt(digits);
    if (float_end > pos_ ? !real : !integer) Error(fmt::format("the number {} does not fit 64 bits", digits));
    token.real = real.value_or(0);
    token.integer = integer.value_or(0);
    tokens_.push_back(std::move(token));
    pos_ = end;
  }

  void LexString() {
    const char quote = text_[pos_];
    size_t end = pos_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) Error("a string is not closed");
    Push(Token::Kind::kString, Unescape(std::string_view(text_).substr(pos_ + 1, end - pos_ - 1)));
    Advance(end + 1 - pos_);
  }

  // Python's escapes; an unknown one stays as it is.
  std::string Unescape(std::string_view raw) const {
    std::string out;
    for (size_t i = 0; i < raw.size();) {
      if (raw[i] != '\\') {
        out += raw[i++];
        continue;
      }
      const char c = raw[i + 1];
      constexpr std::string_view kPlain = "\\'\"abfnrtv", kMeant = "\\'\"\a\b\f\n\r\t\v";
      if (const size_t at = kPlain.find(c); at != kPlain.npos) {
        out += kMeant[at];
        i += 2;
      } else if (c == '\n') {
        i += 2;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t length = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        AppendCode(out, raw.substr(i + 2, length), length);
        i += 2 + length;
      } else {
        out += '\\';
        ++i;
      }
    }
    return out;
  }

  void AppendCode(std::string& out, std::string_view digits, size_t length) const {
    uint32_t code = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    const bool whole = digits.size() == length && result.ec == std::errc() && result.ptr == digits.data() + length;
    if (!whole || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) Error("an escape is not a character's");
    AppendUtf8(out, code);
  }

  void LexOperator() {
    constexpr std::string_view kOperators[] = {"//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]",
                                               "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators), [&](auto op) { return At(op); });
    if (found == std::end(kOperators)) Error(fmt::format("unexpected character '{}'", Rest().substr(0, 1)));
    const std::string_view op = *found;
    if (op == "(" || op == "[" || op == "{") open_brackets_ += op;
    if (op == ")" || op == "]" || op == "}") {
      const char opening = op == ")" ? '(' : op == "]" ? '[' : '{';
      if (!open_brackets_.ends_with(opening)) Error(fmt::format("unexpected '{}'", op));
      open_brackets_.pop_back();
    }
    Push(Token::Kind::kOperator, std::string(op));
    pos_ += op.size();
  }

  std::string text_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::string open_brackets_;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace ingot::chat
