// Methods of strings, lists and dicts.
#include <algorithm>
#include <limits>

#include "chat/runtime.h"
#include "chat/string_ops.h"
#include "chat/unicode.h"

namespace ingot::chat {
namespace {

const Str& Self(const Value& self) { return **self.As<StrPtr>(); }

Value Upper(Runtime& runtime, const Value& self, const Args& args) {
  BoundArgs("upper", args, {});
  runtime.WorkOn(self);
  return UpperCase(Self(self));
}

Value Lower(Runtime& runtime, const Value& self, const Args& args) {
  BoundArgs("lower", args, {});
  runtime.WorkOn(self);
  return LowerCase(Self(self));
}

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

template <bool from_right>
Value Split(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("split", args, {"sep", "maxsplit"});
  const StrPtr separator = bound.OptionalText(0);
  if (separator != nullptr && separator->view().empty()) Fail("split(): empty separator");
  return runtime.MakeList(SplitText(runtime, Self(self), separator.get(), bound.Int(1, -1), from_right));
}

Value SplitLinesMethod(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("splitlines", args, {"keepends"});
  return runtime.MakeList(SplitLines(runtime, Self(self), bound.Flag(0)));
}

template <bool from_right>
Value Partition(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("partition", args, {"sep"}, 1);
  const StrPtr& separator = bound.Text(0);
  if (separator->view().empty()) Fail("partition(): empty separator");
  Values parts = SplitText(runtime, Self(self), separator.get(), 1, from_right);
  if (parts.size() == 1) {
    parts = from_right ? Values{TrustedStr(""), TrustedStr(""), self} : Values{self, TrustedStr(""), TrustedStr("")};
  } else {
    parts.insert(parts.begin() + 1, separator);
  }
  return runtime.MakeList(std::move(parts), ListData::Kind::kTuple);
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

// str.startswith and str.endswith, of one prefix or a tuple of them, within [start, end).
template <bool at_end>
Value StartsOrEnds(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("startswith", args, {"prefix", "start", "end"}, 1);
  const Value start = bound.Or(1, None{}), end = bound.Or(2, None{});
  const bool whole = start.IsNone() && end.IsNone();
  const Value part = whole ? self : GetSlice(runtime, self, start, end, None{});
  const std::string_view text = Self(part).view();
  Values prefixes{bound.At(0)};
  if (const ListPtr* tuple = bound.At(0).As<ListPtr>(); tuple && (*tuple)->IsTuple()) prefixes = (*tuple)->items;
  for (const Value& prefix : prefixes) {
    const StrPtr* wanted = prefix.As<StrPtr>();
    if (wanted == nullptr) Fail(fmt::format("startswith(): a string is needed, not {}", TypeName(prefix)));
    runtime.WorkOn(prefix);
    if (at_end ? text.ends_with((*wanted)->view()) : text.starts_with((*wanted)->view())) return true;
  }
  return false;
}

// Where `needle` is in self[start:end], in characters of self; -1 if nowhere.
int64_t Find(Runtime& runtime, const Value& self, const BoundArgs& bound, bool from_right) {
  const Value part = GetSlice(runtime, self, bound.Or(1, None{}), bound.Or(2, None{}), None{});
  const std::string_view text = Self(part).view(), needle = bound.Text(0)->view();
  runtime.WorkOn(part);
  runtime.WorkOn(bound.At(0));
  size_t found = FindBytes(text, needle, 0);
  if (found == text.npos) return -1;
  if (from_right) found = FindLastBytes(text, needle);
  int64_t start = bound.Or(1, None{}).IsNone() ? 0 : bound.Int(1);
  const int64_t length = *Length(self);
  if (start > length) return -1;
  if (start < 0) start = std::max<int64_t>(0, start + length);
  return start + static_cast<int64_t>(CountChars(text.substr(0, found)));
}

template <bool from_right, bool must_exist>
Value FindMethod(Runtime& runtime, const Value& self, const Args& args) {
  const int64_t found = Find(runtime, self, BoundArgs("find", args, {"sub", "start", "end"}, 1), from_right);
  if (must_exist && found < 0) Fail("substring not found");
  return found;
}

Value CountMethod(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("count", args, {"sub", "start", "end"}, 1);
  const Value part = GetSlice(runtime, self, bound.Or(1, None{}), bound.Or(2, None{}), None{});
  const std::string_view text = Self(part).view(), needle = bound.Text(0)->view();
  runtime.WorkOn(part);
  if (needle.empty()) return static_cast<int64_t>(Self(part).num_chars) + 1;
  int64_t count = 0;
  for (size_t at = FindBytes(text, needle, 0); at != text.npos; at = FindBytes(text, needle, at + needle.size()))
    ++count;
  return count;
}

template <bool prefix>
Value RemoveAffix(Runtime& runtime, const Value& self, const Args& args) {
  const std::string_view text = Self(self).view();
  const BoundArgs bound("removeprefix", args, {"affix"}, 1);
  const std::string_view affix = bound.Text(0)->view();
  runtime.WorkOn(self);
  if (affix.empty()) return self;
  if (prefix && text.starts_with(affix)) return SliceBytes(Self(self), affix.size(), text.size());
  if (!prefix && text.ends_with(affix)) return SliceBytes(Self(self), 0, text.size() - affix.size());
  return self;
}

// -1: ljust, 0: center, 1: rjust
template <int side>
Value Justify(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("center", args, {"width", "fillchar"}, 1);
  const StrPtr fill = bound.Has(1) ? bound.Text(1) : TrustedStr(" ");
  if (fill->num_chars != 1) Fail("the fill character must be exactly one character long");
  return PadText(runtime, Self(self), bound.Int(0), *fill, side);
}

Value ZeroFill(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("zfill", args, {"width"}, 1);
  const Str& text = Self(self);
  const bool has_sign = !text.view().empty() && (text.view()[0] == '-' || text.view()[0] == '+');
  const StrPtr digits = SliceBytes(text, has_sign ? 1 : 0, text.view().size());
  const int64_t width = bound.Int(0);
  const Value padded = PadText(runtime, *digits, has_sign && width > 0 ? width - 1 : width, *TrustedStr("0"), 1);
  MarkedText out;
  AppendSlice(out, text.marked, 0, has_sign ? 1 : 0);
  AppendMarked(out, Self(padded).marked);
  return runtime.MakeString(std::move(out));
}

template <bool (*predicate)(char32_t)>
Value AllChars(Runtime& runtime, const Value& self, const Args& args) {
  BoundArgs("isalpha", args, {});
  runtime.WorkOn(self);
  const std::string_view text = Self(self).view();
  for (size_t pos = 0; pos < text.size();) {
    const Decoded decoded = DecodeUtf8(text, pos);
    if (!predicate(decoded.code)) return false;
    pos += decoded.length;
  }
  return !text.empty();
}

template <bool (*predicate)(std::string_view)>
Value WholeText(Runtime& runtime, const Value& self, const Args& args) {
  BoundArgs("isupper", args, {});
  runtime.WorkOn(self);
  return predicate(Self(self).view());
}

bool IsAlnum(char32_t code) { return IsAlpha(code) || IsNumeric(code); }
bool IsAsciiText(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

Value Format(Runtime& runtime, const Value& self, const Args& args) { return FormatBraces(runtime, Self(self), args); }

Value ExpandTabs(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("expandtabs", args, {"tabsize"});
  const int64_t size = bound.Int(0, 8);
  runtime.WorkOn(self);
  MarkedText out;
  OriginCursor origin(Self(self).marked);
  const std::string_view text = Self(self).view();
  int64_t column = 0;
  for (size_t pos = 0; pos < text.size();) {
    const Decoded decoded = DecodeUtf8(text, pos);
    const bool trusted = origin.TrustedAt(pos);
    if (decoded.code == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      runtime.CheckLength(out.text.size() + static_cast<size_t>(spaces));
      out.Append(std::string(static_cast<size_t>(spaces), ' '), trusted);
      column += spaces;
    } else {
      out.Append(text.substr(pos, decoded.length), trusted);
      column = decoded.code == '\n' || decoded.code == '\r' ? 0 : column + 1;
    }
    pos += decoded.length;
  }
  return runtime.MakeString(std::move(out));
}

constexpr MethodEntry kStrMethods[] = {
    {"capitalize", &Converted<&Capitalize>},
    {"center", &Justify<0>},
    {"count", &CountMethod},
    {"endswith", &StartsOrEnds<true>},
    {"expandtabs", &ExpandTabs},
    {"find", &FindMethod<false, false>},
    {"format", &Format},
    {"index", &FindMethod<false, true>},
    {"isalnum", &AllChars<&IsAlnum>},
    {"isalpha", &AllChars<&IsAlpha>},
    {"isascii", &WholeText<&IsAsciiText>},
    {"isdecimal", &AllChars<&IsDecimal>},
    {"isdigit", &AllChars<&IsDigit>},
    {"islower", &WholeText<&IsLowerText>},
    {"isnumeric", &AllChars<&IsNumeric>},
    {"isspace", &AllChars<&IsSpace>},
    {"isupper", &WholeText<&IsUpperText>},
    {"join", &JoinMethod},
    {"ljust", &Justify<-1>},
    {"lower", &Lower},
    {"lstrip", &StripMethod<true, false>},
    {"partition", &Partition<false>},
    {"removeprefix", &RemoveAffix<true>},
    {"removesuffix", &RemoveAffix<false>},
    {"replace", &Replace},
    {"rfind", &FindMethod<true, false>},
    {"rindex", &FindMethod<true, true>},
    {"rjust", &Justify<1>},
    {"rpartition", &Partition<true>},
    {"rsplit", &Split<true>},
    {"rstrip", &StripMethod<false, true>},
    {"split", &Split<false>},
    {"splitlines", &SplitLinesMethod},
    {"startswith", &StartsOrEnds<false>},
    {"strip", &StripMethod<true, true>},
    {"swapcase", &Converted<&SwapCase>},
    {"title", &Converted<&TitleMethod>},
    {"upper", &Upper},
    {"zfill", &ZeroFill},
};

const ListData& SelfList(const Value& self) { return **self.As<ListPtr>(); }

Value ListCount(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("count", args, {"value"}, 1);
  runtime.WorkOn(self);
  const Values& items = SelfList(self).items;
  return static_cast<int64_t>(
      std::count_if(items.begin(), items.end(), [&](const Value& item) { return EqualValues(item, bound.At(0)); }));
}

Value ListIndex(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("index", args, {"value", "start", "stop"}, 1);
  runtime.WorkOn(self);
  const Values& items = SelfList(self).items;
  const auto length = static_cast<int64_t>(items.size());
  const auto clamp = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + length : at, 0, length); };
  for (int64_t i = clamp(bound.Int(1, 0)); i < clamp(bound.Int(2, std::numeric_limits<int64_t>::max())); ++i) {
    if (EqualValues(items[static_cast<size_t>(i)], bound.At(0))) return i;
  }
  Fail(fmt::format("{} is not in list", ReprForMessage(bound.At(0))));
}

Value CopyMethod(Runtime&, const Value& self, const Args& args) {
  BoundArgs("copy", args, {});
  return self;  // values never change
}

const DictData& SelfDict(const Value& self) { return **self.As<DictPtr>(); }

Value DictGet(Runtime& runtime, const Value& self, const Args& args) {
  const BoundArgs bound("get", args, {"key", "default"}, 1);
  runtime.WorkOn(bound.At(0));
  const Value* found = SelfDict(self).Find(bound.At(0));
  return found != nullptr ? *found : bound.Or(1, None{});
}

template <ListData::Kind kind>
Value DictView(Runtime& runtime, const Value& self, const Args& args) {
  BoundArgs("items", args, {});
  Values items;
  for (const auto& [key, value] : SelfDict(self).entries) {
    if constexpr (kind == ListData::Kind::kItems) {
      items.push_back(runtime.Pair(key, value));
    } else {
      items.push_back(kind == ListData::Kind::kKeys ? key : value);
    }
  }
  return runtime.MakeList(std::move(items), kind);
}

constexpr MethodEntry kListMethods[] = {{"copy", &CopyMethod}, {"count", &ListCount}, {"index", &ListIndex}};
constexpr MethodEntry kDictMethods[] = {{"copy", &CopyMethod},
                                        {"get", &DictGet},
                                        {"items", &DictView<ListData::Kind::kItems>},
                                        {"keys", &DictView<ListData::Kind::kKeys>},
                                        {"values", &DictView<ListData::Kind::kValues>}};

template <size_t n>
const MethodEntry* FindEntry(const MethodEntry (&table)[n], std::string_view name) {
  const auto* found = std::find_if(std::begin(table), std::end(table), [&](const auto& e) { return e.name == name; });
  return found == std::end(table) ? nullptr : found;
}

}  // namespace

const MethodEntry* FindStrMethod(std::string_view name) { return FindEntry(kStrMethods, name); }
const MethodEntry* FindListMethod(std::string_view name) { return FindEntry(kListMethods, name); }
const MethodEntry* FindDictMethod(std::string_view name) { return FindEntry(kDictMethods, name); }

}  // namespace ingot::chat
