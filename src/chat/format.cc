// "…" % arguments, as far as %s and %d.
#include <algorithm>
#include <cmath>

#include "chat/runtime.h"

namespace ingot::chat {
namespace {

int64_t Truncated(const Value& value) {
  int64_t storage = 0;
  if (const int64_t* number = AsInt(value, storage)) return *number;
  const double* real = value.As<double>();
  if (real == nullptr) Fail(fmt::format("%d: a number is needed, not {}", TypeName(value)));
  if (!(std::abs(*real) < 9.2e18)) Fail("%d: the number does not fit 64 bits");
  return static_cast<int64_t>(*real);
}

}  // namespace

Value FormatPercent(Runtime& runtime, const Str& format, const Value& arguments) {
  Values given{arguments};
  const ListPtr* tuple = arguments.As<ListPtr>();
  const bool is_tuple = tuple != nullptr && (*tuple)->kind == ListData::Kind::kTuple;
  if (is_tuple) given = (*tuple)->items;
  const std::string_view text = format.view();
  runtime.Work(static_cast<int64_t>(text.size()));
  MarkedText out;
  size_t next = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t percent = std::min(text.find('%', pos), text.size());
    AppendSlice(out, format.marked, pos, percent);
    if (percent == text.size()) break;
    const char type = percent + 1 < text.size() ? text[percent + 1] : 0;
    pos = percent + 2;
    runtime.Step();
    if (type == '%') {
      out.Append("%", true);
      continue;
    }
    if (type != 's' && type != 'd') Fail("format: only %s, %d and %% are supported");
    if (next == given.size()) Fail("not enough arguments for format string");
    const Value& argument = given[next++];
    const Value shown = type == 'd' ? Value(Truncated(argument)) : argument;
    AppendMarked(out, Print(runtime, shown)->marked);
    runtime.CheckLength(out.text.size());
  }
  // What can be indexed may be left unused; so Python has it.
  const bool indexable = arguments.Is<DictPtr>() || arguments.Is<ListPtr>() || arguments.IsUndefined();
  if (next < given.size() && (is_tuple || !indexable)) Fail("not all arguments converted during string formatting");
  return runtime.MakeString(std::move(out), format.markup);
}

}  // namespace ingot::chat
