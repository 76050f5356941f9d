// Values of the template language, with the semantics of the Python objects that Jinja templates see.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"
#include "chat/text.h"

namespace ingot::chat {

// Thrown inside chat/ only; Compile and Render turn it into a Status.
struct Failure {
  Code code;
  std::string message;
  bool from_template = false;  // raise_exception: the message is the template author's own
};
[[noreturn]] void Fail(std::string message);

class Value;
struct ListData;
struct DictData;
struct MethodData;
struct Object;  // what has an identity: namespaces, macros, loops (runtime.h)
using ListPtr = std::shared_ptr<const ListData>;
using DictPtr = std::shared_ptr<const DictData>;
using MethodPtr = std::shared_ptr<const MethodData>;

struct None {};
// Prints as nothing and is false; anything else that is done to it fails with `why`.
struct Undefined {
  std::shared_ptr<const std::string> why;
};
enum class Builtin : uint8_t { kRaiseException, kStrftimeNow, kNamespace, kRange };

class Value {
 public:
  using Rep =
      std::variant<Undefined, None, bool, int64_t, double, StrPtr, ListPtr, DictPtr, MethodPtr, Builtin, Object*>;
  Value() = default;  // undefined
  template <typename T>
    requires(std::is_same_v<T, bool> || std::is_same_v<T, int64_t> || std::is_same_v<T, double>)
  Value(T scalar) : rep_(scalar) {}                           // NOLINT: implicit on purpose, as those below
  Value(None none) : rep_(none) {}                            // NOLINT
  Value(Undefined undefined) : rep_(std::move(undefined)) {}  // NOLINT
  Value(StrPtr text) : rep_(std::move(text)) {}               // NOLINT
  Value(ListPtr list) : rep_(std::move(list)) {}              // NOLINT
  Value(DictPtr dict) : rep_(std::move(dict)) {}              // NOLINT
  Value(MethodPtr method) : rep_(std::move(method)) {}        // NOLINT
  Value(Builtin builtin) : rep_(builtin) {}                   // NOLINT
  Value(Object* object) : rep_(object) {}                     // NOLINT

  // nullptr when the value is of another kind.
  template <typename T>
  const T* As() const {
    return std::get_if<T>(&rep_);
  }
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(rep_);
  }
  bool IsUndefined() const { return Is<Undefined>(); }
  bool IsNone() const { return Is<None>(); }
  const Rep& rep() const { return rep_; }

 private:
  Rep rep_;
};
using Values = std::vector<Value>;

// How much there is to a value, what is shared counted as often as it is seen: going through it costs that much.
struct Extent {
  int64_t weight = 16;  // bytes, about; at most kMaxWeight
  int depth = 1;        // 1 + that of the deepest item
  void Add(const Value& item);
};
constexpr int64_t kMaxWeight = int64_t{1} << 48;
constexpr int kMaxDepthOfData = 200;  // printing, comparing and destroying recurse so deep
Extent ExtentOf(const Value& value);

// Lists, and what Python has beside them. Immutable: the sandbox refuses append and the like.
struct ListData {
  enum class Kind : uint8_t {
    kList,
    kTuple,
    kView,       // dict.items() and its kin: has a length and no index
    kGenerator,  // what map, select and their kin give: has neither, and is always true
  };
  Kind kind = Kind::kList;
  Values items;
  Extent extent;
  bool in_message = false;  // the content of a message; see Runtime::NotePrintedData
  bool IsIndexable() const { return kind <= Kind::kTuple; }
};

// Python's hash; fails for lists, dicts and other unhashable values.
size_t HashValue(const Value& value);
bool EqualValues(const Value& left, const Value& right);
struct ValueHash {
  size_t operator()(const Value& value) const { return HashValue(value); }
};
struct ValueEqual {
  bool operator()(const Value& left, const Value& right) const { return EqualValues(left, right); }
};

// A dict in order of insertion.
struct DictData {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<Value, size_t, ValueHash, ValueEqual> index;  // only of dicts that are not small
  Extent extent;
  bool in_message = false;  // the arguments of a call; see Runtime::NotePrintedData

  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  void Set(Value key, Value value);  // while it is being made

 private:
  size_t FindIndex(const Value& key) const;  // entries.size() if absent
};

// The arguments of a call, by position and by name.
struct Args {
  Values positional;
  std::vector<std::pair<std::string, Value>> keywords;
};

class Runtime;
struct MethodEntry {
  std::string_view name;
  Value (*call)(Runtime& runtime, const Value& self, const Args& args);
};
struct MethodData {
  Value self;
  const MethodEntry* entry;
};

Value MakeUndefined(std::string why);
std::string_view TypeName(ListData::Kind kind);
std::string_view TypeName(const Value& value);  // "str", "NoneType", "dict_items", …
bool Truth(const Value& value);
bool IsNumber(const Value& value);                           // bool counts
const int64_t* AsInt(const Value& value, int64_t& storage);  // bool counts as 0 or 1; null otherwise
// Less than, for numbers, strings, lists and tuples; fails for others as Python does.
bool LessThan(const Value& left, const Value& right);
// As str() and repr() print it; strings keep their origin, all else is trusted.
void AppendPrinted(MarkedText& out, const Value& value);
void AppendRepr(MarkedText& out, const Value& value);
StrPtr ToStr(const Value& value);
std::string FloatRepr(double number);
// For error messages.
std::string ReprForMessage(const Value& value);
// No byte in it came from a user.
bool WhollyTrusted(const Value& value);
// The content or the arguments of a message are in it, as a list or a dict.
bool HoldsMessageData(const Value& value);

}  // namespace ingot::chat
