#include "chat/value.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "chat/runtime.h"

namespace ingot::chat {
namespace {

constexpr size_t kSmallDict = 8;  // up to here a search is as quick as an index

long double Number(const Value& value) {  // 64 bits of mantissa: every int64 is exact
  if (const bool* flag = value.As<bool>()) return *flag;
  if (const int64_t* number = value.As<int64_t>()) return static_cast<long double>(*number);
  return *value.As<double>();
}

bool EqualItems(const Values& left, const Values& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(), EqualValues);
}

bool EqualLists(const ListData& left, const ListData& right) {
  return &left == &right || (left.kind == right.kind && left.IsIndexable() && EqualItems(left.items, right.items));
}

bool EqualDicts(const DictData& left, const DictData& right) {
  if (&left == &right) return true;
  if (left.entries.size() != right.entries.size()) return false;
  return std::all_of(left.entries.begin(), left.entries.end(), [&](const auto& entry) {
    const Value* other = right.Find(entry.first);
    return other != nullptr && EqualValues(entry.second, *other);
  });
}

}  // namespace

void Fail(std::string message) { throw Failure{Code::kInvalidArgument, std::move(message)}; }

Value MakeUndefined(std::string why) { return Undefined{std::make_shared<const std::string>(std::move(why))}; }

Extent ExtentOf(const Value& value) {
  if (const StrPtr* text = value.As<StrPtr>()) {
    return {static_cast<int64_t>(16 + (*text)->marked.text.size()), 0};
  }
  if (const ListPtr* list = value.As<ListPtr>()) return (*list)->extent;
  if (const DictPtr* dict = value.As<DictPtr>()) return (*dict)->extent;
  if (const MethodPtr* method = value.As<MethodPtr>()) return {16, ExtentOf((*method)->self).depth + 1};
  return {16, 0};
}

void Extent::Add(const Value& item) {
  const Extent other = ExtentOf(item);
  weight = std::min(kMaxWeight, weight + other.weight);
  depth = std::max(depth, other.depth + 1);
}

std::string_view TypeName(ListData::Kind kind) {
  constexpr std::string_view kNames[] = {"list", "tuple", "dict_items", "generator"};
  return kNames[static_cast<size_t>(kind)];
}

std::string_view TypeName(const Value& value) {
  struct Name {
    std::string_view operator()(const Undefined&) const { return "Undefined"; }
    std::string_view operator()(const None&) const { return "NoneType"; }
    std::string_view operator()(bool) const { return "bool"; }
    std::string_view operator()(int64_t) const { return "int"; }
    std::string_view operator()(double) const { return "float"; }
    std::string_view operator()(const StrPtr&) const { return "str"; }
    std::string_view operator()(const ListPtr& list) const { return chat::TypeName(list->kind); }
    std::string_view operator()(const DictPtr&) const { return "dict"; }
    std::string_view operator()(const MethodPtr&) const { return "builtin_function_or_method"; }
    std::string_view operator()(Builtin) const { return "function"; }
    std::string_view operator()(const Object* object) const { return object->TypeName(); }
  };
  return std::visit(Name{}, value.rep());
}

bool Truth(const Value& value) {
  struct Test {
    bool operator()(const Undefined&) const { return false; }
    bool operator()(const None&) const { return false; }
    bool operator()(bool flag) const { return flag; }
    bool operator()(int64_t number) const { return number != 0; }
    bool operator()(double number) const { return number != 0; }
    bool operator()(const StrPtr& text) const { return !text->marked.text.empty(); }
    bool operator()(const ListPtr& list) const {
      return list->kind == ListData::Kind::kGenerator || !list->items.empty();
    }
    bool operator()(const DictPtr& dict) const { return !dict->entries.empty(); }
    bool operator()(const MethodPtr&) const { return true; }
    bool operator()(Builtin) const { return true; }
    bool operator()(const Object*) const { return true; }
  };
  return std::visit(Test{}, value.rep());
}

bool IsNumber(const Value& value) { return value.Is<bool>() || value.Is<int64_t>() || value.Is<double>(); }

const int64_t* AsInt(const Value& value, int64_t& storage) {
  if (const int64_t* number = value.As<int64_t>()) return number;
  if (const bool* flag = value.As<bool>()) {
    storage = *flag;
    return &storage;
  }
  return nullptr;
}

bool EqualValues(const Value& left, const Value& right) {
  if (IsNumber(left) && IsNumber(right)) return Number(left) == Number(right);
  if (left.rep().index() != right.rep().index()) return false;
  if (const StrPtr* text = left.As<StrPtr>()) return (*text)->view() == (*right.As<StrPtr>())->view();
  if (const ListPtr* list = left.As<ListPtr>()) return EqualLists(**list, **right.As<ListPtr>());
  if (const DictPtr* dict = left.As<DictPtr>()) return EqualDicts(**dict, **right.As<DictPtr>());
  if (const MethodPtr* method = left.As<MethodPtr>()) return *method == *right.As<MethodPtr>();
  if (const Builtin* builtin = left.As<Builtin>()) return *builtin == *right.As<Builtin>();
  if (Object* const* object = left.As<Object*>()) return *object == *right.As<Object*>();
  return true;  // none, undefined
}

bool LessThan(const Value& left, const Value& right) {
  if (IsNumber(left) && IsNumber(right)) return Number(left) < Number(right);
  const StrPtr *text = left.As<StrPtr>(), *other_text = right.As<StrPtr>();
  if (text && other_text) return (*text)->view() < (*other_text)->view();  // UTF-8 sorts as code points do
  const ListPtr *list = left.As<ListPtr>(), *other = right.As<ListPtr>();
  if (list && other && (*list)->kind == (*other)->kind && (*list)->IsIndexable()) {
    const Values &a = (*list)->items, &b = (*other)->items;
    const auto [at, other_at] = std::mismatch(a.begin(), a.end(), b.begin(), b.end(), EqualValues);
    if (at == a.end() || other_at == b.end()) return a.size() < b.size();
    return LessThan(*at, *other_at);
  }
  for (const Value* side : {&left, &right}) {
    if (const Undefined* undefined = side->As<Undefined>()) Fail(*undefined->why);
  }
  Fail(fmt::format("'<' not supported between instances of '{}' and '{}'", TypeName(left), TypeName(right)));
}

size_t HashValue(const Value& value) {
  if (IsNumber(value)) return std::hash<long double>()(Number(value));
  if (const StrPtr* text = value.As<StrPtr>()) return std::hash<std::string_view>()((*text)->view());
  if (const ListPtr* list = value.As<ListPtr>(); list && (*list)->kind == ListData::Kind::kTuple) {
    size_t hash = 1;
    for (const Value& item : (*list)->items) hash = hash * 1'000'003 + HashValue(item);
    return hash;
  }
  if (value.Is<ListPtr>() || value.Is<DictPtr>()) Fail(fmt::format("unhashable type: '{}'", TypeName(value)));
  if (Object* const* object = value.As<Object*>()) return std::hash<Object*>()(*object);
  return value.rep().index();
}

size_t DictData::FindIndex(const Value& key) const {
  if (entries.size() > kSmallDict) {
    const auto found = index.find(key);
    return found == index.end() ? entries.size() : found->second;
  }
  HashValue(key);  // fails for what cannot be a key
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return EqualValues(entry.first, key); });
  return static_cast<size_t>(found - entries.begin());
}

const Value* DictData::Find(const Value& key) const {
  const size_t found = FindIndex(key);
  return found == entries.size() ? nullptr : &entries[found].second;
}

const Value* DictData::Find(std::string_view key) const {
  if (entries.size() > kSmallDict) return Find(Value(UntrustedStr(key)));
  for (const auto& [candidate, value] : entries) {
    const StrPtr* text = candidate.As<StrPtr>();
    if (text != nullptr && (*text)->view() == key) return &value;
  }
  return nullptr;
}

void DictData::Set(Value key, Value value) {
  extent.Add(key);
  extent.Add(value);
  if (const size_t present = FindIndex(key); present < entries.size()) {
    entries[present].second = std::move(value);
    return;
  }
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() == kSmallDict + 1) {
    for (size_t i = 0; i < entries.size(); ++i) index.emplace(entries[i].first, i);
  } else if (entries.size() > kSmallDict) {
    index.emplace(entries.back().first, entries.size() - 1);
  }
}

bool WhollyTrusted(const Value& value) {
  if (const StrPtr* text = value.As<StrPtr>()) return (*text)->wholly_trusted();
  if (const ListPtr* list = value.As<ListPtr>()) {
    return std::all_of((*list)->items.begin(), (*list)->items.end(), WhollyTrusted);
  }
  if (const DictPtr* dict = value.As<DictPtr>()) {
    return std::all_of((*dict)->entries.begin(), (*dict)->entries.end(),
                       [](const auto& entry) { return WhollyTrusted(entry.first) && WhollyTrusted(entry.second); });
  }
  return true;
}

bool HoldsMessageData(const Value& value) {
  if (const ListPtr* list = value.As<ListPtr>()) {
    return (*list)->in_message || std::any_of((*list)->items.begin(), (*list)->items.end(), HoldsMessageData);
  }
  const DictPtr* dict = value.As<DictPtr>();
  return dict != nullptr &&
         ((*dict)->in_message || std::any_of((*dict)->entries.begin(), (*dict)->entries.end(),
                                             [](const auto& entry) { return HoldsMessageData(entry.second); }));
}

}  // namespace ingot::chat
