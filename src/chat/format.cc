// "…" % arguments and "…".format(…).
#include <algorithm>
#include <cmath>
#include <optional>

#include "chat/number_format.h"
#include "chat/runtime.h"
#include "chat/string_ops.h"
#include "chat/unicode.h"

namespace ingot::chat {
namespace {

constexpr std::string_view kIntegerTypes = "diuoxX", kRealTypes = "eEfFgG";

bool OneOf(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }

// Digits at text[pos], as a number that is too large rather than wrong. pos moves behind them.
std::optional<int64_t> ReadNumber(std::string_view text, size_t& pos) {
  std::optional<int64_t> number;
  while (pos < text.size() && text[pos] >= '0' && text[pos] <= '9') {
    number = std::min<int64_t>(number.value_or(0) * 10 + (text[pos++] - '0'), int64_t{1} << 40);
  }
  return number;
}

double RealOf(const Value& value) {
  int64_t storage = 0;
  if (const int64_t* number = AsInt(value, storage)) return static_cast<double>(*number);
  if (const double* real = value.As<double>()) return *real;
  if (const Undefined* undefined = value.As<Undefined>()) Fail(*undefined->why);
  Fail(fmt::format("a number is needed, not {}", TypeName(value)));
}

int64_t IntegerOf(const Value& value, bool truncate) {
  int64_t storage = 0;
  if (const int64_t* number = AsInt(value, storage)) return *number;
  const double* real = value.As<double>();
  if (real != nullptr && truncate && std::isfinite(*real)) {
    if (std::abs(*real) >= 9.2e18) Fail("an integer does not fit 64 bits");
    return static_cast<int64_t>(*real);
  }
  if (const Undefined* undefined = value.As<Undefined>()) Fail(*undefined->why);
  Fail(fmt::format("an integer is needed, not {}", TypeName(value)));
}

StrPtr FirstChars(Runtime& runtime, const StrPtr& text, int64_t count) {
  if (static_cast<int64_t>(text->num_chars) <= count) return text;
  return *GetSlice(runtime, text, None{}, count, None{}).As<StrPtr>();
}

StrPtr CharText(const Value& value) {
  const StrPtr* text = value.As<StrPtr>();
  if (text != nullptr && (*text)->num_chars == 1) return *text;
  const int64_t code = IntegerOf(value, false);
  if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) Fail("a number is not that of a character");
  std::string bytes;
  AppendUtf8(bytes, static_cast<char32_t>(code));
  return UntrustedStr(bytes);  // the number may be a user's
}

// One "%…x" directive.
struct Directive {
  std::optional<std::string> name;
  std::string flags;
  std::optional<int64_t> width, precision;
  bool width_from_argument = false, precision_from_argument = false;
  char type = 0;
};

Directive ParseDirective(std::string_view text, size_t& pos) {
  Directive directive;
  if (pos < text.size() && text[pos] == '(') {
    int depth = 1;
    const size_t begin = ++pos;
    while (pos < text.size() && depth > 0) {
      depth += text[pos] == '(' ? 1 : text[pos] == ')' ? -1 : 0;
      ++pos;
    }
    if (depth > 0) Fail("incomplete format key");
    directive.name = std::string(text.substr(begin, pos - 1 - begin));
  }
  while (pos < text.size() && OneOf(text[pos], "-+ #0")) directive.flags += text[pos++];
  const auto number = [&](bool& from_argument) -> std::optional<int64_t> {
    if (pos < text.size() && text[pos] == '*') {
      ++pos;
      from_argument = true;
      return std::nullopt;
    }
    return ReadNumber(text, pos);
  };
  directive.width = number(directive.width_from_argument);
  if (pos < text.size() && text[pos] == '.') {
    ++pos;
    directive.precision = number(directive.precision_from_argument).value_or(0);
  }
  while (pos < text.size() && OneOf(text[pos], "hlL")) ++pos;
  if (pos >= text.size()) Fail("incomplete format");
  directive.type = text[pos++];
  return directive;
}

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Value& arguments) : runtime_(runtime), arguments_(arguments) {
    const ListPtr* tuple = arguments.As<ListPtr>();
    if (tuple != nullptr && (*tuple)->IsTuple()) tuple_ = &(*tuple)->items;
  }

  Value Format(const Str& format) {
    const std::string_view text = format.view();
    runtime_.Work(static_cast<int64_t>(text.size()));
    size_t pos = 0;
    while (pos < text.size()) {
      const size_t percent = std::min(text.find('%', pos), text.size());
      AppendSlice(out_, format.marked, pos, percent);
      if (percent == text.size()) break;
      pos = percent + 1;
      runtime_.Step();
      Append(ParseDirective(text, pos));
      runtime_.CheckLength(out_.text.size());
    }
    // What can be indexed may be left unused; so Python has it.
    const bool indexable = arguments_.Is<DictPtr>() || arguments_.Is<ListPtr>() || arguments_.IsUndefined();
    const size_t given = tuple_ ? tuple_->size() : 1;
    if (next_ < given && (tuple_ || !indexable)) Fail("not all arguments converted during string formatting");
    return runtime_.MakeString(std::move(out_), format.markup);
  }

 private:
  const Value& Next() {
    const size_t given = tuple_ ? tuple_->size() : 1;
    if (next_ >= given) Fail("not enough arguments for format string");
    const Value& argument = tuple_ ? (*tuple_)[next_] : arguments_;
    ++next_;
    return argument;
  }

  void Append(Directive directive) {
    if (directive.width_from_argument) {
      directive.width = IntegerOf(Next(), false);
      if (*directive.width < 0) directive.flags += '-';
      directive.width = std::abs(std::max<int64_t>(*directive.width, -(int64_t{1} << 40)));
    }
    if (directive.precision_from_argument) directive.precision = std::max<int64_t>(0, IntegerOf(Next(), false));
    if (directive.type == '%') return out_.Append("%", true);
    Value argument;
    if (directive.name) {
      if (!arguments_.Is<DictPtr>()) Fail("format requires a mapping");
      const Value* found = (*arguments_.As<DictPtr>())->Find(*directive.name);
      if (found == nullptr) Fail(fmt::format("the key '{}' is missing", *directive.name));
      argument = *found;
    } else {
      argument = Next();
    }
    AppendArgument(directive, argument);
  }

  void AppendArgument(const Directive& directive, const Value& argument) {
    const auto flag = [&](char c) { return OneOf(c, directive.flags); };
    const int64_t width = directive.width.value_or(0);
    runtime_.CheckLength(static_cast<size_t>(width));
    StrPtr text;
    if (OneOf(directive.type, kIntegerTypes) || OneOf(directive.type, kRealTypes)) {
      const SignedDigits number = Number(directive, argument);
      size_t zeros = 0;
      const size_t length = number.sign.size() + number.digits.size();
      if (flag('0') && !flag('-') && static_cast<int64_t>(length) < width) zeros = static_cast<size_t>(width) - length;
      text = TrustedStr(number.sign + std::string(zeros, '0') + number.digits);
    } else if (directive.type == 's') {
      text = Print(runtime_, argument);
    } else if (directive.type == 'r') {
      runtime_.WorkOn(argument);
      MarkedText repr;
      AppendRepr(repr, argument);
      text = MakeStr(std::move(repr));
    } else if (directive.type == 'c') {
      text = CharText(argument);
    } else {
      Fail(fmt::format("unsupported format character '{}'", directive.type));
    }
    if (directive.precision && OneOf(directive.type, "sr")) text = FirstChars(runtime_, text, *directive.precision);
    const Value padded = PadText(runtime_, *text, width, *TrustedStr(" "), flag('-') ? -1 : 1);
    AppendMarked(out_, (*padded.As<StrPtr>())->marked);
  }

  static SignedDigits Number(const Directive& directive, const Value& argument) {
    NumberFormat format;
    format.type = directive.type;
    format.precision = static_cast<int>(std::min<int64_t>(directive.precision.value_or(-1), 1 << 20));
    format.alternate = OneOf('#', directive.flags);
    format.sign = OneOf('+', directive.flags) ? '+' : OneOf(' ', directive.flags) ? ' ' : '-';
    if (OneOf(directive.type, kRealTypes)) return FormatReal(RealOf(argument), format);
    return FormatInteger(IntegerOf(argument, OneOf(directive.type, "diu")), format);
  }

  Runtime& runtime_;
  const Value& arguments_;
  const Values* tuple_ = nullptr;
  size_t next_ = 0;
  MarkedText out_;
};

// [[fill]align][sign][#][0][width][grouping][.precision][type]
struct Spec {
  StrPtr fill = TrustedStr(" ");
  char align = 0, sign = 0, grouping = 0, type = 0;
  bool alternate = false, zero = false;
  int64_t width = 0;
  std::optional<int64_t> precision;
};

Spec ParseSpec(std::string_view text) {
  Spec spec;
  size_t pos = 0;
  const auto accept = [&](std::string_view set) -> char {
    return pos < text.size() && OneOf(text[pos], set) ? text[pos++] : 0;
  };
  if (!text.empty()) {
    const size_t fill = DecodeUtf8(text, 0).length;
    if (fill < text.size() && OneOf(text[fill], "<>=^")) {
      spec.fill = UntrustedStr(text.substr(0, fill));
      pos = fill;
    }
  }
  spec.align = accept("<>=^");
  spec.sign = accept("+- ");
  spec.alternate = accept("#") != 0;
  spec.zero = accept("0") != 0;
  spec.width = ReadNumber(text, pos).value_or(0);
  spec.grouping = accept(",_");
  if (accept(".") != 0) {
    spec.precision = ReadNumber(text, pos);
    if (!spec.precision) Fail("the format specifier lacks its precision");
  }
  if (pos < text.size()) spec.type = text[pos++];
  if (pos != text.size()) Fail("invalid format specifier");
  if (spec.zero && spec.fill->view() == " " && spec.align == 0) spec.fill = TrustedStr("0");
  return spec;
}

void AppendPadded(Runtime& runtime, MarkedText& out, const StrPtr& text, const Spec& spec, char default_align) {
  const char align = spec.align != 0 ? spec.align : default_align;
  runtime.CheckLength(static_cast<size_t>(spec.width));
  Value padded;
  if (align == '^') {  // format() puts the odd space to the right
    const auto length = static_cast<int64_t>(text->num_chars);
    const int64_t left = spec.width > length ? (spec.width - length) / 2 : 0;
    padded = PadText(runtime, *text, length + left, *spec.fill, 1);
    padded = PadText(runtime, **padded.As<StrPtr>(), spec.width, *spec.fill, -1);
  } else {
    padded = PadText(runtime, *text, spec.width, *spec.fill, align == '<' ? -1 : 1);
  }
  AppendMarked(out, (*padded.As<StrPtr>())->marked);
}

void AppendNumber(Runtime& runtime, MarkedText& out, const Value& value, const Spec& spec) {
  const bool real = value.Is<double>() || OneOf(spec.type, "eEfFgG%");
  NumberFormat format;
  format.type = spec.type == 0 || spec.type == 'n' ? (real ? (spec.type == 'n' ? 'g' : 'r') : 'd') : spec.type;
  if (spec.type == '%') format.type = 'f';
  if (!OneOf(format.type, real ? "eEfFgGr" : "dboxX")) {
    Fail(fmt::format("unknown format code '{}' for '{}'", spec.type, TypeName(value)));
  }
  if (!real && spec.precision) Fail("precision not allowed in integer format specifier");
  if (spec.zero && spec.grouping != 0) Fail("zeros and separators together are not supported");
  format.precision = static_cast<int>(std::min<int64_t>(spec.precision.value_or(-1), 1 << 20));
  format.alternate = spec.alternate;
  format.sign = spec.sign == 0 ? '-' : spec.sign;
  format.grouping = spec.grouping;
  SignedDigits number = real ? FormatReal(RealOf(value) * (spec.type == '%' ? 100 : 1), format)
                             : FormatInteger(IntegerOf(value, false), format);
  if (spec.type == '%') number.digits += '%';
  if (spec.align == '=' || (spec.align == 0 && spec.zero)) {
    const auto room = spec.width - static_cast<int64_t>(number.sign.size());
    runtime.CheckLength(static_cast<size_t>(spec.width));
    const Value digits = PadText(runtime, *TrustedStr(number.digits), room, *spec.fill, 1);
    out.Append(number.sign, true);
    return AppendMarked(out, (*digits.As<StrPtr>())->marked);
  }
  AppendPadded(runtime, out, TrustedStr(number.sign + number.digits), spec, '>');
}

}  // namespace

Value FormatPercent(Runtime& runtime, const Str& format, const Value& arguments) {
  return PercentFormatter(runtime, arguments).Format(format);
}

void AppendFormatted(Runtime& runtime, MarkedText& out, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return AppendMarked(out, Print(runtime, value)->marked);
  if (IsNumber(value)) {
    const Spec spec = ParseSpec(spec_text);
    if (spec.type == 'c') return AppendPadded(runtime, out, CharText(value), spec, '<');
    return AppendNumber(runtime, out, value, spec);
  }
  const StrPtr* text = value.As<StrPtr>();
  if (text == nullptr) Fail(fmt::format("unsupported format string passed to {}.__format__", TypeName(value)));
  const Spec spec = ParseSpec(spec_text);
  if ((spec.type != 0 && spec.type != 's') || spec.sign != 0 || spec.grouping != 0 || spec.alternate ||
      spec.align == '=') {
    Fail("a format specifier does not fit a string");
  }
  const StrPtr shown = spec.precision ? FirstChars(runtime, *text, *spec.precision) : *text;
  AppendPadded(runtime, out, shown, spec, '<');
}

}  // namespace ingot::chat
