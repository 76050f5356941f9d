// JSON in: Boost.JSON with limits, and typed access whose errors name the path of the field.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace ingot {

// Parses UTF-8 text; nesting is limited to 64. `name` (a file or a field) opens the error message, which has the
// offset. At most `max_parts` keys, strings, arrays and objects, which take memory of their own (up to 130 bytes for
// two characters); other values take 24 bytes, and are not counted.
Result<boost::json::value> ParseJson(std::string_view text, std::string_view name,
                                     size_t max_parts = std::numeric_limits<size_t>::max());

// A parsed value and the path that led to it ("config.json: rope_scaling.factor"). Does not own the value.
class JsonView {
 public:
  JsonView(const boost::json::value& value, std::string path) : value_(&value), path_(std::move(path)) {}

  const boost::json::value& value() const { return *value_; }
  const std::string& path() const { return path_; }

  // Member lookups. Absent and null are the same: nullopt, or the default. A member of another type is
  // kInvalidArgument. Find is empty too when this is no object.
  std::optional<JsonView> Find(std::string_view key) const;
  Result<JsonView> Get(std::string_view key) const;  // kInvalidArgument when absent
  Result<int64_t> Int(std::string_view key) const;
  Result<int64_t> Int(std::string_view key, int64_t fallback) const;
  Result<double> Double(std::string_view key) const;
  Result<double> Double(std::string_view key, double fallback) const;
  Result<bool> Bool(std::string_view key, bool fallback) const;
  Result<std::string> String(std::string_view key) const;
  Result<std::string> String(std::string_view key, std::string_view fallback) const;

  // This value itself, as a type. An integral double (4096.0) counts as an integer.
  Result<int64_t> AsInt() const;
  Result<double> AsDouble() const;
  Result<bool> AsBool() const;
  Result<std::string> AsString() const;
  Result<const boost::json::array*> AsArray() const;
  Result<const boost::json::object*> AsObject() const;
  JsonView At(size_t index) const;  // REQUIRES: an array with more than `index` elements

 private:
  const boost::json::value* value_;
  std::string path_;
};

// Appends `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
void AppendJsonString(std::string& out, std::string_view text);
// Appends the shortest form that reads back to the same number; NaN and infinities, which JSON lacks, as null.
void AppendJsonNumber(std::string& out, double value);
void AppendJsonNumber(std::string& out, float value);

}  // namespace ingot
