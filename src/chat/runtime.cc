#include "chat/runtime.h"

#include <algorithm>
#include <ctime>

namespace ingot::chat {

void Runtime::OutOfSteps() const {
  throw Failure{Code::kInvalidArgument, fmt::format("more than {} steps", limits_.max_steps)};
}

void Runtime::OutOfWork() const {
  throw Failure{Code::kInvalidArgument,
                fmt::format("too much text is made or searched (output is limited to {} bytes)", limits_.max_output)};
}

void Runtime::CheckLength(size_t bytes) const {
  if (bytes > limits_.max_output) Fail(fmt::format("a text is longer than {} bytes", limits_.max_output));
}

Value Runtime::MakeString(MarkedText text, bool markup) {
  CheckLength(text.text.size());
  Work(ToInt64(64 + text.text.size()));
  return MakeStr(std::move(text), markup);
}

namespace {
void CheckDepth(const Extent& extent) {
  if (extent.depth > kMaxDepthOfData) Fail(fmt::format("data is nested more than {} deep", kMaxDepthOfData));
}
}  // namespace

Value Runtime::MakeList(Values items, ListData::Kind kind, bool in_message) {
  WorkOnItems(1 + items.size());
  ListData list;
  list.kind = kind;
  list.in_message = in_message;
  for (const Value& item : items) list.extent.Add(item);
  CheckDepth(list.extent);
  list.items = std::move(items);
  return std::make_shared<const ListData>(std::move(list));
}

Value Runtime::MakeDict(DictData dict) {
  WorkOnItems(1 + 2 * dict.entries.size());
  CheckDepth(dict.extent);
  return std::make_shared<const DictData>(std::move(dict));
}

const Value* Runtime::Find(const DictData& dict, const Value& key) {
  WorkOn(key);
  const Value* found = dict.Find(key);
  const StrPtr* text = key.As<StrPtr>();
  const auto* name = text == nullptr
                         ? std::end(kReasoningNames)
                         : std::find(std::begin(kReasoningNames), std::end(kReasoningNames), (*text)->view());
  if (name == std::end(kReasoningNames)) return found;
  if (found != nullptr) {
    reads_reasoning_ = true;
  } else if (std::any_of(std::begin(kReasoningNames), std::end(kReasoningNames),
                         [&](std::string_view other) { return dict.Find(other) != nullptr; })) {
    other_reasoning_ = *name;
  }
  return found;
}

BoundArgs::BoundArgs(std::string_view function, const Args& args, std::initializer_list<std::string_view> names,
                     size_t required)
    : function_(function), values_(names.size(), nullptr) {
  if (args.positional.size() > names.size()) {
    Fail(fmt::format("{}() takes at most {} arguments, {} given", function, names.size(), args.positional.size()));
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.keywords) {
    const auto at = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (at == names.size()) Fail(fmt::format("{}() got an unexpected keyword argument '{}'", function, name));
    if (values_[at] != nullptr) Fail(fmt::format("{}() got multiple values for argument '{}'", function, name));
    values_[at] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) Fail(fmt::format("{}() lacks its argument '{}'", function, names.begin()[i]));
  }
}

int64_t BoundArgs::Int(size_t i) const {
  int64_t storage = 0;
  const int64_t* number = AsInt(At(i), storage);
  if (number == nullptr) Fail(fmt::format("{}(): an integer is needed, not {}", function_, TypeName(At(i))));
  return *number;
}

const StrPtr& BoundArgs::Text(size_t i) const {
  const StrPtr* text = At(i).As<StrPtr>();
  if (text == nullptr) Fail(fmt::format("{}(): a string is needed, not {}", function_, TypeName(At(i))));
  return *text;
}

namespace {

Value CallRaise(Runtime& runtime, const Args& args) {
  const BoundArgs bound("raise_exception", args, {"message"}, 1);
  throw Failure{Code::kInvalidArgument, Print(runtime, bound.At(0))->marked.text, /*from_template=*/true};
}

Value CallStrftime(Runtime& runtime, const Args& args) {
  const BoundArgs bound("strftime_now", args, {"format"}, 1);
  const StrPtr& format = bound.Text(0);
  if (format->marked.text.size() > 1024) Fail("strftime_now: the format is too long");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  // Each character gives at most some dozens, except a field width.
  std::string text(64 * 1024, '\0');
  text.resize(std::strftime(text.data(), text.size(), format->marked.text.c_str(), &local));
  MarkedText out;
  out.Append(text, format->wholly_trusted());
  return runtime.MakeString(std::move(out));
}

Value CallRange(Runtime& runtime, const Args& args) {
  constexpr int64_t kMaxRange = 100'000;  // the sandbox's own limit
  const BoundArgs bound("range", args, {"start", "stop", "step"}, 1);
  const int64_t start = bound.Has(1) ? bound.Int(0) : 0, stop = bound.Has(1) ? bound.Int(1) : bound.Int(0);
  const int64_t step = bound.Int(2, 1);
  if (step == 0) Fail("range() arg 3 must not be zero");
  Values items;
  for (__int128 i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (items.size() == kMaxRange) Fail(fmt::format("a range has more than {} items", kMaxRange));
    items.emplace_back(static_cast<int64_t>(i));
  }
  return runtime.MakeList(std::move(items));
}

Value CallNamespace(Runtime& runtime, const Args& args) {
  if (!args.positional.empty()) Fail("namespace() takes arguments by name only");
  Namespace* made = runtime.New<Namespace>();
  for (const auto& [name, value] : args.keywords) made->attributes[name] = value;
  return static_cast<Object*>(made);
}

}  // namespace

std::optional<Value> Namespace::Attribute(Runtime&, std::string_view name) {
  const auto found = attributes.find(std::string(name));
  if (found == attributes.end()) return std::nullopt;
  return found->second;
}

Value CallBuiltin(Runtime& runtime, Builtin builtin, const Args& args) {
  switch (builtin) {
    case Builtin::kRaiseException:
      return CallRaise(runtime, args);
    case Builtin::kStrftimeNow:
      return CallStrftime(runtime, args);
    case Builtin::kNamespace:
      return CallNamespace(runtime, args);
    case Builtin::kRange:
      return CallRange(runtime, args);
  }
  return {};
}

}  // namespace ingot::chat
