// Attributes, items and slices.
#include <algorithm>

#include "chat/runtime.h"
#include "text/utf8.h"

namespace ingot::chat {
namespace {

// As Jinja names it in its messages.
std::string Described(const Value& object) {
  return object.IsNone() ? "None" : fmt::format("'{} object'", TypeName(object));
}

Value Missing(const Value& object, std::string_view name) {
  return MakeUndefined(fmt::format("{} has no attribute '{}'", Described(object), name));
}

// What Python's getattr finds: methods, and the attributes of our own objects.
std::optional<Value> PythonAttribute(Runtime& runtime, const Value& object, std::string_view name) {
  if (const Undefined* undefined = object.As<Undefined>()) Fail(*undefined->why);
  if (Object* const* thing = object.As<Object*>()) return (*thing)->Attribute(runtime, name);
  const MethodEntry* entry = nullptr;
  if (object.Is<StrPtr>()) entry = FindStrMethod(name);
  if (object.Is<DictPtr>()) entry = FindDictMethod(name);
  if (entry == nullptr) return std::nullopt;
  return std::make_shared<const MethodData>(object, entry);
}

// object[key] where Python has it; nullopt for its TypeError and LookupError.
std::optional<Value> PythonItem(Runtime& runtime, const Value& object, const Value& key) {
  if (const DictPtr* dict = object.As<DictPtr>()) {
    if (key.Is<ListPtr>() || key.Is<DictPtr>()) return std::nullopt;
    const Value* found = runtime.Find(**dict, key);
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  const std::optional<int64_t> length = Length(object);
  int64_t storage = 0;
  const int64_t* index = AsInt(key, storage);
  if (!length || index == nullptr) return std::nullopt;
  const int64_t at = *index < 0 ? *index + *length : *index;
  if (at < 0 || at >= *length) return std::nullopt;
  if (const StrPtr* text = object.As<StrPtr>()) {
    if (!(*text)->single_bytes()) runtime.WorkOn(object);
    if ((*text)->in_message) runtime.NoteWalkedText();
    const size_t begin = (*text)->ByteOffset(static_cast<size_t>(at));
    return SliceBytes(**text, begin, begin + DecodeUtf8((*text)->view(), begin).length);
  }
  const ListData& list = **object.As<ListPtr>();
  if (!list.IsIndexable()) return std::nullopt;
  return list.items[static_cast<size_t>(at)];
}

std::optional<int64_t> SliceBound(const Value& value) {
  if (value.IsNone()) return std::nullopt;
  int64_t storage = 0;
  const int64_t* number = AsInt(value, storage);
  if (number == nullptr) {
    if (const Undefined* undefined = value.As<Undefined>()) Fail(*undefined->why);
    Fail("slice indices must be integers or None");
  }
  return *number;
}

struct SliceRange {
  int64_t first, step;
  size_t count;
};

// What Python's slice.indices gives.
SliceRange MakeRange(int64_t length, std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step) {
  const auto clamp = [&](std::optional<int64_t> bound, int64_t fallback) {
    if (!bound) return fallback;
    const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
    const int64_t from_start = *bound < 0 ? (*bound < -length ? -1 : *bound + length) : *bound;
    return std::clamp(from_start, low, std::max(low, high));
  };
  const int64_t first = clamp(start, step < 0 ? length - 1 : 0), last = clamp(stop, step < 0 ? -1 : length);
  const __int128 distance = step < 0 ? first - last : last - first;
  const __int128 stride = step < 0 ? -static_cast<__int128>(step) : step;
  return {first, step, distance <= 0 ? 0 : static_cast<size_t>((distance + stride - 1) / stride)};
}

Value SliceText(Runtime& runtime, const Str& text, const SliceRange& range) {
  const std::string_view bytes = text.view();
  if (range.count == 0) return runtime.MakeString({}, text.markup);
  const auto first = static_cast<size_t>(range.first);
  if (range.step == 1) {
    const size_t begin = text.ByteOffset(first);
    size_t end = begin;
    for (size_t i = 0; i < range.count; ++i) end += text.single_bytes() ? 1 : DecodeUtf8(bytes, end).length;
    return SliceBytes(text, begin, end);
  }
  runtime.WorkOnItems(text.num_chars);
  std::vector<size_t> offsets;  // of each character
  for (size_t pos = 0; pos < bytes.size(); pos += DecodeUtf8(bytes, pos).length) offsets.push_back(pos);
  offsets.push_back(bytes.size());
  MarkedText out;
  for (size_t i = 0; i < range.count; ++i) {
    const auto at = static_cast<size_t>(range.first + static_cast<int64_t>(i) * range.step);
    AppendSlice(out, text.marked, offsets[at], offsets[at + 1]);
  }
  return runtime.MakeString(std::move(out), text.markup);
}

}  // namespace

Value GetAttr(Runtime& runtime, const Value& object, std::string_view name) {
  if (std::optional<Value> found = PythonAttribute(runtime, object, name)) return *std::move(found);
  if (const DictPtr* dict = object.As<DictPtr>()) {
    if (const Value* found = runtime.Find(**dict, UntrustedStr(name))) return *found;
  }
  return Missing(object, name);
}

Value GetItem(Runtime& runtime, const Value& object, const Value& key) {
  if (const Undefined* undefined = object.As<Undefined>()) Fail(*undefined->why);
  if (std::optional<Value> found = PythonItem(runtime, object, key)) return *std::move(found);
  if (const StrPtr* name = key.As<StrPtr>()) {
    if (std::optional<Value> found = PythonAttribute(runtime, object, (*name)->view())) return *std::move(found);
    return Missing(object, (*name)->view());
  }
  return MakeUndefined(fmt::format("{} has no element {}", Described(object), ReprForMessage(key)));
}

Value GetSlice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (const Undefined* undefined = object.As<Undefined>()) Fail(*undefined->why);
  const ListPtr* list = object.As<ListPtr>();
  if (!object.Is<StrPtr>() && !(list && (*list)->IsIndexable())) {
    Fail(fmt::format("'{}' object cannot be sliced", TypeName(object)));
  }
  const int64_t stride = SliceBound(step).value_or(1);
  if (stride == 0) Fail("slice step cannot be zero");
  runtime.WorkOnItems(1);
  if (object.Is<StrPtr>()) runtime.WorkOn(object);
  const SliceRange range = MakeRange(*Length(object), SliceBound(start), SliceBound(stop), stride);
  if (const StrPtr* text = object.As<StrPtr>()) return SliceText(runtime, **text, range);
  runtime.WorkOnItems(range.count);
  Values items;
  for (size_t i = 0; i < range.count; ++i) {
    items.push_back((*list)->items[static_cast<size_t>(range.first + static_cast<int64_t>(i) * range.step)]);
  }
  return runtime.MakeList(std::move(items), (*list)->kind, (*list)->in_message);
}

}  // namespace ingot::chat
