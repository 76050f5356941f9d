// Filters on lists, dicts and what else can be iterated over.
#include <algorithm>
#include <bit>
#include <unordered_set>

#include "chat/filter_tables.h"
#include "chat/stable_sort.h"
#include "chat/string_ops.h"
#include "chat/unicode.h"

namespace ingot::chat {
namespace {

using Kind = ListData::Kind;

// "address.city" looks up one after the other, digits as numbers; any other value is looked up as it is.
Value Lookup(Runtime& runtime, const Value& item, const Value& attribute, const Value* fallback = nullptr) {
  const StrPtr* path = attribute.As<StrPtr>();
  Value current = item;
  const auto step = [&](const Value& key) {
    current = GetItem(runtime, current, key);
    if (fallback != nullptr && !fallback->IsNone() && current.IsUndefined()) current = *fallback;
  };
  if (path == nullptr) {
    if (!attribute.IsNone()) step(attribute);
    return current;
  }
  for (const Value& part : SplitText(runtime, **path, TrustedStr(".").get(), -1, false)) {
    const std::string_view name = (*part.As<StrPtr>())->view();
    const bool digits =
        !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
    const std::optional<int64_t> index = digits ? ParseInt(name, 10) : std::nullopt;
    step(index ? Value(*index) : part);
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

void SortKeyed(Runtime& runtime, std::vector<Keyed>& keyed, bool reverse) {
  int64_t weight = 0;
  for (const Keyed& entry : keyed) weight = std::min(kMaxWeight, weight + ExtentOf(entry.key).weight);
  const auto rounds = static_cast<int64_t>(std::bit_width(keyed.size()));
  runtime.Work(std::min(kMaxWeight, weight) * rounds);
  // Python reverses twice, so that equal items keep their order.
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  StableSort(keyed, [](const Keyed& a, const Keyed& b) { return LessThan(a.key, b.key); });
  if (reverse) std::reverse(keyed.begin(), keyed.end());
}

Values ItemsOf(std::vector<Keyed> keyed) {
  Values items;
  for (Keyed& entry : keyed) items.push_back(std::move(entry.item));
  return items;
}

// A comma in the attribute separates several keys.
Value SortKey(Runtime& runtime, const Value& item, const Value& attribute, bool case_sensitive) {
  Values attributes{attribute};
  if (const StrPtr* names = attribute.As<StrPtr>()) {
    attributes = SplitText(runtime, **names, TrustedStr(",").get(), -1, false);
  }
  Values keys;
  for (const Value& name : attributes) {
    Value key = Lookup(runtime, item, name);
    keys.push_back(case_sensitive ? key : IgnoreCase(runtime, key));
  }
  return runtime.MakeList(std::move(keys));
}

Value Sort(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("sort", args, {"reverse", "case_sensitive", "attribute"});
  std::vector<Keyed> keyed;
  for (Value& item : Iterate(runtime, value)) {
    Value key = SortKey(runtime, item, bound.Or(2, None{}), bound.Flag(1));
    keyed.push_back({std::move(key), std::move(item)});
  }
  SortKeyed(runtime, keyed, bound.Flag(0));
  return runtime.MakeList(ItemsOf(std::move(keyed)));
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
  SortKeyed(runtime, keyed, bound.Flag(2));
  return runtime.MakeList(ItemsOf(std::move(keyed)));
}

Value Unique(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("unique", args, {"case_sensitive", "attribute"});
  std::unordered_set<Value, ValueHash, ValueEqual> seen;
  Values items;
  for (const Value& item : Iterate(runtime, value)) {
    const Value key = Lookup(runtime, item, bound.Or(1, None{}));
    runtime.WorkOn(key);
    if (seen.insert(bound.Flag(0) ? key : IgnoreCase(runtime, key)).second) items.push_back(item);
  }
  return runtime.MakeGenerator(std::move(items));
}

template <bool want_max>
Value Extreme(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("min", args, {"case_sensitive", "attribute"});
  std::optional<Keyed> best;
  for (const Value& item : Iterate(runtime, value)) {
    Value key = Lookup(runtime, item, bound.Or(1, None{}));
    if (!bound.Flag(0)) key = IgnoreCase(runtime, key);
    runtime.WorkOn(key);
    if (!best || (want_max ? LessThan(best->key, key) : LessThan(key, best->key))) best = Keyed{key, item};
  }
  return best ? best->item : MakeUndefined("No aggregated item, sequence was empty.");
}

Value GroupBy(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  const Value fallback = bound.Or(1, None{});
  std::vector<Keyed> keyed;
  for (const Value& item : Iterate(runtime, value)) {
    const Value key = Lookup(runtime, item, bound.At(0), &fallback);
    keyed.push_back({bound.Flag(2) ? key : IgnoreCase(runtime, key), item});
  }
  SortKeyed(runtime, keyed, false);
  Values groups;
  for (size_t begin = 0; begin < keyed.size();) {
    size_t end = begin;
    Values members;
    while (end < keyed.size() && Compare(runtime, CompareOp::kEq, keyed[end].key, keyed[begin].key)) {
      members.push_back(keyed[end++].item);
    }
    if (end == begin) Fail("groupby: a key differs from itself");
    Value key = Lookup(runtime, members[0], bound.At(0), &fallback);
    groups.push_back(runtime.MakeList({std::move(key), runtime.MakeList(std::move(members))}, Kind::kGroup));
    begin = end;
  }
  return runtime.MakeList(std::move(groups));
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
  if (const GeneratorPtr* generator = value.As<GeneratorPtr>()) {
    GeneratorData& data = **generator;
    return data.next < data.items.size() ? data.items[data.next++]
                                         : MakeUndefined("No first item, sequence was empty.");
  }
  if (const StrPtr* text = value.As<StrPtr>(); text && !(*text)->view().empty()) {
    return GetItem(runtime, (*text)->markup ? Value(MakeStr((*text)->marked)) : value, int64_t{0});
  }
  const Values items = Iterate(runtime, value);
  return items.empty() ? MakeUndefined("No first item, sequence was empty.") : items.front();
}

Value Last(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("last", args, {});
  if (value.Is<GeneratorPtr>()) Fail("last: a generator cannot be reversed");
  if (const StrPtr* text = value.As<StrPtr>(); text && !(*text)->view().empty()) {
    return GetItem(runtime, value, int64_t{-1});
  }
  const Values items = Iterate(runtime, value);
  return items.empty() ? MakeUndefined("No last item, sequence was empty.") : items.back();
}

Value Reverse(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("reverse", args, {});
  if (value.Is<StrPtr>()) return GetSlice(runtime, value, None{}, None{}, int64_t{-1});
  Values items = Iterate(runtime, value);
  std::reverse(items.begin(), items.end());
  return value.Is<GeneratorPtr>() ? runtime.MakeList(std::move(items)) : runtime.MakeGenerator(std::move(items));
}

Value Join(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("join", args, {"d", "attribute"});
  Values items = Iterate(runtime, value);
  if (!bound.Or(1, None{}).IsNone()) {
    for (Value& item : items) item = Lookup(runtime, item, bound.At(1));
  }
  return JoinTexts(runtime, *Print(runtime, bound.Or(0, TrustedStr(""))), items);
}

Value Sum(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("sum", args, {"attribute", "start"});
  Value total = bound.Or(1, int64_t{0});
  if (total.Is<StrPtr>()) Fail("sum: can't sum strings");
  for (const Value& item : Iterate(runtime, value)) {
    total = Binary(runtime, BinaryOp::kAdd, total, Lookup(runtime, item, bound.Or(0, None{})));
  }
  return total;
}

Value Items(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("items", args, {});
  if (value.IsUndefined()) return runtime.MakeGenerator({});
  const DictPtr* dict = value.As<DictPtr>();
  if (dict == nullptr) Fail("items: can only get item pairs from a mapping");
  Values pairs;
  for (const auto& [key, item] : (*dict)->entries) pairs.push_back(runtime.Pair(key, item));
  return runtime.MakeGenerator(std::move(pairs));
}

Value Attr(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("attr", args, {"name"}, 1);
  const std::string& name = bound.Text(0)->marked.text;
  if (const Undefined* undefined = value.As<Undefined>()) Fail(*undefined->why);
  const DictPtr* dict = value.As<DictPtr>();
  // Attributes only: the keys of a dict do not count.
  if (dict != nullptr && FindDictMethod(name) == nullptr) {
    return MakeUndefined(fmt::format("'dict object' has no attribute '{}'", name));
  }
  return GetAttr(runtime, value, name);
}

Value Batch(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("batch", args, {"linecount", "fill_with"}, 1);
  const int64_t count = bound.Int(0);
  Values batches, batch;
  const auto flush = [&] { batches.push_back(runtime.MakeList(std::exchange(batch, {}))); };
  for (const Value& item : Iterate(runtime, value)) {
    if (static_cast<int64_t>(batch.size()) == count) flush();
    batch.push_back(item);
  }
  if (!batch.empty()) {
    const Value fill = bound.Or(1, None{});
    if (count > static_cast<int64_t>(batch.size())) runtime.CheckLength(static_cast<size_t>(count));
    while (!fill.IsNone() && static_cast<int64_t>(batch.size()) < count) batch.push_back(fill);
    flush();
  }
  return runtime.MakeGenerator(std::move(batches));
}

Value SliceFilter(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("slice", args, {"slices", "fill_with"}, 1);
  const int64_t slices = bound.Int(0);
  const Values items = Iterate(runtime, value);
  if (slices == 0) Fail("slice: division by zero");
  runtime.CheckLength(static_cast<size_t>(std::max<int64_t>(slices, 0)));
  const Value fill = bound.Or(1, None{});
  Values parts;
  size_t next = 0;
  for (int64_t i = 0; i < slices; ++i) {
    const auto length = static_cast<int64_t>(items.size());
    const bool longer = i < length % slices;
    const auto end = next + static_cast<size_t>(length / slices) + (longer ? 1 : 0);
    Values part(items.begin() + static_cast<ptrdiff_t>(next), items.begin() + static_cast<ptrdiff_t>(end));
    if (!fill.IsNone() && !longer) part.push_back(fill);
    parts.push_back(runtime.MakeList(std::move(part)));
    next = end;
  }
  return runtime.MakeGenerator(std::move(parts));
}

Value CallFilter(Runtime& runtime, const Value& name, const Value& item, const Args& args) {
  const StrPtr* text = name.As<StrPtr>();
  const FilterFunction filter = text == nullptr ? nullptr : FindFilter((*text)->view());
  if (filter == nullptr) Fail(fmt::format("no filter is named {}", ReprForMessage(name)));
  runtime.Step();
  return filter(runtime, item, args);
}

Value Map(Runtime& runtime, const Value& value, const Args& args) {
  if (!Truth(value)) return runtime.MakeGenerator({});
  Values results;
  if (args.positional.empty()) {
    const BoundArgs bound("map", args, {"attribute", "default"}, 1);
    const Value fallback = bound.Or(1, None{});
    for (const Value& item : Iterate(runtime, value)) results.push_back(Lookup(runtime, item, bound.At(0), &fallback));
  } else {
    const Args rest{Values(args.positional.begin() + 1, args.positional.end()), args.keywords};
    for (const Value& item : Iterate(runtime, value)) {
      results.push_back(CallFilter(runtime, args.positional[0], item, rest));
    }
  }
  return runtime.MakeGenerator(std::move(results));
}

// select, reject, selectattr, rejectattr: [attribute,] [test, its arguments]
template <bool keep, bool by_attribute>
Value Select(Runtime& runtime, const Value& value, const Args& args) {
  if (!Truth(value)) return runtime.MakeGenerator({});
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
  for (const Value& item : Iterate(runtime, value)) {
    runtime.Step();
    const Value tested = by_attribute ? Lookup(runtime, item, args.positional[0]) : item;
    const bool holds = test == nullptr ? Truth(tested) : test(runtime, tested, rest);
    if (holds == keep) kept.push_back(item);
  }
  return runtime.MakeGenerator(std::move(kept));
}

constexpr FilterEntry kSequenceFilters[] = {
    {"attr", &Attr},
    {"batch", &Batch},
    {"count", &LengthFilter},
    {"dictsort", &DictSort},
    {"first", &First},
    {"groupby", &GroupBy},
    {"items", &Items},
    {"join", &Join},
    {"last", &Last},
    {"length", &LengthFilter},
    {"list", &ListFilter},
    {"map", &Map},
    {"max", &Extreme<true>},
    {"min", &Extreme<false>},
    {"reject", &Select<false, false>},
    {"rejectattr", &Select<false, true>},
    {"reverse", &Reverse},
    {"select", &Select<true, false>},
    {"selectattr", &Select<true, true>},
    {"slice", &SliceFilter},
    {"sort", &Sort},
    {"sum", &Sum},
    {"unique", &Unique},
};

}  // namespace

std::span<const FilterEntry> SequenceFilters() { return kSequenceFilters; }

}  // namespace ingot::chat
