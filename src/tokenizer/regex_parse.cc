// Oniguruma's dialect taken apart for regex.cc.
#include <algorithm>
#include <map>
#include <optional>

#include "text/unicode_tables.h"
#include "text/utf8.h"
#include "tokenizer/regex.h"

namespace ingot::tokenizer {
namespace {

constexpr int kMaxDepth = 50;
constexpr int kMaxWraps = 1000;
constexpr uint32_t kMaxCodePoint = 0x10FFFF;

CodePointSet Union(CodePointSet a, const CodePointSet& b) {
  a.insert(a.end(), b.begin(), b.end());
  return Normalized(std::move(a));
}

// The case variants of every member. (The long s and the Kelvin sign are written out: their lower case has another.)
CodePointSet WithBothCases(const CodePointSet& set) {
  const auto contains = [&](uint32_t c) {
    const auto it =
        std::upper_bound(set.begin(), set.end(), c, [](uint32_t x, const auto& range) { return x < range.first; });
    return it != set.begin() && c <= std::prev(it)->last;
  };
  CodePointSet out = set;
  const auto pair = [&](uint32_t a, uint32_t b) {
    if (contains(a)) out.push_back({b, b});
    if (contains(b)) out.push_back({a, a});
  };
  for (size_t i = 0; i < kLowerCaseRowsCount; ++i) {
    const LowerCaseRow& row = kLowerCaseRows[i];
    for (uint32_t c = row.first; c <= row.last; c += row.step) pair(c, c + static_cast<uint32_t>(row.delta));
  }
  pair('s', 0x17F);
  pair('S', 0x17F);
  pair('K', 0x212A);
  return Normalized(std::move(out));
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern) {}

  Result<ParsedPattern> Run() {
    if (!IsValidUtf8(pattern_)) return InvalidArgument("regular expression is not UTF-8");
    SetIndex({{'\n', '\n'}});
    while (at_ < pattern_.size()) INGOT_RETURN_IF_ERROR(Element());
    if (!groups_.empty()) return Unknown("a group without its end");
    return ParsedPattern{std::move(out_), std::move(sets_)};
  }

 private:
  Error Unknown(std::string_view what) const {
    return Unsupported("regular expression \"{}\": {} at byte {}", pattern_, what, at_);
  }
  char Peek(size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool Take(std::string_view text) {
    if (pattern_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }
  uint32_t TakeCodePoint() {
    const auto [code_point, length] = DecodeUtf8(pattern_.data() + at_, pattern_.data() + pattern_.size());
    at_ += length;
    return code_point;
  }

  Status Element() {
    switch (Peek()) {
      case '\\':
        return Escape();
      case '[': {
        BeginAtom();
        ++at_;
        bool negated = false;
        CodePointSet set;
        INGOT_RETURN_IF_ERROR(Class(0, negated, set));
        AppendSet(std::move(set), negated);
        return {};
      }
      case '(':
        return OpenGroup();
      case ')':
        if (groups_.empty()) return Unknown("unmatched )");
        atom_ = groups_.back().begin;
        any_case_ = groups_.back().any_case;
        groups_.pop_back();
        out_ += Peek();
        ++at_;
        return {};
      case '*':
      case '+':
      case '?':
        return Quantifier(std::string(1, pattern_[at_++]), true);
      case '{':
        return Interval();
      case '|':
        atom_.reset();
        [[fallthrough]];
      case '^':
      case '$':
        out_ += pattern_[at_++];
        return {};
      case '.':
        BeginAtom();
        out_ += pattern_[at_++];
        return {};
      default: {
        BeginAtom();
        const uint32_t code_point = TakeCodePoint();
        AppendSet({{code_point, code_point}}, false);
        return {};
      }
    }
  }

  void BeginAtom() { atom_ = out_.size(); }

  size_t SetIndex(CodePointSet set) {
    const auto [it, inserted] = set_index_.try_emplace(std::move(set), sets_.size());
    if (inserted) sets_.push_back(it->first);
    return it->second;
  }

  void AppendSet(CodePointSet set, bool negated) {
    if (any_case_) set = WithBothCases(set);
    out_ += fmt::format("\1{}\2", SetIndex(negated ? Complement(set) : std::move(set)));
  }

  Status OpenGroup() {
    if (Peek(1) == '*') return Unknown("(*");
    if (groups_.size() >= kMaxDepth) return Unknown("groups too deep");
    groups_.push_back({out_.size(), any_case_});
    atom_.reset();
    ++at_;
    if (!Take("?")) {
      out_ += '(';
      return {};
    }
    for (const std::string_view kind : {":", "=", "!", ">", "<=", "<!"}) {
      if (!Take(kind)) continue;
      out_ += "(?";
      out_ += kind;
      return {};
    }
    // Flags: Ruby's m is the s of others. "(?i)" reaches to the end of the group around it, as in PCRE2.
    bool on = true, any_case = any_case_;
    std::string flags;
    while (at_ < pattern_.size() && Peek() != ':' && Peek() != ')') {
      const char flag = pattern_[at_++];
      if (flag == '-') {
        on = false;
      } else if (flag == 'i') {
        any_case = on;
      } else if (flag == 'm') {
        flags += on ? "s" : "-s";
      } else {
        return Unknown("this kind of group");
      }
    }
    if (at_ == pattern_.size()) return Unknown("unfinished group");
    any_case_ = any_case;
    const bool scoped = pattern_[at_++] == ':';
    if (!scoped) groups_.pop_back();
    if (scoped || !flags.empty()) out_ += "(?" + flags + (scoped ? ":" : ")");
    return {};
  }

  // `quantifier` is taken already; what follows makes it lazy or possessive. Intervals are never possessive in Ruby:
  // "{1,3}+" repeats the interval.
  Status Quantifier(const std::string& quantifier, bool may_be_possessive) {
    if (!atom_) return Unknown("nothing to repeat");
    if (++wraps_ > kMaxWraps) return Unknown("too many repetitions");
    out_ += quantifier;
    if (Take("?")) {
      out_ += '?';
    } else if (Peek() == '+') {
      ++at_;
      if (may_be_possessive) {
        out_ += '+';
      } else {
        Wrap(")+");
      }
    }
    // A quantifier of a quantifier repeats the whole.
    if (Peek() == '*' || Peek() == '+' || Peek() == '?') {
      Wrap(")");
    }
    return {};
  }

  void Wrap(std::string_view end) {
    out_.insert(*atom_, "(?:");
    out_ += end;
  }

  std::optional<uint32_t> Number() {
    uint32_t value = 0;
    const size_t begin = at_;
    while (Peek() >= '0' && Peek() <= '9' && at_ - begin < 6)
      value = value * 10 + static_cast<uint32_t>(pattern_[at_++] - '0');
    if (at_ == begin) return std::nullopt;
    return value;
  }

  Status Interval() {
    const size_t begin = at_++;
    const std::optional<uint32_t> low = Number();
    const bool comma = Take(",");
    const std::optional<uint32_t> high = comma ? Number() : low;
    if (!Take("}") || (!low && !high)) {  // no interval: a brace
      at_ = begin + 1;
      BeginAtom();
      AppendSet({{'{', '{'}}, false);
      return {};
    }
    if (low.value_or(0) > 1000 || high.value_or(0) > 1000) return Unknown("more than 1000 repetitions");
    std::string text = fmt::format("{{{}", low.value_or(0));
    if (comma) text += high ? fmt::format(",{}", *high) : ",";
    return Quantifier(text + "}", false);
  }

  // After "\p" or "\P": {Name} or {^Name}.
  Result<CodePointSet> Property(bool negated) {
    if (!Take("{")) return Unknown("\\p without {");
    if (Take("^")) negated = !negated;
    const size_t close = pattern_.find('}', at_);
    if (close == std::string_view::npos) return Unknown("unfinished \\p");
    const std::string_view name = pattern_.substr(at_, close - at_);
    CodePointSet set;
    if (!FindProperty(name, set)) return Unsupported("regular expression \"{}\": property {}", pattern_, name);
    at_ = close + 1;
    return negated ? Complement(set) : set;
  }

  // After a backslash: \d \s \w \h \p and their opposites. nullopt: something else, nothing taken.
  Result<std::optional<CodePointSet>> ShorthandClass() {
    const char c = Peek();
    CodePointSet set;
    switch (c | 0x20) {
      case 'p': {
        ++at_;
        INGOT_ASSIGN_OR_RETURN(set, Property(c == 'P'));
        return std::optional(std::move(set));
      }
      case 'd':
        FindProperty("Nd", set);
        break;
      case 's':
        set = SpaceSet();
        break;
      case 'w':
        set = OnigurumaWord();
        break;
      case 'h':
        set = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
        break;
      default:
        return std::optional<CodePointSet>();
    }
    ++at_;
    const bool opposite = c >= 'A' && c <= 'Z';
    return std::optional(opposite ? Complement(set) : std::move(set));
  }

  std::optional<uint32_t> Hex(size_t max_digits) {
    uint32_t value = 0;
    size_t digits = 0;
    for (; digits < max_digits; ++digits) {
      const char c = Peek();
      const char lower = static_cast<char>(c | 0x20);
      if (c >= '0' && c <= '9') {
        value = value * 16 + static_cast<uint32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + static_cast<uint32_t>(lower - 'a' + 10);
      } else {
        break;
      }
      ++at_;
    }
    if (digits == 0 || value > kMaxCodePoint || (value >= 0xD800 && value <= 0xDFFF)) return std::nullopt;
    return value;
  }

  // After a backslash: one character.
  Result<uint32_t> EscapedCharacter() {
    if (at_ == pattern_.size()) return Unknown("a backslash at the end");
    const char c = Peek();
    if (static_cast<unsigned char>(c) >= 0x80) return TakeCodePoint();
    ++at_;
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'a':
        return '\a';
      case 'e':
        return 0x1Bu;
      case 'x':
      case 'u': {
        const bool braces = Take("{");
        const std::optional<uint32_t> value = Hex(braces ? 8 : c == 'x' ? 2 : 4);
        if (!value || (braces && !Take("}"))) return Unknown("a bad \\x or \\u");
        return *value;
      }
      default:
        break;
    }
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      return Unsupported("regular expression \"{}\": \\{}", pattern_, c);
    }
    return static_cast<uint32_t>(c);
  }

  Status Escape() {
    ++at_;
    const char c = Peek();
    if (c == 'A' || c == 'z' || c == 'Z') {
      out_ += '\\';
      out_ += c;
      ++at_;
      return {};
    }
    if (c == 'b' || c == 'B') {
      const size_t word = SetIndex(OnigurumaWord());
      const char* const format = c == 'b' ? "(?:(?<=\1{0}\2)(?!\1{0}\2)|(?<!\1{0}\2)(?=\1{0}\2))"
                                          : "(?:(?<=\1{0}\2)(?=\1{0}\2)|(?<!\1{0}\2)(?!\1{0}\2))";
      out_ += fmt::format(fmt::runtime(format), word);
      ++at_;
      return {};
    }
    BeginAtom();
    INGOT_ASSIGN_OR_RETURN(const std::optional<CodePointSet> set, ShorthandClass());
    if (set) {
      AppendSet(*set, false);
      return {};
    }
    INGOT_ASSIGN_OR_RETURN(const uint32_t code_point, EscapedCharacter());
    AppendSet({{code_point, code_point}}, false);
    return {};
  }

  // One member of a class: a set (never the start of a range) or a character.
  struct Member {
    CodePointSet set;
    std::optional<uint32_t> character;
  };
  Result<Member> ClassMember(int depth) {
    Member member;
    if (Peek() == '[') {
      for (const std::string_view name : {"space", "digit", "word", "alpha", "punct"}) {
        if (!Take(fmt::format("[:{}:]", name))) continue;
        if (name == "word") {
          member.set = OnigurumaWord();
        } else if (name == "space" || name == "digit") {
          FindProperty(name == "space" ? "Space" : "Nd", member.set);
        } else {
          return Unsupported("regular expression \"{}\": [:{}:]", pattern_, name);
        }
        return member;
      }
      if (Peek(1) == ':') return Unknown("a POSIX bracket");
      ++at_;
      bool negated = false;
      INGOT_RETURN_IF_ERROR(Class(depth + 1, negated, member.set));
      if (negated) member.set = Complement(member.set);
      return member;
    }
    if (Take("\\")) {
      INGOT_ASSIGN_OR_RETURN(std::optional<CodePointSet> set, ShorthandClass());
      if (set) {
        member.set = std::move(*set);
        return member;
      }
      if (Take("b")) {
        member.character = '\b';
        return member;
      }
      INGOT_ASSIGN_OR_RETURN(member.character, EscapedCharacter());
      return member;
    }
    member.character = TakeCodePoint();
    return member;
  }

  // After "[". `set` is what stands between the brackets, `negated` whether ^ stands before it.
  Status Class(int depth, bool& negated, CodePointSet& set) {
    if (depth > kMaxDepth) return Unknown("classes too deep");
    negated = Take("^");
    CodePointSet current;
    std::optional<CodePointSet> left;  // of &&
    const auto fold = [&] { return left ? Intersection(*left, Normalized(current)) : Normalized(current); };
    for (bool first = true;; first = false) {
      if (at_ == pattern_.size()) return Unknown("unfinished class");
      if (!first && Take("]")) break;
      if (Take("&&")) {
        left = fold();
        current.clear();
        continue;
      }
      INGOT_ASSIGN_OR_RETURN(Member member, ClassMember(depth));
      if (!member.character) {
        current = Union(std::move(current), member.set);
        continue;
      }
      CodePointRange range{*member.character, *member.character};
      if (Peek() == '-' && at_ + 1 < pattern_.size() && Peek(1) != ']') {
        const size_t dash = at_++;
        INGOT_ASSIGN_OR_RETURN(const Member last, ClassMember(depth));
        if (!last.character) {  // "a-\d": the dash is itself
          at_ = dash;
        } else {
          if (*last.character < range.first) return Unknown("an empty range");
          range.last = *last.character;
        }
      }
      current.push_back(range);
    }
    set = fold();
    return {};
  }

  std::string_view pattern_;
  size_t at_ = 0;
  std::string out_;
  std::optional<size_t> atom_;  // where in out_ the thing begins that a quantifier would repeat
  struct Group {
    size_t begin;   // in out_
    bool any_case;  // outside of it
  };
  std::vector<Group> groups_;
  bool any_case_ = false;
  int wraps_ = 0;
  std::vector<CodePointSet> sets_;
  std::map<CodePointSet, size_t> set_index_;
};

}  // namespace

Result<ParsedPattern> ParsePattern(std::string_view pattern) { return Parser(pattern).Run(); }

std::string EscapePattern(std::string_view literal) {
  std::string out;
  for (const char c : literal) {
    if (std::string_view("\\^$.|?*+()[]{}-&").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace ingot::tokenizer
