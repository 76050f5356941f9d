// What may stand after "|".
#include <algorithm>
#include <bit>
#include <cmath>
#include <unordered_set>

#include "base/json.h"
#include "chat/stable_sort.h"
#include "chat/string_ops.h"

namespace ingot::chat {
namespace {

using Kind = ListData::Kind;

template <StrPtr (*convert)(const Str&)>
Value Converted(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("the filter", args, {});
  const StrPtr text = Print(runtime, value);
  runtime.WorkOn(text);
  return convert(*text);
}

Value Trim(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("trim", args, {"chars"});
  const StrPtr chars = bound.OptionalText(0);
  if (chars != nullptr) runtime.WorkOn(chars);
  return Strip(Print(runtime, value), chars.get(), {});
}

Value String(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("string", args, {});
  return Print(runtime, value);
}

Value Safe(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("safe", args, {});
  const StrPtr text = Print(runtime, value);
  return text->markup ? Value(text) : runtime.MakeString(text->marked, true);
}

Value Replace(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("replace", args, {"old", "new", "count"}, 2);
  const int64_t count = bound.Or(2, None{}).IsNone() ? -1 : bound.Int(2);
  const Str plain(Print(runtime, value)->marked);
  return ReplaceText(runtime, plain, *Print(runtime, bound.At(0)), *Print(runtime, bound.At(1)), count);
}

// So many spaces, or the string itself.
StrPtr IndentionOf(Runtime& runtime, const BoundArgs& bound, size_t i, int64_t fallback) {
  if (bound.Has(i) && bound.At(i).Is<StrPtr>()) return bound.Text(i);
  const auto width = static_cast<size_t>(std::max<int64_t>(0, bound.Int(i, fallback)));
  runtime.CheckLength(width);
  return TrustedStr(std::string(width, ' '));
}

Value Indent(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("indent", args, {"width", "first", "blank"});
  const StrPtr* text = value.As<StrPtr>();
  if (text == nullptr) Fail(fmt::format("indent: a string is needed, not {}", TypeName(value)));
  const StrPtr step = IndentionOf(runtime, bound, 0, 4);
  const Values lines = SplitText(runtime, **text, TrustedStr("\n").get(), -1);
  MarkedText out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Str& line = **lines[i].As<StrPtr>();
    if (i > 0) out.Append("\n", true);
    if (i > 0 ? bound.Flag(2) || !line.view().empty() : bound.Flag(1)) AppendMarked(out, step->marked);
    AppendMarked(out, line.marked);
    runtime.Work(static_cast<int64_t>(step->view().size()));
    runtime.CheckLength(out.text.size());
  }
  return runtime.MakeString(std::move(out), (*text)->markup);
}

Value Format(Runtime& runtime, const Value& value, const Args& args) {
  if (!args.keywords.empty()) Fail("format: arguments are taken by position only");
  return FormatPercent(runtime, *Print(runtime, value), runtime.MakeList(args.positional, Kind::kTuple));
}

Value Int(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("int", args, {"default"});
  if (const Undefined* undefined = value.As<Undefined>()) Fail(*undefined->why);
  int64_t storage = 0;
  if (const int64_t* number = AsInt(value, storage)) return *number;
  std::optional<double> real;
  if (const double* given = value.As<double>()) real = *given;
  if (const StrPtr* text = value.As<StrPtr>()) {
    runtime.WorkOn(value);
    if (const std::optional<int64_t> number = ParseInt((*text)->view())) return *number;
    real = ParseFloat((*text)->view());
  }
  const bool fits = real && std::abs(*real) < 9223372036854775808.0;
  return fits ? Value(static_cast<int64_t>(*real)) : bound.Or(0, int64_t{0});
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
  if (!bound.Or(1, None{}).IsNone()) style.indent = IndentionOf(runtime, bound, 1, 0)->marked;
  const bool trusted = WhollyTrusted(value);
  style.item_separator.Append(style.indent ? "," : ", ", trusted);
  style.key_separator.Append(": ", trusted);
  if (!bound.Or(2, None{}).IsNone()) {
    const Values pair = Iterate(runtime, bound.At(2));
    if (pair.size() != 2 || !pair[0].Is<StrPtr>() || !pair[1].Is<StrPtr>()) {
      Fail("tojson: separators must be two strings");
    }
    style.item_separator = (*pair[0].As<StrPtr>())->marked;
    style.key_separator = (*pair[1].As<StrPtr>())->marked;
  }
  if (value.Is<ListPtr>() && (*value.As<ListPtr>())->in_message) runtime.NotePrintedData();
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

// "address.city" looks up one after the other; any other value is looked up as it is.
Value Lookup(Runtime& runtime, const Value& item, const Value& attribute, const Value& fallback = None{}) {
  const StrPtr* path = attribute.As<StrPtr>();
  if (path == nullptr) return attribute.IsNone() ? item : GetItem(runtime, item, attribute);
  Value current = item;
  for (const Value& part : SplitText(runtime, **path, TrustedStr(".").get(), -1)) {
    current = GetItem(runtime, current, part);
    if (current.IsUndefined() && !fallback.IsNone()) current = fallback;
  }
  return current;
}

Value IgnoreCase(Runtime& runtime, const Value& value) {
  const StrPtr* text = value.As<StrPtr>();
  if (text == nullptr) return value;
  runtime.WorkOn(value);
  return LowerCase(**text);
}

// Each item with what it is sorted by.
struct Keyed {
  Value key, item;
};

Value Sorted(Runtime& runtime, std::vector<Keyed> keyed, bool reverse) {
  int64_t weight = 0;
  for (const Keyed& entry : keyed) weight = std::min(kMaxWeight, weight + ExtentOf(entry.key).weight);
  runtime.Work(weight * static_cast<int64_t>(std::bit_width(keyed.size())));
  StableSort(keyed, [reverse](const Keyed& a, const Keyed& b) {
    if (EqualValues(a.key, b.key)) return false;  // also where they have no order
    return reverse ? LessThan(b.key, a.key) : LessThan(a.key, b.key);
  });
  Values items;
  for (Keyed& entry : keyed) items.push_back(std::move(entry.item));
  return runtime.MakeList(std::move(items));
}

Value Sort(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("sort", args, {"reverse", "case_sensitive", "attribute"});
  std::vector<Keyed> keyed;
  for (Value& item : Iterate(runtime, value)) {
    Value key = Lookup(runtime, item, bound.Or(2, None{}));
    keyed.push_back({bound.Flag(1) ? key : IgnoreCase(runtime, key), std::move(item)});
  }
  return Sorted(runtime, std::move(keyed), bound.Flag(0));
}

Value DictSort(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("dictsort", args, {"case_sensitive", "by", "reverse"});
  const DictPtr* dict = value.As<DictPtr>();
  if (dict == nullptr) Fail(fmt::format("dictsort: a dict is needed, not {}", TypeName(value)));
  const std::string by = bound.Has(1) ? bound.Text(1)->marked.text : "key";
  if (by != "key" && by != "value") Fail("dictsort: by must be 'key' or 'value'");
  std::vector<Keyed> keyed;
  for (const auto& [key, item] : (*dict)->entries) {
    const Value& sorted_by = by == "key" ? key : item;
    keyed.push_back({bound.Flag(0) ? sorted_by : IgnoreCase(runtime, sorted_by), runtime.Pair(key, item)});
  }
  return Sorted(runtime, std::move(keyed), bound.Flag(2));
}

Value Unique(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("unique", args, {});
  std::unordered_set<Value, ValueHash, ValueEqual> seen;
  Values items;
  for (const Value& item : Iterate(runtime, value)) {
    runtime.WorkOn(item);
    if (seen.insert(IgnoreCase(runtime, item)).second) items.push_back(item);
  }
  return runtime.MakeList(std::move(items), Kind::kGenerator);
}

template <bool want_max>
Value Extreme(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("min", args, {});
  std::optional<Keyed> best;
  for (const Value& item : Iterate(runtime, value)) {
    const Value key = IgnoreCase(runtime, item);
    runtime.WorkOn(key);
    if (!best || (want_max ? LessThan(best->key, key) : LessThan(key, best->key))) best = Keyed{key, item};
  }
  return best ? best->item : MakeUndefined("No aggregated item, sequence was empty.");
}

Value ListFilter(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("list", args, {});
  return runtime.MakeList(Iterate(runtime, value));
}

Value LengthFilter(Runtime&, const Value& value, const Args& args) {
  BoundArgs("length", args, {});
  const std::optional<int64_t> length = Length(value);
  if (!length) Fail(fmt::format("object of type '{}' has no len()", TypeName(value)));
  return *length;
}

Value First(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("first", args, {});
  const Values items = Iterate(runtime, value);
  return items.empty() ? MakeUndefined("No first item, sequence was empty.") : items.front();
}

Value Last(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("last", args, {});
  if (!Length(value)) Fail(fmt::format("last: a {} cannot be reversed", TypeName(value)));
  const Values items = Iterate(runtime, value);
  return items.empty() ? MakeUndefined("No last item, sequence was empty.") : items.back();
}

Value Reverse(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("reverse", args, {});
  if (value.Is<StrPtr>()) return GetSlice(runtime, value, None{}, None{}, int64_t{-1});
  Values items = Iterate(runtime, value);
  std::reverse(items.begin(), items.end());
  return runtime.MakeList(std::move(items), Kind::kGenerator);
}

Value Join(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("join", args, {"d", "attribute"});
  Values items = Iterate(runtime, value);
  for (Value& item : items) item = Lookup(runtime, item, bound.Or(1, None{}));
  return JoinTexts(runtime, *Print(runtime, bound.Or(0, TrustedStr(""))), items);
}

Value Items(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("items", args, {});
  Values pairs;
  if (!value.IsUndefined()) {
    const DictPtr* dict = value.As<DictPtr>();
    if (dict == nullptr) Fail("items: can only get item pairs from a mapping");
    for (const auto& [key, item] : (*dict)->entries) pairs.push_back(runtime.Pair(key, item));
  }
  return runtime.MakeList(std::move(pairs), Kind::kGenerator);
}

Value CallFilter(Runtime& runtime, const Value& name, const Value& item, const Args& args) {
  const StrPtr* text = name.As<StrPtr>();
  const FilterFunction filter = text == nullptr ? nullptr : FindFilter((*text)->view());
  if (filter == nullptr) Fail(fmt::format("no filter is named {}", ReprForMessage(name)));
  runtime.Step();
  return filter(runtime, item, args);
}

Value Map(Runtime& runtime, const Value& value, const Args& args) {
  Values results;
  const Values items = Truth(value) ? Iterate(runtime, value) : Values();
  if (args.positional.empty()) {
    const BoundArgs bound("map", args, {"attribute", "default"}, 1);
    for (const Value& item : items) results.push_back(Lookup(runtime, item, bound.At(0), bound.Or(1, None{})));
  } else {
    const Args rest{Values(args.positional.begin() + 1, args.positional.end()), args.keywords};
    for (const Value& item : items) results.push_back(CallFilter(runtime, args.positional[0], item, rest));
  }
  return runtime.MakeList(std::move(results), Kind::kGenerator);
}

// select, reject, selectattr, rejectattr: [attribute,] [test, its arguments]
template <bool keep, bool by_attribute>
Value Select(Runtime& runtime, const Value& value, const Args& args) {
  constexpr size_t kOffset = by_attribute ? 1 : 0;
  if (args.positional.size() < kOffset) Fail("selectattr: the name of the attribute is missing");
  TestFunction test = nullptr;
  Args rest;
  if (args.positional.size() > kOffset) {
    const StrPtr* name = args.positional[kOffset].As<StrPtr>();
    test = name == nullptr ? nullptr : FindTest((*name)->view());
    if (test == nullptr) Fail(fmt::format("no test is named {}", ReprForMessage(args.positional[kOffset])));
    rest = {Values(args.positional.begin() + kOffset + 1, args.positional.end()), args.keywords};
  }
  Values kept;
  for (const Value& item : Truth(value) ? Iterate(runtime, value) : Values()) {
    runtime.Step();
    const Value tested = by_attribute ? Lookup(runtime, item, args.positional[0]) : item;
    const bool holds = test == nullptr ? Truth(tested) : test(runtime, tested, rest);
    if (holds == keep) kept.push_back(item);
  }
  return runtime.MakeList(std::move(kept), Kind::kGenerator);
}

struct FilterEntry {
  std::string_view name;
  FilterFunction apply;
};
constexpr FilterEntry kFilters[] = {
    {"capitalize", &Converted<&Capitalize>},
    {"count", &LengthFilter},
    {"d", &Default},
    {"default", &Default},
    {"dictsort", &DictSort},
    {"e", &Converted<&EscapeHtml>},
    {"escape", &Converted<&EscapeHtml>},
    {"first", &First},
    {"format", &Format},
    {"from_json", &ParseJsonFilter},
    {"fromjson", &ParseJsonFilter},
    {"indent", &Indent},
    {"int", &Int},
    {"items", &Items},
    {"join", &Join},
    {"last", &Last},
    {"length", &LengthFilter},
    {"list", &ListFilter},
    {"lower", &Converted<&LowerCase>},
    {"map", &Map},
    {"max", &Extreme<true>},
    {"min", &Extreme<false>},
    {"reject", &Select<false, false>},
    {"rejectattr", &Select<false, true>},
    {"replace", &Replace},
    {"reverse", &Reverse},
    {"safe", &Safe},
    {"select", &Select<true, false>},
    {"selectattr", &Select<true, true>},
    {"sort", &Sort},
    {"string", &String},
    {"title", &Converted<&TitleFilter>},
    {"tojson", &ToJson},
    {"trim", &Trim},
    {"unique", &Unique},
    {"upper", &Converted<&UpperCase>},
};

}  // namespace

FilterFunction FindFilter(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kFilters), std::end(kFilters), [&](const FilterEntry& e) { return e.name == name; });
  return found == std::end(kFilters) ? nullptr : found->apply;
}

}  // namespace ingot::chat
