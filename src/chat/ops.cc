// Operators and look-ups.
#include <algorithm>
#include <cmath>

#include "chat/runtime.h"
#include "text/utf8.h"

namespace ingot::chat {
namespace {

[[noreturn]] void FailOperands(std::string_view op, const Value& left, const Value& right) {
  for (const Value* side : {&left, &right}) {
    if (const Undefined* undefined = side->As<Undefined>()) Fail(*undefined->why);
  }
  Fail(fmt::format("unsupported operand types for {}: '{}' and '{}'", op, TypeName(left), TypeName(right)));
}

constexpr std::string_view kOpNames[] = {"+", "-", "*", "/", "//", "%"};

[[noreturn]] void FailOverflow() { Fail("an integer does not fit 64 bits"); }

double Real(const Value& value) {
  int64_t storage = 0;
  if (const int64_t* number = AsInt(value, storage)) return static_cast<double>(*number);
  return *value.As<double>();
}

int64_t FloorDiv(int64_t left, int64_t right) {
  if (right == -1) {
    int64_t result;
    if (__builtin_sub_overflow(int64_t{0}, left, &result)) FailOverflow();
    return result;
  }
  return left / right - (left % right != 0 && (left < 0) != (right < 0) ? 1 : 0);
}

Value IntBinary(BinaryOp op, int64_t left, int64_t right) {
  int64_t result = 0;
  const bool divides = op == BinaryOp::kDiv || op == BinaryOp::kFloorDiv || op == BinaryOp::kMod;
  if (divides && right == 0) Fail("division by zero");
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(left, right, &result)) FailOverflow();
      return result;
    case BinaryOp::kSub:
      if (__builtin_sub_overflow(left, right, &result)) FailOverflow();
      return result;
    case BinaryOp::kMul:
      if (__builtin_mul_overflow(left, right, &result)) FailOverflow();
      return result;
    case BinaryOp::kDiv:
      return static_cast<double>(left) / static_cast<double>(right);
    case BinaryOp::kFloorDiv:
      return FloorDiv(left, right);
    case BinaryOp::kMod:
      return right == -1 ? int64_t{0} : left - FloorDiv(left, right) * right;
  }
  return {};
}

Value RealBinary(BinaryOp op, double left, double right) {
  const bool divides = op == BinaryOp::kDiv || op == BinaryOp::kFloorDiv || op == BinaryOp::kMod;
  if (divides && right == 0) Fail("division by zero");
  switch (op) {
    case BinaryOp::kAdd:
      return left + right;
    case BinaryOp::kSub:
      return left - right;
    case BinaryOp::kMul:
      return left * right;
    case BinaryOp::kDiv:
      return left / right;
    case BinaryOp::kFloorDiv:
      return std::floor(left / right);
    case BinaryOp::kMod: {
      const double rest = std::fmod(left, right);
      return rest != 0 && (rest < 0) != (right < 0) ? rest + right : rest;
    }
  }
  return {};
}

Value Join(Runtime& runtime, const Str& left, const Str& right) {
  const bool markup = left.markup || right.markup;
  MarkedText out;
  runtime.CheckLength(left.marked.text.size() + right.marked.text.size());
  AppendMarked(out, markup && !left.markup ? EscapeHtml(left)->marked : left.marked);
  AppendMarked(out, markup && !right.markup ? EscapeHtml(right)->marked : right.marked);
  return runtime.MakeString(std::move(out), markup);
}

Value Repeat(Runtime& runtime, const Value& value, int64_t times) {
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  size_t bytes = 0;
  if (const StrPtr* text = value.As<StrPtr>()) {
    if (__builtin_mul_overflow((*text)->marked.text.size(), count, &bytes)) bytes = SIZE_MAX;
    runtime.CheckLength(bytes);
    runtime.Work(static_cast<int64_t>(bytes));
    MarkedText out;
    for (size_t i = 0; i < count && bytes > 0; ++i) AppendMarked(out, (*text)->marked);
    return runtime.MakeString(std::move(out), (*text)->markup);
  }
  const ListData& list = **value.As<ListPtr>();
  if (__builtin_mul_overflow(list.items.size() * sizeof(Value), count, &bytes)) bytes = SIZE_MAX;
  runtime.CheckLength(bytes);
  runtime.Work(static_cast<int64_t>(bytes));
  Values items;
  for (size_t i = 0; i < count && bytes > 0; ++i) items.insert(items.end(), list.items.begin(), list.items.end());
  return runtime.MakeList(std::move(items), list.kind);
}

bool IsRepeatable(const Value& value) {
  const ListPtr* list = value.As<ListPtr>();
  return value.Is<StrPtr>() || (list && (*list)->IsIndexable());
}

bool Contains(Runtime& runtime, const Value& container, const Value& item) {
  if (const StrPtr* text = container.As<StrPtr>()) {
    const StrPtr* part = item.As<StrPtr>();
    if (part == nullptr) Fail(fmt::format("'in <string>' requires string as left operand, not {}", TypeName(item)));
    runtime.WorkOn(container);
    runtime.WorkOn(item);
    return FindBytes((*text)->view(), (*part)->view(), 0) != std::string_view::npos;
  }
  if (const DictPtr* dict = container.As<DictPtr>()) {
    return runtime.Find(**dict, item) != nullptr;
  }
  if (!IsIterable(container)) Fail(fmt::format("argument of type '{}' is not iterable", TypeName(container)));
  for (const Value& candidate : Iterate(runtime, container)) {
    runtime.Work(std::min(ExtentOf(candidate).weight, ExtentOf(item).weight));
    if (EqualValues(candidate, item)) return true;
  }
  return false;
}

}  // namespace

Value Binary(Runtime& runtime, BinaryOp op, const Value& left, const Value& right) {
  int64_t left_storage = 0, right_storage = 0;
  const int64_t *left_int = AsInt(left, left_storage), *right_int = AsInt(right, right_storage);
  if (left_int && right_int) return IntBinary(op, *left_int, *right_int);
  if (IsNumber(left) && IsNumber(right)) return RealBinary(op, Real(left), Real(right));
  if (op == BinaryOp::kAdd) {
    const StrPtr *text = left.As<StrPtr>(), *other_text = right.As<StrPtr>();
    if (text && other_text) return Join(runtime, **text, **other_text);
    const ListPtr *list = left.As<ListPtr>(), *other = right.As<ListPtr>();
    if (list && other && (*list)->kind == (*other)->kind && (*list)->IsIndexable()) {
      Values items = (*list)->items;
      items.insert(items.end(), (*other)->items.begin(), (*other)->items.end());
      return runtime.MakeList(std::move(items), (*list)->kind);
    }
  }
  if (op == BinaryOp::kMul && IsRepeatable(left) && right_int) return Repeat(runtime, left, *right_int);
  if (op == BinaryOp::kMul && IsRepeatable(right) && left_int) return Repeat(runtime, right, *left_int);
  if (op == BinaryOp::kMod && left.Is<StrPtr>()) return FormatPercent(runtime, **left.As<StrPtr>(), right);
  FailOperands(kOpNames[static_cast<size_t>(op)], left, right);
}

Value Negate(Runtime& runtime, const Value& operand) {
  if (const double* real = operand.As<double>()) return -*real;
  int64_t storage = 0;
  if (AsInt(operand, storage) != nullptr) return Binary(runtime, BinaryOp::kSub, int64_t{0}, operand);
  FailOperands("unary -", operand, operand);
}

Value Positive(const Value& operand) {
  if (operand.Is<double>()) return operand;
  int64_t storage = 0;
  if (const int64_t* number = AsInt(operand, storage)) return *number;
  FailOperands("unary +", operand, operand);
}

bool Compare(Runtime& runtime, CompareOp op, const Value& left, const Value& right) {
  if (op == CompareOp::kIn) return Contains(runtime, right, left);
  if (op == CompareOp::kNotIn) return !Contains(runtime, right, left);
  runtime.Work(std::min(ExtentOf(left).weight, ExtentOf(right).weight));
  if (op == CompareOp::kEq) return EqualValues(left, right);
  if (op == CompareOp::kNe) return !EqualValues(left, right);
  if (op == CompareOp::kLt) return LessThan(left, right);
  if (op == CompareOp::kGt) return LessThan(right, left);
  const bool less = op == CompareOp::kLe ? LessThan(left, right) : LessThan(right, left);
  return less || EqualValues(left, right);
}

bool IsIterable(const Value& value) {
  return value.IsUndefined() || value.Is<StrPtr>() || value.Is<ListPtr>() || value.Is<DictPtr>();
}

Values Iterate(Runtime& runtime, const Value& value) {
  if (const StrPtr* text = value.As<StrPtr>()) {
    runtime.WorkOnItems(2 * (*text)->num_chars);
    if ((*text)->in_message) runtime.NoteWalkedText();
    Values items;
    for (size_t pos = 0; pos < (*text)->view().size();) {
      const size_t length = DecodeUtf8((*text)->view(), pos).length;
      MarkedText piece;
      AppendSlice(piece, (*text)->marked, pos, pos + length);
      items.emplace_back(MakeStr(std::move(piece)));
      pos += length;
    }
    return items;
  }
  if (const ListPtr* list = value.As<ListPtr>()) {
    runtime.WorkOnItems((*list)->items.size());
    return (*list)->items;
  }
  if (const DictPtr* dict = value.As<DictPtr>()) {
    runtime.WorkOnItems((*dict)->entries.size());
    Values keys;
    for (const auto& entry : (*dict)->entries) keys.push_back(entry.first);
    return keys;
  }
  if (value.IsUndefined()) return {};
  Fail(fmt::format("'{}' object is not iterable", TypeName(value)));
}

std::optional<int64_t> Length(const Value& value) {
  if (const StrPtr* text = value.As<StrPtr>()) return static_cast<int64_t>((*text)->num_chars);
  const ListPtr* list = value.As<ListPtr>();
  if (list != nullptr && (*list)->kind != ListData::Kind::kGenerator) return std::ssize((*list)->items);
  if (const DictPtr* dict = value.As<DictPtr>()) return static_cast<int64_t>((*dict)->entries.size());
  if (value.IsUndefined()) return 0;
  return std::nullopt;
}

StrPtr Print(Runtime& runtime, const Value& value) {
  runtime.WorkOn(value);
  if (HoldsMessageData(value)) runtime.NotePrintedData();
  StrPtr text = ToStr(value);
  runtime.CheckLength(text->marked.text.size());
  return text;
}

}  // namespace ingot::chat
