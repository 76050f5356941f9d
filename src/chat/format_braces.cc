// "…".format(…), as the sandbox does it: fields are looked up as the template itself would.
#include <algorithm>

#include "chat/runtime.h"
#include "chat/string_ops.h"

namespace ingot::chat {
namespace {

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Args& args) : runtime_(runtime), args_(args) {}

  // A field's specifier may hold fields itself, and theirs once more.
  MarkedText Format(const MarkedText& format, int depth) {
    if (depth > 3) Fail("max string recursion exceeded");
    const std::string_view text = format.text;
    MarkedText out;
    size_t pos = 0;
    while (pos < text.size()) {
      const size_t brace = std::min(text.find_first_of("{}", pos), text.size());
      AppendSlice(out, format, pos, brace);
      if (brace == text.size()) break;
      if (brace + 1 < text.size() && text[brace + 1] == text[brace]) {
        AppendSlice(out, format, brace, brace + 1);
        pos = brace + 2;
        continue;
      }
      if (text[brace] == '}') Fail("single '}' encountered in format string");
      const size_t end = FieldEnd(text, brace + 1);
      runtime_.Step();
      AppendField(out, format, brace + 1, end, depth);
      runtime_.CheckLength(out.text.size());
      pos = end + 1;
    }
    return out;
  }

 private:
  // Where the closing brace of the field at `begin` is.
  static size_t FieldEnd(std::string_view text, size_t begin) {
    int depth = 1;
    bool in_brackets = false;
    for (size_t pos = begin; pos < text.size(); ++pos) {
      if (in_brackets) {
        in_brackets = text[pos] != ']';
        continue;
      }
      if (text[pos] == '[' && depth == 1) in_brackets = true;
      if (text[pos] == '{') ++depth;
      if (text[pos] == '}' && --depth == 0) return pos;
    }
    Fail("expected '}' before end of string");
  }

  // text[begin, end) is name[!conversion][:spec]
  void AppendField(MarkedText& out, const MarkedText& format, size_t begin, size_t end, int depth) {
    const std::string_view text = format.text;
    size_t name_end = begin;
    for (bool in_brackets = false; name_end < end; ++name_end) {
      const char c = text[name_end];
      if (c == '[') in_brackets = true;
      if (c == ']') in_brackets = false;
      if (!in_brackets && (c == '!' || c == ':')) break;
    }
    size_t pos = name_end;
    char conversion = 0;
    if (pos < end && text[pos] == '!') {
      if (pos + 1 >= end) Fail("end of string while looking for conversion specifier");
      conversion = text[pos + 1];
      pos += 2;
      if (pos < end && text[pos] != ':') Fail("expected ':' after conversion specifier");
    }
    Value value = Field(text.substr(begin, name_end - begin));
    MarkedText spec;
    if (pos < end) AppendSlice(spec, format, pos + 1, end);
    spec = Format(spec, depth + 1);
    if (conversion == 's') {
      value = Print(runtime_, value);
    } else if (conversion == 'r' || conversion == 'a') {
      runtime_.WorkOn(value);
      MarkedText repr;
      AppendRepr(repr, value);
      value = MakeStr(std::move(repr));
    } else if (conversion != 0) {
      Fail(fmt::format("unknown conversion specifier '{}'", conversion));
    }
    AppendFormatted(runtime_, out, value, spec.text);
  }

  // first(.name | [index])*
  Value Field(std::string_view name) {
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    Value value = FirstOf(name.substr(0, first_end));
    size_t pos = first_end;
    while (pos < name.size()) {
      runtime_.Step();
      if (name[pos] == '.') {
        const size_t end = std::min(name.find_first_of(".[", pos + 1), name.size());
        if (end == pos + 1) Fail("empty attribute in format string");
        value = GetAttr(runtime_, value, name.substr(pos + 1, end - pos - 1));
        pos = end;
      } else if (name[pos] == '[') {
        const size_t end = name.find(']', pos);
        if (end == name.npos || end == pos + 1) Fail("missing ']' or empty index in format string");
        const std::string_view key = name.substr(pos + 1, end - pos - 1);
        const bool digits = key.find_first_not_of("0123456789") == key.npos;
        const std::optional<int64_t> index = digits ? ParseInt(key, 10) : std::nullopt;
        value = GetItem(runtime_, value, index ? Value(*index) : Value(TrustedStr(key)));
        pos = end + 1;
      } else {
        Fail("only '.' or '[' may follow ']' in a format field");
      }
    }
    return value;
  }

  Value FirstOf(std::string_view name) {
    const bool digits = name.find_first_not_of("0123456789") == name.npos;
    if (digits) {
      const bool automatic = name.empty();
      if (!automatic && automatic_) Fail("cannot switch from automatic to manual field numbering");
      if (automatic && manual_) Fail("cannot switch from manual to automatic field numbering");
      (automatic ? automatic_ : manual_) = true;
      const std::optional<int64_t> index = automatic ? static_cast<int64_t>(next_++) : ParseInt(name, 10);
      if (!index || *index >= static_cast<int64_t>(args_.positional.size()))
        Fail("a format field's argument is missing");
      return args_.positional[static_cast<size_t>(*index)];
    }
    for (const auto& [keyword, value] : args_.keywords) {
      if (keyword == name) return value;
    }
    Fail(fmt::format("a format field's argument '{}' is missing", name));
  }

  Runtime& runtime_;
  const Args& args_;
  size_t next_ = 0;
  bool automatic_ = false, manual_ = false;
};

}  // namespace

Value FormatBraces(Runtime& runtime, const Str& format, const Args& args) {
  runtime.Work(static_cast<int64_t>(4 * format.view().size()));
  return runtime.MakeString(BraceFormatter(runtime, args).Format(format.marked, 1), format.markup);
}

}  // namespace ingot::chat
