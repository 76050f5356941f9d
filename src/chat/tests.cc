// What may stand after `is`.
#include <algorithm>

#include "chat/runtime.h"

namespace ingot::chat {
namespace {

struct TestEntry {
  std::string_view name;
  TestFunction holds;
};

template <bool (*predicate)(const Value&)>
bool Plain(Runtime&, const Value& value, const Args& args) {
  BoundArgs("the test", args, {});
  return predicate(value);
}

bool IsDefined(const Value& value) { return !value.IsUndefined(); }
bool IsUndefinedTest(const Value& value) { return value.IsUndefined(); }
bool IsNoneTest(const Value& value) { return value.IsNone(); }
bool IsBoolean(const Value& value) { return value.Is<bool>(); }
bool IsTrue(const Value& value) { return value.Is<bool>() && *value.As<bool>(); }
bool IsFalse(const Value& value) { return value.Is<bool>() && !*value.As<bool>(); }
bool IsInteger(const Value& value) { return value.Is<int64_t>(); }
bool IsFloat(const Value& value) { return value.Is<double>(); }
bool IsString(const Value& value) { return value.Is<StrPtr>(); }
bool IsMapping(const Value& value) { return value.Is<DictPtr>(); }
bool IsSequence(const Value& value) {
  const ListPtr* list = value.As<ListPtr>();
  return value.IsUndefined() || value.Is<StrPtr>() || value.Is<DictPtr>() || (list && (*list)->IsIndexable());
}

template <CompareOp op>
bool Compared(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("the test", args, {"other"}, 1);
  return Compare(runtime, op, value, bound.At(0));
}

constexpr TestEntry kTests[] = {
    {"!=", &Compared<CompareOp::kNe>},
    {"<", &Compared<CompareOp::kLt>},
    {"<=", &Compared<CompareOp::kLe>},
    {"==", &Compared<CompareOp::kEq>},
    {">", &Compared<CompareOp::kGt>},
    {">=", &Compared<CompareOp::kGe>},
    {"boolean", &Plain<&IsBoolean>},
    {"defined", &Plain<&IsDefined>},
    {"eq", &Compared<CompareOp::kEq>},
    {"equalto", &Compared<CompareOp::kEq>},
    {"false", &Plain<&IsFalse>},
    {"float", &Plain<&IsFloat>},
    {"ge", &Compared<CompareOp::kGe>},
    {"greaterthan", &Compared<CompareOp::kGt>},
    {"gt", &Compared<CompareOp::kGt>},
    {"in", &Compared<CompareOp::kIn>},
    {"integer", &Plain<&IsInteger>},
    {"iterable", &Plain<&IsIterable>},
    {"le", &Compared<CompareOp::kLe>},
    {"lessthan", &Compared<CompareOp::kLt>},
    {"lt", &Compared<CompareOp::kLt>},
    {"mapping", &Plain<&IsMapping>},
    {"ne", &Compared<CompareOp::kNe>},
    {"none", &Plain<&IsNoneTest>},
    {"number", &Plain<&IsNumber>},
    {"sequence", &Plain<&IsSequence>},
    {"string", &Plain<&IsString>},
    {"true", &Plain<&IsTrue>},
    {"undefined", &Plain<&IsUndefinedTest>},
};

}  // namespace

TestFunction FindTest(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const TestEntry& e) { return e.name == name; });
  return found == std::end(kTests) ? nullptr : found->holds;
}

}  // namespace ingot::chat
