// Filters on strings and numbers, and the table of all filters.
#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "chat/filter_tables.h"
#include "chat/string_ops.h"
#include "chat/unicode.h"

namespace ingot::chat {
namespace {

StrPtr TextOf(Runtime& runtime, const Value& value) { return Print(runtime, value); }

template <StrPtr (*convert)(const Str&)>
Value Converted(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("the filter", args, {});
  const StrPtr text = TextOf(runtime, value);
  runtime.WorkOn(text);
  return convert(*text);
}

Value Trim(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("trim", args, {"chars"});
  const StrPtr chars = bound.OptionalText(0);
  if (chars != nullptr) runtime.WorkOn(chars);
  return Strip(TextOf(runtime, value), chars.get(), {});
}

Value String(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("string", args, {});
  return TextOf(runtime, value);
}

Value Safe(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("safe", args, {});
  const StrPtr text = TextOf(runtime, value);
  return text->markup ? Value(text) : runtime.MakeString(text->marked, true);
}

Value ForceEscape(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("forceescape", args, {});
  return EscapeHtml(Str(TextOf(runtime, value)->marked));
}

Value Replace(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("replace", args, {"old", "new", "count"}, 2);
  const int64_t count = bound.Or(2, None{}).IsNone() ? -1 : bound.Int(2);
  const Str plain(TextOf(runtime, value)->marked);
  return ReplaceText(runtime, plain, *TextOf(runtime, bound.At(0)), *TextOf(runtime, bound.At(1)), count);
}

Value Center(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("center", args, {"width"});
  return PadText(runtime, *TextOf(runtime, value), bound.Int(0, 80), *TrustedStr(" "), 0);
}

Value Indent(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("indent", args, {"width", "first", "blank"});
  const StrPtr* text = value.As<StrPtr>();
  if (text == nullptr) Fail(fmt::format("indent: a string is needed, not {}", TypeName(value)));
  Value indention = bound.Or(0, int64_t{4});
  if (!indention.Is<StrPtr>()) indention = PadText(runtime, *TrustedStr(""), bound.Int(0, 4), *TrustedStr(" "), -1);
  const MarkedText& step = (*indention.As<StrPtr>())->marked;
  const bool blank = bound.Flag(2);
  MarkedText whole = (*text)->marked;
  whole.Append("\n", true);  // as Jinja does, so that a last empty line counts
  const Values lines = SplitLines(runtime, Str(std::move(whole)), false);
  MarkedText out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Str& line = **lines[i].As<StrPtr>();
    if (i > 0) out.Append("\n", true);
    if (i > 0 ? blank || !line.view().empty() : bound.Flag(1)) AppendMarked(out, step);
    AppendMarked(out, line.marked);
    runtime.Work(static_cast<int64_t>(step.text.size()));
    runtime.CheckLength(out.text.size());
  }
  return runtime.MakeString(std::move(out), (*text)->markup);
}

Value Truncate(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("truncate", args, {"length", "killwords", "end", "leeway"});
  const StrPtr end = bound.Has(2) ? bound.Text(2) : TrustedStr("...");
  const int64_t length = bound.Int(0, 255), leeway = bound.Or(3, None{}).IsNone() ? 5 : bound.Int(3);
  const auto end_length = static_cast<int64_t>(end->num_chars);
  if (length < end_length || leeway < 0) Fail("truncate: length must be at least that of the end, leeway at least 0");
  const std::optional<int64_t> given = Length(value);
  if (given && *given - length <= leeway) return value;
  if (!value.Is<StrPtr>()) Fail(fmt::format("truncate: a string is needed, not {}", TypeName(value)));
  Value kept = GetSlice(runtime, value, None{}, length - end_length, None{});
  if (!bound.Flag(1)) kept = SplitText(runtime, **kept.As<StrPtr>(), TrustedStr(" ").get(), 1, true)[0];
  return Binary(runtime, BinaryOp::kAdd, kept, end);
}

Value WordCount(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("wordcount", args, {});
  const StrPtr text = TextOf(runtime, value);
  int64_t words = 0;
  bool inside = false;
  for (size_t pos = 0; pos < text->view().size();) {
    const Decoded decoded = DecodeUtf8(text->view(), pos);
    const bool word = decoded.code == '_' || IsAlpha(decoded.code) || IsNumeric(decoded.code);
    words += word && !inside;
    inside = word;
    pos += decoded.length;
  }
  return words;
}

Value UrlEncode(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("urlencode", args, {});
  if (!value.Is<StrPtr>() && !value.IsUndefined() && IsIterable(value)) {
    Fail(fmt::format("urlencode: '{}' is not supported", TypeName(value)));
  }
  const StrPtr text = TextOf(runtime, value);
  MarkedText out;
  OriginCursor origin(text->marked);
  for (size_t pos = 0; pos < text->view().size(); ++pos) {
    const auto c = static_cast<unsigned char>(text->view()[pos]);
    const bool plain =
        c < 0x80 && (std::isalnum(c) || std::string_view("_.-~/").find(static_cast<char>(c)) != std::string_view::npos);
    out.Append(plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c), origin.TrustedAt(pos));
  }
  return runtime.MakeString(std::move(out));
}

Value Format(Runtime& runtime, const Value& value, const Args& args) {
  if (!args.positional.empty() && !args.keywords.empty()) Fail("format: arguments by position or by name, not both");
  const StrPtr text = TextOf(runtime, value);
  if (args.keywords.empty()) {
    return FormatPercent(runtime, *text, runtime.MakeList(args.positional, ListData::Kind::kTuple));
  }
  DictData names;
  for (const auto& [name, argument] : args.keywords) names.Set(TrustedStr(name), argument);
  return FormatPercent(runtime, *text, runtime.MakeDict(std::move(names)));
}

// int(value); nullopt for Python's TypeError and ValueError.
std::optional<int64_t> Truncated(double number) {
  if (std::isnan(number)) return std::nullopt;
  if (!(std::abs(number) < 9223372036854775808.0)) Fail("an integer does not fit 64 bits");
  return static_cast<int64_t>(number);
}

Value Int(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("int", args, {"default", "base"});
  if (const Undefined* undefined = value.As<Undefined>()) Fail(*undefined->why);
  int64_t storage = 0;
  if (const int64_t* number = AsInt(value, storage)) return *number;
  std::optional<int64_t> result;
  if (const double* real = value.As<double>()) result = Truncated(*real);
  if (const StrPtr* text = value.As<StrPtr>()) {
    runtime.WorkOn(value);
    result = ParseInt((*text)->view(), bound.Int(1, 10));
    const std::optional<double> real = result ? std::nullopt : ParseFloat((*text)->view());
    if (real && std::isfinite(*real)) result = Truncated(*real);
  }
  return result ? Value(*result) : bound.Or(0, int64_t{0});
}

Value Float(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("float", args, {"default"});
  if (const Undefined* undefined = value.As<Undefined>()) Fail(*undefined->why);
  if (value.Is<double>()) return value;
  int64_t storage = 0;
  if (const int64_t* number = AsInt(value, storage)) return static_cast<double>(*number);
  if (const StrPtr* text = value.As<StrPtr>()) {
    runtime.WorkOn(value);
    if (const std::optional<double> number = ParseFloat((*text)->view())) return *number;
  }
  return bound.Or(0, 0.0);
}

Value Abs(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("abs", args, {});
  if (const double* real = value.As<double>()) return std::abs(*real);
  int64_t storage = 0;
  if (const int64_t* number = AsInt(value, storage)) return *number < 0 ? Negate(runtime, *number) : Value(*number);
  if (const Undefined* undefined = value.As<Undefined>()) Fail(*undefined->why);
  Fail(fmt::format("abs: a number is needed, not {}", TypeName(value)));
}

double PowerOfTen(int64_t exponent) { return std::pow(10.0, static_cast<double>(exponent)); }

// round(): halves go to the even neighbour, judged by the number's exact value.
Value RoundCommon(const Value& value, int64_t precision) {
  int64_t storage = 0;
  if (const int64_t* number = AsInt(value, storage)) {
    if (precision >= 0) return *number;
    if (precision < -18) return int64_t{0};
    int64_t unit = 1;
    for (int64_t i = 0; i > precision; --i) unit *= 10;
    const int64_t rest = ((*number % unit) + unit) % unit;
    const bool up = rest * 2 > unit || (rest * 2 == unit && (*number - rest) / unit % 2 != 0);
    int64_t result = 0;
    if (__builtin_add_overflow(*number - rest, up ? unit : 0, &result)) Fail("an integer does not fit 64 bits");
    return result;
  }
  const double real = *value.As<double>();
  if (!std::isfinite(real) || precision > 323) return real;
  if (precision < 0) return std::nearbyint(real / PowerOfTen(-precision)) * PowerOfTen(-precision);
  return *ParseFloat(fmt::format("{:.{}f}", real, precision));
}

Value Round(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("round", args, {"precision", "method"});
  const std::string method = bound.Has(1) ? bound.Text(1)->marked.text : "common";
  if (const Undefined* undefined = value.As<Undefined>()) Fail(*undefined->why);
  if (!IsNumber(value)) Fail(fmt::format("round: a number is needed, not {}", TypeName(value)));
  const int64_t precision = bound.Int(0, 0);
  if (method == "common") return RoundCommon(value, precision);
  if (method != "ceil" && method != "floor") Fail("round: method must be common, ceil or floor");
  const Value unit = Binary(runtime, BinaryOp::kPow, int64_t{10}, precision);
  const Value scaled = Binary(runtime, BinaryOp::kMul, value, unit);
  if (!scaled.Is<double>()) return Binary(runtime, BinaryOp::kDiv, scaled, unit);
  const double moved = method == "ceil" ? std::ceil(*scaled.As<double>()) : std::floor(*scaled.As<double>());
  const std::optional<int64_t> integer = Truncated(moved);
  if (!integer) Fail("cannot convert float NaN to integer");
  return Binary(runtime, BinaryOp::kDiv, *integer, unit);
}

Value Default(Runtime&, const Value& value, const Args& args) {
  const BoundArgs bound("default", args, {"default_value", "boolean"});
  if (value.IsUndefined() || (bound.Flag(1) && !Truth(value))) return bound.Or(0, TrustedStr(""));
  return value;
}

Value ToJson(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.Flag(0);
  style.sort_keys = bound.Flag(3);
  const Value indent = bound.Or(1, None{}), separators = bound.Or(2, None{});
  if (const StrPtr* text = indent.As<StrPtr>()) {
    style.indent = (*text)->marked;
  } else if (!indent.IsNone()) {
    const int64_t width = bound.Int(1);
    style.indent = (*PadText(runtime, *TrustedStr(""), width, *TrustedStr(" "), -1).As<StrPtr>())->marked;
  }
  const bool trusted = WhollyTrusted(value);
  style.item_separator.Append(style.indent ? "," : ", ", trusted);
  style.key_separator.Append(": ", trusted);
  if (!separators.IsNone()) {
    const Values pair = Iterate(runtime, separators);
    if (pair.size() != 2 || !pair[0].Is<StrPtr>() || !pair[1].Is<StrPtr>())
      Fail("tojson: separators must be two strings");
    style.item_separator = (*pair[0].As<StrPtr>())->marked;
    style.key_separator = (*pair[1].As<StrPtr>())->marked;
  }
  return DumpJson(runtime, value, style);
}

Value ParseJsonFilter(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("from_json", args, {});
  const StrPtr* text = value.As<StrPtr>();
  if (text == nullptr) Fail(fmt::format("from_json: a string is needed, not {}", TypeName(value)));
  runtime.Work(16 * ExtentOf(value).weight);
  const Result<boost::json::value> json = ParseJson((*text)->view(), "from_json");
  if (!json) Fail(json.error().message());
  return FromJson(runtime, *json, (*text)->wholly_trusted());
}

constexpr FilterEntry kTextFilters[] = {
    {"abs", &Abs},
    {"capitalize", &Converted<&Capitalize>},
    {"center", &Center},
    {"d", &Default},
    {"default", &Default},
    {"e", &Converted<&EscapeHtml>},
    {"escape", &Converted<&EscapeHtml>},
    {"float", &Float},
    {"forceescape", &ForceEscape},
    {"format", &Format},
    {"from_json", &ParseJsonFilter},
    {"fromjson", &ParseJsonFilter},
    {"indent", &Indent},
    {"int", &Int},
    {"lower", &Converted<&LowerCase>},
    {"replace", &Replace},
    {"round", &Round},
    {"safe", &Safe},
    {"string", &String},
    {"title", &Converted<&TitleFilter>},
    {"tojson", &ToJson},
    {"trim", &Trim},
    {"truncate", &Truncate},
    {"upper", &Converted<&UpperCase>},
    {"urlencode", &UrlEncode},
    {"wordcount", &WordCount},
};

}  // namespace

FilterFunction FindFilter(std::string_view name) {
  const auto find = [&](std::span<const FilterEntry> table) -> FilterFunction {
    const auto found = std::find_if(table.begin(), table.end(), [&](const FilterEntry& e) { return e.name == name; });
    return found == table.end() ? nullptr : found->apply;
  };
  const FilterFunction filter = find(kTextFilters);
  return filter != nullptr ? filter : find(SequenceFilters());
}

}  // namespace ingot::chat
