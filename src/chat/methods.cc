// Methods of strings, lists and dicts.
#include <algorithm>

#include "chat/runtime.h"
#include "chat/string_ops.h"
#include "text/utf8.h"

namespace ingot::chat {
namespace {

const Str& Self(const Value& self) { return **self.As<StrPtr>(); }

template <StrPtr (*convert)(const Str&)>
Value Converted(Runtime& runtime, const Value& self, const Args& args) {
  BoundArgs("the method", args, {});
  runtime.WorkOn(self);
  return convert(Self(self));
}

template <bool left, bool right>
Value StripMethod(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("strip", args, {"chars"});
  const StrPtr chars = bound.OptionalText(0);
  runtime.WorkOn(self);
  if (chars != nullptr) runtime.WorkOn(chars);
  return Strip(*self.As<StrPtr>(), chars.get(), {left, right});
}

Value Split(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("split", args, {"sep", "maxsplit"});
  const StrPtr separator = bound.OptionalText(0);
  if (separator != nullptr && separator->view().empty()) Fail("split(): empty separator");
  return runtime.MakeList(SplitText(runtime, Self(self), separator.get(), bound.Int(1, -1)));
}

Value JoinMethod(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("join", args, {"iterable"}, 1);
  const Values items = Iterate(runtime, bound.At(0));
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].Is<StrPtr>()) continue;
    Fail(fmt::format("join(): item {} is not a string but {}", i, TypeName(items[i])));
  }
  return JoinTexts(runtime, Self(self), items);
}

Value Replace(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("replace", args, {"old", "new", "count"}, 2);
  return ReplaceText(runtime, Self(self), *bound.Text(0), *bound.Text(1), bound.Int(2, -1));
}

// str.startswith and str.endswith, of one prefix or a tuple of them.
template <bool at_end>
Value StartsOrEnds(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("startswith", args, {"prefix"}, 1);
  const std::string_view text = Self(self).view();
  Values prefixes{bound.At(0)};
  const ListPtr* tuple = bound.At(0).As<ListPtr>();
  if (tuple != nullptr && (*tuple)->kind == ListData::Kind::kTuple) prefixes = (*tuple)->items;
  for (const Value& prefix : prefixes) {
    const StrPtr* wanted = prefix.As<StrPtr>();
    if (wanted == nullptr) Fail(fmt::format("startswith(): a string is needed, not {}", TypeName(prefix)));
    runtime.WorkOn(prefix);
    if (at_end ? text.ends_with((*wanted)->view()) : text.starts_with((*wanted)->view())) return true;
  }
  return false;
}

// In characters; -1 if it is nowhere.
template <bool from_right>
Value Find(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("find", args, {"sub"}, 1);
  const std::string_view text = Self(self).view(), needle = bound.Text(0)->view();
  runtime.WorkOn(self);
  runtime.WorkOn(bound.At(0));
  size_t found = FindBytes(text, needle, 0);
  if (found == text.npos) return int64_t{-1};
  if (from_right) {
    // Sought in the reverse, as only FindBytes is linear.
    const std::string reversed(text.rbegin(), text.rend()), reversed_needle(needle.rbegin(), needle.rend());
    found = text.size() - FindBytes(reversed, reversed_needle, 0) - needle.size();
  }
  return static_cast<int64_t>(CountCharacters(text.substr(0, found)));
}

constexpr MethodEntry kStrMethods[] = {
    {"capitalize", &Converted<&Capitalize>},
    {"endswith", &StartsOrEnds<true>},
    {"find", &Find<false>},
    {"join", &JoinMethod},
    {"lower", &Converted<&LowerCase>},
    {"lstrip", &StripMethod<true, false>},
    {"replace", &Replace},
    {"rfind", &Find<true>},
    {"rstrip", &StripMethod<false, true>},
    {"split", &Split},
    {"startswith", &StartsOrEnds<false>},
    {"strip", &StripMethod<true, true>},
    {"title", &Converted<&TitleMethod>},
    {"upper", &Converted<&UpperCase>},
};

const DictData& SelfDict(const Value& self) { return **self.As<DictPtr>(); }

Value DictGet(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("get", args, {"key", "default"}, 1);
  const Value* found = runtime.Find(SelfDict(self), bound.At(0));
  return found != nullptr ? *found : bound.Or(1, None{});
}

Value DictItems(Runtime& runtime, const Value& self, const Args& args) {
  BoundArgs("items", args, {});
  Values items;
  for (const auto& [key, value] : SelfDict(self).entries) items.push_back(runtime.Pair(key, value));
  return runtime.MakeList(std::move(items), ListData::Kind::kView);
}

template <Value std::pair<Value, Value>::* side>
Value DictSide(Runtime& runtime, const Value& self, const Args& args) {
  BoundArgs("keys", args, {});
  Values items;
  for (const auto& entry : SelfDict(self).entries) items.push_back(entry.*side);
  return runtime.MakeList(std::move(items), ListData::Kind::kView);
}

using Entry = std::pair<Value, Value>;
constexpr MethodEntry kDictMethods[] = {{"get", &DictGet},
                                        {"items", &DictItems},
                                        {"keys", &DictSide<&Entry::first>},
                                        {"values", &DictSide<&Entry::second>}};

template <size_t n>
const MethodEntry* FindEntry(const MethodEntry (&table)[n], std::string_view name) {
  const auto* found = std::find_if(std::begin(table), std::end(table), [&](const auto& e) { return e.name == name; });
  return found == std::end(table) ? nullptr : found;
}

}  // namespace

const MethodEntry* FindStrMethod(std::string_view name) { return FindEntry(kStrMethods, name); }
const MethodEntry* FindDictMethod(std::string_view name) { return FindEntry(kDictMethods, name); }

}  // namespace ingot::chat
