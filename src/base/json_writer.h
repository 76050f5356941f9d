// JSON out: objects member by member, and lists.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/json.h"

namespace ingot {

inline void AppendJson(std::string& out, std::string_view text) { AppendJsonString(out, text); }
inline void AppendJson(std::string& out, const char* text) { AppendJsonString(out, text); }
inline void AppendJson(std::string& out, const std::string& text) { AppendJsonString(out, text); }
inline void AppendJson(std::string& out, std::nullptr_t) { out += "null"; }
inline void AppendJson(std::string& out, bool value) { out += value ? "true" : "false"; }
template <typename T>
  requires std::is_arithmetic_v<T>
void AppendJson(std::string& out, T value) {
  if constexpr (std::is_floating_point_v<T>) {
    AppendJsonNumber(out, value);
  } else {
    out += std::to_string(value);
  }
}
template <typename T>
void AppendJson(std::string& out, const std::optional<T>& value) {
  value ? AppendJson(out, *value) : AppendJson(out, nullptr);
}

// JsonObject().Add("id", 5).AddJson("list", "[1,2]").Text()
class JsonObject {
 public:
  // Text, a number, true or false, nullptr, or an optional of these, which may be null.
  template <typename T>
  JsonObject& Add(std::string_view name, const T& value) {
    Name(name);
    AppendJson(out_, value);
    return *this;
  }
  JsonObject& AddJson(std::string_view name, std::string_view json) {
    Name(name);
    out_ += json;
    return *this;
  }
  std::string Text() const { return out_ + "}"; }

 private:
  void Name(std::string_view name) {
    if (out_.size() > 1) out_ += ',';
    AppendJsonString(out_, name);
    out_ += ':';
  }
  std::string out_ = "{";
};

// [f(a),f(b)]: `to_json` writes each item.
template <typename Items, typename ToJson>
std::string JsonList(const Items& items, const ToJson& to_json) {
  std::string out = "[";
  for (const auto& item : items) {
    if (out.size() > 1) out += ',';
    out += to_json(item);
  }
  return out + "]";
}
// Of numbers or texts.
template <typename Items>
std::string JsonList(const Items& items) {
  return JsonList(items, [](const auto& item) {
    std::string out;
    AppendJson(out, item);
    return out;
  });
}

}  // namespace ingot
