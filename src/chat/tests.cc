// What may stand after `is`.
#include <algorithm>

#include "chat/runtime.h"
#include "chat/string_ops.h"

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
bool IsCallable(const Value& value) {
  // Undefined has a method for calls, which fails.
  return value.Is<MethodPtr>() || value.Is<Builtin>() || value.IsUndefined() ||
         (value.Is<Object*>() && TypeName(value) != "Namespace" && TypeName(value) != "Cycler");
}
bool IsEscaped(const Value& value) { return value.Is<StrPtr>() && (*value.As<StrPtr>())->markup; }
bool IsSequence(const Value& value) {
  const ListPtr* list = value.As<ListPtr>();
  return value.IsUndefined() || value.Is<StrPtr>() || value.Is<DictPtr>() || (list && (*list)->IsIndexable());
}

template <bool (*predicate)(std::string_view)>
bool OfCase(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("the test", args, {});
  return predicate(Print(runtime, value)->view());
}

template <int64_t remainder>
bool Parity(Runtime& runtime, const Value& value, const Args& args) {
  BoundArgs("odd", args, {});
  return EqualValues(Binary(runtime, BinaryOp::kMod, value, int64_t{2}), remainder);
}

bool DivisibleBy(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("divisibleby", args, {"num"}, 1);
  return EqualValues(Binary(runtime, BinaryOp::kMod, value, bound.At(0)), int64_t{0});
}

template <CompareOp op>
bool Compared(Runtime& runtime, const Value& value, const Args& args) {
  const BoundArgs bound("the test", args, {"other"}, 1);
  return Compare(runtime, op, value, bound.At(0));
}

bool SameAs(Runtime&, const Value& value, const Args& args) {
  const BoundArgs bound("sameas", args, {"other"}, 1);
  return SameIdentity(value, bound.At(0));
}

bool IsFilterName(Runtime&, const Value& value, const Args& args) {
  BoundArgs("filter", args, {});
  HashValue(value);  // fails for what cannot be a name
  return value.Is<StrPtr>() && FindFilter((*value.As<StrPtr>())->view()) != nullptr;
}

bool IsTestName(Runtime&, const Value& value, const Args& args) {
  BoundArgs("test", args, {});
  HashValue(value);
  return value.Is<StrPtr>() && FindTest((*value.As<StrPtr>())->view()) != nullptr;
}

constexpr TestEntry kTests[] = {
    {"!=", &Compared<CompareOp::kNe>},
    {"<", &Compared<CompareOp::kLt>},
    {"<=", &Compared<CompareOp::kLe>},
    {"==", &Compared<CompareOp::kEq>},
    {">", &Compared<CompareOp::kGt>},
    {">=", &Compared<CompareOp::kGe>},
    {"boolean", &Plain<&IsBoolean>},
    {"callable", &Plain<&IsCallable>},
    {"defined", &Plain<&IsDefined>},
    {"divisibleby", &DivisibleBy},
    {"eq", &Compared<CompareOp::kEq>},
    {"equalto", &Compared<CompareOp::kEq>},
    {"escaped", &Plain<&IsEscaped>},
    {"even", &Parity<0>},
    {"false", &Plain<&IsFalse>},
    {"filter", &IsFilterName},
    {"float", &Plain<&IsFloat>},
    {"ge", &Compared<CompareOp::kGe>},
    {"greaterthan", &Compared<CompareOp::kGt>},
    {"gt", &Compared<CompareOp::kGt>},
    {"in", &Compared<CompareOp::kIn>},
    {"integer", &Plain<&IsInteger>},
    {"iterable", &Plain<&IsIterable>},
    {"le", &Compared<CompareOp::kLe>},
    {"lessthan", &Compared<CompareOp::kLt>},
    {"lower", &OfCase<&IsLowerText>},
    {"lt", &Compared<CompareOp::kLt>},
    {"mapping", &Plain<&IsMapping>},
    {"ne", &Compared<CompareOp::kNe>},
    {"none", &Plain<&IsNoneTest>},
    {"number", &Plain<&IsNumber>},
    {"odd", &Parity<1>},
    {"sameas", &SameAs},
    {"sequence", &Plain<&IsSequence>},
    {"string", &Plain<&IsString>},
    {"test", &IsTestName},
    {"true", &Plain<&IsTrue>},
    {"undefined", &Plain<&IsUndefinedTest>},
    {"upper", &OfCase<&IsUpperText>},
};

}  // namespace

TestFunction FindTest(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const TestEntry& e) { return e.name == name; });
  return found == std::end(kTests) ? nullptr : found->holds;
}

}  // namespace ingot::chat
