#include "formats/pickle.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <optional>

#include "formats/byte_reader.h"
#include "formats/pickle_opcodes.h"

namespace ingot::formats {
namespace {

constexpr size_t kMaxPickleBytes = size_t{64} << 20;
constexpr size_t kMaxRank = 8,
                 kMaxKeyBytes = 64;             // a value may be shared by every tensor, so the large ones are refused
constexpr size_t kMaxValues = size_t{1} << 22;  // at most one per opcode; a model has some thousands

using ValueId = uint32_t;

struct Value {
  enum class Kind : uint8_t { kNone, kBool, kInt, kFloat, kText, kGlobal, kTuple, kList, kDict, kStorage, kTensor };
  Kind kind = Kind::kNone;
  int64_t number = 0;               // kBool, kInt; kStorage: its elements
  std::string text = {};            // kText; kGlobal: "module name"; kStorage: its class
  std::vector<ValueId> items = {};  // kTuple, kList; kDict: keys and values by turns; kStorage: its key;
                                    // kTensor: storage, offset, size, stride
};
using Kind = Value::Kind;

const char* KindName(Kind kind) {
  constexpr const char* kNames[] = {"None",  "a boolean", "an integer",   "a float",   "a string", "a class",
                                    "tuple", "a list",    "a dictionary", "a storage", "a tensor"};
  return kNames[static_cast<size_t>(kind)];
}

constexpr std::string_view kStorageClasses[] = {
    "torch FloatStorage", "torch HalfStorage",  "torch BFloat16Storage", "torch DoubleStorage", "torch LongStorage",
    "torch IntStorage",   "torch ShortStorage", "torch CharStorage",     "torch ByteStorage",   "torch BoolStorage"};
constexpr std::string_view kRebuildTensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils _rebuild_parameter";
constexpr std::string_view kOrderedDict = "collections OrderedDict";

bool IsStorageClass(std::string_view global) {
  return std::find(std::begin(kStorageClasses), std::end(kStorageClasses), global) != std::end(kStorageClasses);
}

// The stack machine. Values live in one arena and refer to each other by number, so that cycles and deep nesting cost
// nothing and nothing recurses.
class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& file) : reader_(bytes, file), file_(file) {}
  Result<std::vector<PickledTensor>> Run();

 private:
  std::optional<Status> StepValue(uint8_t opcode);
  Status StepStack(uint8_t opcode);
  Status PushGlobal();
  Status PushLong();
  Status PushText(uint64_t bytes);
  Status Memoize(uint32_t key);
  Status Recall(uint32_t key);
  Status PushTuple(size_t count);
  Status PushMarkedTuple();
  Status Append(size_t first);
  Status SetItems(size_t first);
  Status Build();
  Status PushStorage();
  Status Reduce();
  Status RebuildTensor(const Value& arguments);

  Status Push(Value value);
  Status Push(Kind kind, int64_t number = 0) { return Push(Value{.kind = kind, .number = number}); }
  Result<size_t> PopMark();
  Status Need(size_t count) const;
  const Value& Top(size_t below = 0) const { return values_[stack_[stack_.size() - 1 - below]]; }
  Result<std::vector<int64_t>> Integers(ValueId tuple, const char* what) const;
  Result<PickledTensor> TensorOf(const std::string& name, const Value& tensor) const;
  Result<std::vector<PickledTensor>> Collect(const Value& root) const;
  template <typename... Args>
  Error Bad(fmt::format_string<Args...> format, Args&&... args) const {
    return Corrupt("{}: data.pkl at offset {}: {}", file_, at_, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename T>
  Result<T> Read() {
    return reader_.Read<T>("data.pkl operand");
  }
  Result<std::string_view> ReadLine();

  ByteReader reader_;
  const std::string& file_;
  size_t at_ = 0;  // of the current opcode
  std::vector<Value> values_;
  std::vector<ValueId> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  boost::unordered_flat_map<uint32_t, ValueId> memo_;
  std::optional<ValueId> result_;
};

Status Machine::Push(Value value) {
  if (values_.size() == kMaxValues) return Bad("more than {} values", kMaxValues);
  stack_.push_back(static_cast<ValueId>(values_.size()));
  values_.push_back(std::move(value));
  return {};
}

// Of the values above the last mark, `count` must be there.
Status Machine::Need(size_t count) const {
  const size_t floor = marks_.empty() ? 0 : marks_.back();
  if (stack_.size() - floor < count)
    return Bad("the stack holds {} values, {} are needed", stack_.size() - floor, count);
  return {};
}

Result<size_t> Machine::PopMark() {
  if (marks_.empty()) return Bad("a mark is missing");
  const size_t first = marks_.back();
  marks_.pop_back();
  return first;
}

Result<std::string_view> Machine::ReadLine() {
  constexpr size_t kMaxLine = 256;
  ByteReader ahead = reader_;
  for (size_t length = 0; length <= kMaxLine; ++length) {
    INGOT_ASSIGN_OR_RETURN(const char c, ahead.Read<char>("data.pkl line"));
    if (c != '\n') continue;
    INGOT_ASSIGN_OR_RETURN(const std::string_view line, reader_.ReadText(length, "data.pkl line"));
    reader_ = ahead;
    return line;
  }
  return Bad("a name of more than {} bytes", kMaxLine);
}

Status Machine::PushGlobal() {
  INGOT_ASSIGN_OR_RETURN(const std::string_view module, ReadLine());
  INGOT_ASSIGN_OR_RETURN(const std::string_view name, ReadLine());
  std::string global = fmt::format("{} {}", module, name);
  if (global != kRebuildTensor && global != kRebuildParameter && global != kOrderedDict && !IsStorageClass(global)) {
    return Unsupported("{}: data.pkl at offset {} refers to {}.{}, which no tensor needs; refused", file_, at_, module,
                       name);
  }
  return Push(Value{.kind = Kind::kGlobal, .text = std::move(global)});
}

Status Machine::PushLong() {
  INGOT_ASSIGN_OR_RETURN(const auto size, Read<uint8_t>());
  if (size > 8) return Bad("an integer of {} bytes, at most 8 are read", size);
  INGOT_ASSIGN_OR_RETURN(const auto bytes, reader_.ReadBytes(size, "data.pkl integer"));
  uint64_t number = size > 0 && (bytes[size - 1u] & std::byte{0x80}) != std::byte{0} ? ~uint64_t{0} : 0;
  for (size_t i = size; i-- > 0;) number = number << 8 | static_cast<uint64_t>(bytes[i]);
  return Push(Kind::kInt, static_cast<int64_t>(number));
}

Status Machine::PushText(uint64_t bytes) {
  INGOT_ASSIGN_OR_RETURN(const std::string_view text, reader_.ReadText(bytes, "data.pkl string"));
  return Push(Value{.kind = Kind::kText, .text = std::string(text)});
}

Status Machine::Memoize(uint32_t key) {
  INGOT_RETURN_IF_ERROR(Need(1));
  memo_[key] = stack_.back();
  return {};
}

Status Machine::Recall(uint32_t key) {
  const auto found = memo_.find(key);
  if (found == memo_.end()) return Bad("memo {} is empty", key);
  stack_.push_back(found->second);
  return {};
}

Status Machine::PushTuple(size_t count) {
  INGOT_RETURN_IF_ERROR(Need(count));
  Value tuple{.kind = Kind::kTuple};
  tuple.items.assign(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
  stack_.resize(stack_.size() - count);
  return Push(std::move(tuple));
}

Status Machine::PushMarkedTuple() {
  INGOT_ASSIGN_OR_RETURN(const size_t first, PopMark());
  return PushTuple(stack_.size() - first);
}

// Moves the values from `first` on into the list below them.
Status Machine::Append(size_t first) {
  if (first == 0 || values_[stack_[first - 1]].kind != Kind::kList) return Bad("appends to what is no list");
  std::vector<ValueId>& items = values_[stack_[first - 1]].items;
  items.insert(items.end(), stack_.begin() + static_cast<ptrdiff_t>(first), stack_.end());
  stack_.resize(first);
  return {};
}

Status Machine::SetItems(size_t first) {
  if (first == 0 || values_[stack_[first - 1]].kind != Kind::kDict) return Bad("sets items of what is no dictionary");
  if ((stack_.size() - first) % 2 != 0) return Bad("a key without a value");
  std::vector<ValueId>& items = values_[stack_[first - 1]].items;
  items.insert(items.end(), stack_.begin() + static_cast<ptrdiff_t>(first), stack_.end());
  stack_.resize(first);
  return {};
}

// State of a dictionary (a module's _metadata): of no use here.
Status Machine::Build() {
  INGOT_RETURN_IF_ERROR(Need(2));
  if (Top(1).kind != Kind::kDict) return Bad("state for {}", KindName(Top(1).kind));
  stack_.pop_back();
  return {};
}

// ('storage', class, key, location, elements), which pickle calls a persistent id.
Status Machine::PushStorage() {
  INGOT_RETURN_IF_ERROR(Need(1));
  const Value& id = Top();
  if (id.kind != Kind::kTuple || id.items.size() != 5) return Bad("a persistent id that is no storage");
  const Value &tag = values_[id.items[0]], &type = values_[id.items[1]], &elements = values_[id.items[4]];
  if (tag.kind != Kind::kText || tag.text != "storage" || type.kind != Kind::kGlobal || !IsStorageClass(type.text) ||
      values_[id.items[2]].kind != Kind::kText || elements.kind != Kind::kInt || elements.number < 0) {
    return Bad("a persistent id that is no storage");
  }
  Value storage{.kind = Kind::kStorage, .number = elements.number, .text = type.text, .items = {id.items[2]}};
  stack_.pop_back();
  return Push(std::move(storage));
}

Status Machine::RebuildTensor(const Value& arguments) {
  const std::vector<ValueId>& items = arguments.items;
  if (items.size() < 6 || values_[items[0]].kind != Kind::kStorage || values_[items[1]].kind != Kind::kInt ||
      values_[items[2]].kind != Kind::kTuple || values_[items[3]].kind != Kind::kTuple) {
    return Bad("_rebuild_tensor_v2 takes (storage, offset, size, stride, requires_grad, hooks)");
  }
  Value tensor{.kind = Kind::kTensor};
  tensor.items.assign(items.begin(), items.begin() + 4);
  stack_.resize(stack_.size() - 2);
  return Push(std::move(tensor));
}

Status Machine::Reduce() {
  INGOT_RETURN_IF_ERROR(Need(2));
  const Value &arguments = Top(), &callee = Top(1);
  if (callee.kind != Kind::kGlobal || arguments.kind != Kind::kTuple) return Bad("a call of {}", KindName(callee.kind));
  if (callee.text == kRebuildTensor) return RebuildTensor(arguments);
  if (callee.text == kOrderedDict) {
    if (!arguments.items.empty()) return Bad("OrderedDict with arguments");
    stack_.resize(stack_.size() - 2);
    return Push(Kind::kDict);
  }
  if (callee.text != kRebuildParameter) return Bad("a call of {}", callee.text);
  if (arguments.items.empty() || values_[arguments.items[0]].kind != Kind::kTensor) {
    return Bad("_rebuild_parameter without a tensor");
  }
  const ValueId tensor = arguments.items[0];
  stack_.resize(stack_.size() - 2);
  stack_.push_back(tensor);
  return {};
}

// Opcodes that push one value; nullopt: not one of them.
std::optional<Status> Machine::StepValue(uint8_t opcode) {
  const auto read_and = [this]<typename T>(T, auto next) -> Status {
    INGOT_ASSIGN_OR_RETURN(const T operand, Read<T>());
    return next(operand);
  };
  const auto push_int = [this](auto number) { return Push(Kind::kInt, number); };
  switch (static_cast<PickleOp>(opcode)) {
    case PickleOp::kNone:
      return Push(Kind::kNone);
    case PickleOp::kNewTrue:
      return Push(Kind::kBool, 1);
    case PickleOp::kNewFalse:
      return Push(Kind::kBool, 0);
    case PickleOp::kBinInt:
      return read_and(int32_t{}, push_int);
    case PickleOp::kBinInt1:
      return read_and(uint8_t{}, push_int);
    case PickleOp::kBinInt2:
      return read_and(uint16_t{}, push_int);
    case PickleOp::kLong1:
      return PushLong();
    case PickleOp::kBinFloat:
      return read_and(uint64_t{}, [this](uint64_t) { return Push(Kind::kFloat); });
    case PickleOp::kBinUnicode:
      return read_and(uint32_t{}, [this](uint32_t bytes) { return PushText(bytes); });
    case PickleOp::kGlobal:
      return PushGlobal();
    case PickleOp::kBinGet:
      return read_and(uint8_t{}, [this](uint8_t key) { return Recall(key); });
    case PickleOp::kLongBinGet:
      return read_and(uint32_t{}, [this](uint32_t key) { return Recall(key); });
    case PickleOp::kEmptyTuple:
      return Push(Kind::kTuple);
    case PickleOp::kEmptyList:
      return Push(Kind::kList);
    case PickleOp::kEmptyDict:
      return Push(Kind::kDict);
    default:
      return std::nullopt;
  }
}

// Opcodes that work on what is on the stack.
Status Machine::StepStack(uint8_t opcode) {
  switch (static_cast<PickleOp>(opcode)) {
    case PickleOp::kBinPut: {
      INGOT_ASSIGN_OR_RETURN(const auto key, Read<uint8_t>());
      return Memoize(key);
    }
    case PickleOp::kLongBinPut: {
      INGOT_ASSIGN_OR_RETURN(const auto key, Read<uint32_t>());
      return Memoize(key);
    }
    case PickleOp::kMark:
      marks_.push_back(stack_.size());
      return {};
    case PickleOp::kTuple1:
      return PushTuple(1);
    case PickleOp::kTuple2:
      return PushTuple(2);
    case PickleOp::kTuple3:
      return PushTuple(3);
    case PickleOp::kTuple:
      return PushMarkedTuple();
    case PickleOp::kAppend:
      INGOT_RETURN_IF_ERROR(Need(2));
      return Append(stack_.size() - 1);
    case PickleOp::kAppends: {
      INGOT_ASSIGN_OR_RETURN(const size_t first, PopMark());
      return Append(first);
    }
    case PickleOp::kSetItem:
      INGOT_RETURN_IF_ERROR(Need(3));
      return SetItems(stack_.size() - 2);
    case PickleOp::kSetItems: {
      INGOT_ASSIGN_OR_RETURN(const size_t first, PopMark());
      return SetItems(first);
    }
    case PickleOp::kBuild:
      return Build();
    case PickleOp::kBinPersId:
      return PushStorage();
    case PickleOp::kReduce:
      return Reduce();
    case PickleOp::kStop:
      INGOT_RETURN_IF_ERROR(Need(1));
      result_ = stack_.back();
      return {};
    default:
      return Unsupported("{}: data.pkl at offset {}: opcode {}, which no tensor needs; refused", file_, at_,
                         PickleOpName(opcode));
  }
}

Result<std::vector<int64_t>> Machine::Integers(ValueId tuple, const char* what) const {
  std::vector<int64_t> numbers;
  if (values_[tuple].items.size() > kMaxRank) {
    return Unsupported("{}: data.pkl: the {} of a tensor has {} elements, at most {} are read", file_, what,
                       values_[tuple].items.size(), kMaxRank);
  }
  for (const ValueId id : values_[tuple].items) {
    if (values_[id].kind != Kind::kInt || values_[id].number < 0) {
      return Corrupt("{}: data.pkl: the {} of a tensor must be non-negative integers", file_, what);
    }
    numbers.push_back(values_[id].number);
  }
  return numbers;
}

Result<PickledTensor> Machine::TensorOf(const std::string& name, const Value& tensor) const {
  const Value& storage = values_[tensor.items[0]];
  if (values_[storage.items[0]].text.size() > kMaxKeyBytes) {
    return Corrupt("{}: data.pkl: the storage key of tensor {} has more than {} bytes", file_, name, kMaxKeyBytes);
  }
  PickledTensor out = {.name = name,
                       .storage_class = storage.text,
                       .storage_key = values_[storage.items[0]].text,
                       .storage_elements = storage.number,
                       .offset = values_[tensor.items[1]].number,
                       .shape = {},
                       .stride = {}};
  INGOT_ASSIGN_OR_RETURN(out.shape, Integers(tensor.items[2], "shape"));
  INGOT_ASSIGN_OR_RETURN(out.stride, Integers(tensor.items[3], "stride"));
  if (out.shape.size() != out.stride.size()) {
    return Corrupt("{}: data.pkl: tensor {} has {} dimensions, but {} strides", file_, name, out.shape.size(),
                   out.stride.size());
  }
  return out;
}

Result<std::vector<PickledTensor>> Machine::Collect(const Value& root) const {
  if (root.kind != Kind::kDict) {
    return Unsupported("{}: data.pkl holds {}; a dictionary of tensors is read", file_, KindName(root.kind));
  }
  std::vector<PickledTensor> tensors;
  boost::unordered_flat_set<std::string_view> names;
  for (size_t i = 0; i + 1 < root.items.size(); i += 2) {
    const Value &key = values_[root.items[i]], &value = values_[root.items[i + 1]];
    if (key.kind != Kind::kText || value.kind != Kind::kTensor) continue;
    if (!names.insert(key.text).second) return Corrupt("{}: data.pkl: tensor {} is there twice", file_, key.text);
    INGOT_ASSIGN_OR_RETURN(PickledTensor tensor, TensorOf(key.text, value));
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

Result<std::vector<PickledTensor>> Machine::Run() {
  if (reader_.remaining() > kMaxPickleBytes) {
    return Unsupported("{}: data.pkl has {} bytes, at most {} are read", file_, reader_.remaining(), kMaxPickleBytes);
  }
  INGOT_ASSIGN_OR_RETURN(const auto proto, Read<uint8_t>());
  INGOT_ASSIGN_OR_RETURN(const auto version, Read<uint8_t>());
  if (proto != kPickleProto) return Corrupt("{}: data.pkl does not begin with a pickle protocol", file_);
  if (version < 2 || version > 3)
    return Unsupported("{}: data.pkl has pickle protocol {}; 2 and 3 are read", file_, version);
  while (!result_) {
    at_ = reader_.offset();
    INGOT_ASSIGN_OR_RETURN(const auto opcode, Read<uint8_t>());
    std::optional<Status> status = StepValue(opcode);
    if (!status) status = StepStack(opcode);
    INGOT_RETURN_IF_ERROR(*std::move(status));
  }
  return Collect(values_[*result_]);
}

}  // namespace

Result<std::vector<PickledTensor>> ReadPickledTensors(std::span<const std::byte> bytes, const std::string& file) {
  return Machine(bytes, file).Run();
}

}  // namespace ingot::formats
