// What one rendering has: its limits, its objects, and the operations on values that need them.
#pragma once

#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "chat/chat_template.h"
#include "chat/value.h"

namespace ingot::chat {

struct Object {
  virtual ~Object() = default;
  virtual std::string_view TypeName() const = 0;
  // object.name; nullopt if it has none of that name.
  virtual std::optional<Value> Attribute(Runtime& runtime, std::string_view name) = 0;
};
struct Namespace : Object {
  std::unordered_map<std::string, Value> attributes;
  std::string_view TypeName() const override { return "Namespace"; }
  std::optional<Value> Attribute(Runtime& runtime, std::string_view name) override;
};
// Defined in interpreter.h: Macro, LoopState.

// What clients and templates call the reasoning of a message.
constexpr std::string_view kReasoningNames[] = {"reasoning_content", "reasoning", "thinking", "thought"};

// Not thread-safe: one per Render. Values hold plain pointers to its objects, so that cycles among them need no
// collector.
class Runtime {
 public:
  explicit Runtime(const RenderLimits& limits)
      : limits_(limits), steps_left_(limits.max_steps), work_left_(kWorkPerOutput * ToInt64(limits.max_output)) {}

  const RenderLimits& limits() const { return limits_; }
  // One statement or expression. Fails when there were too many.
  void Step() {
    if (--steps_left_ < 0) OutOfSteps();
  }
  // About so many bytes are looked at or made. Fails when there were too many.
  void Work(int64_t bytes) {
    work_left_ -= bytes;
    if (work_left_ < 0) OutOfWork();
  }
  void WorkOn(const Value& value) { Work(ExtentOf(value).weight); }
  void WorkOnItems(size_t count) { Work(kItemWork * ToInt64(count)); }
  // dict[key]; null where there is none.
  const Value* Find(const DictData& dict, const Value& key);
  // The template seems to take the content or the arguments of a message for something else than they are: it prints a
  // list or a dict, or goes through the characters of a text.
  void NotePrintedData() { prints_data_ = true; }
  void NoteWalkedText() { walks_text_ = true; }
  bool prints_data() const { return prints_data_; }
  bool walks_text() const { return walks_text_; }
  bool out_of_budget() const { return steps_left_ < 0 || work_left_ < 0; }
  // The name under which the template looks in vain for a message's reasoning, which has another; else empty.
  std::string_view other_reasoning() const { return reads_reasoning_ ? "" : other_reasoning_; }
  // Fails when a string of so many bytes would be too long.
  void CheckLength(size_t bytes) const;

  template <typename T>
  T* New() {
    Work(sizeof(T) + 64);
    objects_.push_back(std::make_unique<T>());
    return static_cast<T*>(objects_.back().get());
  }
  Value MakeString(MarkedText text, bool markup = false);
  Value MakeList(Values items, ListData::Kind kind = ListData::Kind::kList, bool in_message = false);
  Value MakeDict(DictData dict);
  Value Pair(Value first, Value second) {
    return MakeList({std::move(first), std::move(second)}, ListData::Kind::kTuple);
  }

 private:
  static constexpr int64_t kWorkPerOutput = 64;  // bytes of work allowed for each byte of output allowed
  static constexpr int64_t kItemWork = 64;       // what it costs to make or move a list's item, against copying bytes
  static int64_t ToInt64(size_t size) {
    return static_cast<int64_t>(size > (size_t{1} << 40) ? size_t{1} << 40 : size);
  }
  [[noreturn]] void OutOfSteps() const;
  [[noreturn]] void OutOfWork() const;

  RenderLimits limits_;
  int64_t steps_left_, work_left_;
  bool prints_data_ = false, walks_text_ = false, reads_reasoning_ = false;
  std::string_view other_reasoning_;
  std::deque<std::unique_ptr<Object>> objects_;
};

// value.name and value[key] as the sandboxed environment of Hugging Face looks them up.
Value GetAttr(Runtime& runtime, const Value& object, std::string_view name);
Value GetItem(Runtime& runtime, const Value& object, const Value& key);
Value GetSlice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step);

enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod };
Value Binary(Runtime& runtime, BinaryOp op, const Value& left, const Value& right);
Value Negate(Runtime& runtime, const Value& operand);
Value Positive(const Value& operand);
enum class CompareOp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };
bool Compare(Runtime& runtime, CompareOp op, const Value& left, const Value& right);

// The items that a `for` over it sees; fails when it cannot be iterated over.
Values Iterate(Runtime& runtime, const Value& value);
bool IsIterable(const Value& value);
// len(value); nullopt for what has none.
std::optional<int64_t> Length(const Value& value);
StrPtr Print(Runtime& runtime, const Value& value);

Value CallBuiltin(Runtime& runtime, Builtin builtin, const Args& args);
const MethodEntry* FindStrMethod(std::string_view name);
const MethodEntry* FindDictMethod(std::string_view name);

// nullptr when there is no such filter or test.
using FilterFunction = Value (*)(Runtime& runtime, const Value& value, const Args& args);
using TestFunction = bool (*)(Runtime& runtime, const Value& value, const Args& args);
FilterFunction FindFilter(std::string_view name);
TestFunction FindTest(std::string_view name);

// text % arguments: %s, %d and %%.
Value FormatPercent(Runtime& runtime, const Str& format, const Value& arguments);
struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false;
  std::optional<MarkedText> indent;  // one level of it
  MarkedText item_separator, key_separator;
};
// json.dumps. Strings keep their origin; brackets, commas and numbers are trusted where all of the value is.
Value DumpJson(Runtime& runtime, const Value& value, const JsonStyle& style);
// in_message: it is the content of a message; what is named "arguments" is marked likewise.
Value FromJson(Runtime& runtime, const boost::json::value& json, bool trusted, bool in_message = false, int depth = 0);

// Arguments matched to parameter names, as a Python call would.
class BoundArgs {
 public:
  // The first `required` must be there.
  BoundArgs(std::string_view function, const Args& args, std::initializer_list<std::string_view> names,
            size_t required = 0);
  bool Has(size_t i) const { return values_[i] != nullptr; }
  const Value& At(size_t i) const { return *values_[i]; }  // REQUIRES: Has(i)
  Value Or(size_t i, Value fallback) const { return Has(i) ? At(i) : std::move(fallback); }
  bool Flag(size_t i, bool fallback = false) const { return Has(i) ? Truth(At(i)) : fallback; }
  // Of the type, or fails.
  int64_t Int(size_t i) const;
  int64_t Int(size_t i, int64_t fallback) const { return Has(i) ? Int(i) : fallback; }
  const StrPtr& Text(size_t i) const;
  // Absent or None: null.
  StrPtr OptionalText(size_t i) const { return Has(i) && !At(i).IsNone() ? Text(i) : nullptr; }

 private:
  std::string function_;
  std::vector<const Value*> values_;
};

}  // namespace ingot::chat
