// ParseJson and JsonView on any bytes; AppendJsonString of any bytes must read back.
#include <cstdlib>

#include "base/json.h"

using ingot::AppendJsonString;
using ingot::JsonView;
using ingot::ParseJson;

namespace {

void Visit(const JsonView& view) {
  (void)view.AsInt();
  (void)view.AsDouble();
  (void)view.AsString();
  if (const auto array = view.AsArray()) {
    for (size_t i = 0; i < (*array)->size(); ++i) Visit(view.At(i));
  }
  if (const auto object = view.AsObject()) {
    for (const auto& member : **object) {
      if (const auto child = view.Find(member.key())) Visit(*child);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto value = ParseJson(text, "fuzz")) Visit(JsonView(*value, "fuzz"));
  std::string quoted;
  AppendJsonString(quoted, text);
  if (!ParseJson(quoted, "quoted")) std::abort();
  return 0;
}
