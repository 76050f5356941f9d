#include "base/json.h"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>

#include "base/check.h"
#include "text/utf8.h"

namespace ingot {
namespace {

constexpr size_t kMaxDepth = 64;

const char* KindName(const boost::json::value& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      return "null";
    case boost::json::kind::bool_:
      return "a boolean";
    case boost::json::kind::int64:
    case boost::json::kind::uint64:
    case boost::json::kind::double_:
      return "a number";
    case boost::json::kind::string:
      return "a string";
    case boost::json::kind::array:
      return "an array";
    case boost::json::kind::object:
      return "an object";
  }
  return "unknown";
}

Error WrongKind(const JsonView& view, const char* wanted) {
  return InvalidArgument("{}: must be {}, is {}", view.path(), wanted, KindName(view.value()));
}

// "config.json" + "rope" → "config.json: rope"; "config.json: rope" + "factor" → "config.json: rope.factor"
std::string ChildPath(const std::string& path, std::string_view key) {
  return fmt::format("{}{}{}", path, path.find(": ") == std::string::npos ? ": " : ".", key);
}

// A view of member `key` converted by `as`; the default when the member is absent or null.
template <typename T>
Result<T> Member(const JsonView& view, std::string_view key, Result<T> (JsonView::*as)() const, T fallback) {
  const std::optional<JsonView> member = view.Find(key);
  return member ? ((*member).*as)() : Result<T>(std::move(fallback));
}

template <typename T>
Result<T> Member(const JsonView& view, std::string_view key, Result<T> (JsonView::*as)() const) {
  INGOT_ASSIGN_OR_RETURN(const JsonView member, view.Get(key));
  return (member.*as)();
}

void AppendEscape(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  constexpr char kHex[] = "0123456789abcdef";
  out += "\\u00";
  out += kHex[static_cast<uint8_t>(c) >> 4];
  out += kHex[static_cast<uint8_t>(c) & 15];
}

bool IsPlain(char c) {
  return static_cast<uint8_t>(c) >= 0x20 && static_cast<uint8_t>(c) < 0x80 && c != '"' && c != '\\';
}

template <typename T>
void AppendNumber(std::string& out, T value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char buffer[32];  // the shortest form of a double has at most 24 characters
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  INGOT_CHECK(error == std::errc());
  out.append(buffer, end);
}

// Builds the value from what the parser sees. Boost.JSON's own doubles may be a unit in the last place off: numbers
// with a fraction or an exponent are read from their text.
class ValueBuilder {
 public:
  using error_code = boost::json::error_code;
  using string_view = boost::json::string_view;
  static constexpr size_t max_object_size = boost::json::object::max_size();
  static constexpr size_t max_array_size = boost::json::array::max_size();
  static constexpr size_t max_key_size = boost::json::string::max_size();
  static constexpr size_t max_string_size = boost::json::string::max_size();

  explicit ValueBuilder(size_t max_parts) : max_parts_(max_parts) {}
  boost::json::value Release() { return stack_.release(); }
  bool has_too_many() const { return num_parts_ > max_parts_; }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code& error) { return CountPart(error); }
  bool on_object_end(size_t count, error_code&) {
    return Done([&] { stack_.push_object(count); });
  }
  bool on_array_begin(error_code& error) { return CountPart(error); }
  bool on_array_end(size_t count, error_code&) {
    return Done([&] { stack_.push_array(count); });
  }
  bool on_key_part(string_view text, size_t, error_code&) {
    return Done([&] { stack_.push_chars(text); });
  }
  bool on_key(string_view text, size_t, error_code& error) {
    return CountPart(error) && Done([&] { stack_.push_key(text); });
  }
  bool on_string_part(string_view text, size_t, error_code&) {
    return Done([&] { stack_.push_chars(text); });
  }
  bool on_string(string_view text, size_t, error_code& error) {
    return CountPart(error) && Done([&] { stack_.push_string(text); });
  }
  bool on_number_part(string_view text, error_code&) {
    return Done([&] { number_.append(text.data(), text.size()); });
  }
  bool on_int64(int64_t value, string_view, error_code&) {
    return EndNumber([&] { stack_.push_int64(value); });
  }
  bool on_uint64(uint64_t value, string_view, error_code&) {
    return EndNumber([&] { stack_.push_uint64(value); });
  }
  bool on_double(double approximate, string_view text, error_code&) {
    number_.append(text.data(), text.size());
    double value = 0;
    const auto [end, error] = std::from_chars(number_.data(), number_.data() + number_.size(), value);
    // Out of range: Boost.JSON has 0 or infinity, which says the same.
    const bool exact = error == std::errc() && end == number_.data() + number_.size();
    return EndNumber([&] { stack_.push_double(exact ? value : approximate); });
  }
  bool on_bool(bool value, error_code&) {
    return Done([&] { stack_.push_bool(value); });
  }
  bool on_null(error_code&) {
    return Done([&] { stack_.push_null(); });
  }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

 private:
  bool CountPart(error_code& error) {
    ++num_parts_;
    if (has_too_many()) error = boost::json::error::object_too_large;
    return !has_too_many();
  }
  template <typename Push>
  static bool Done(const Push& push) {
    push();
    return true;
  }
  template <typename Push>
  bool EndNumber(const Push& push) {
    number_.clear();
    return Done(push);
  }

  const size_t max_parts_;
  size_t num_parts_ = 0;
  boost::json::value_stack stack_;
  std::string number_;  // the text of the number being read
};

}  // namespace

Result<boost::json::value> ParseJson(std::string_view text, std::string_view name, size_t max_parts) {
  boost::json::parse_options options;
  options.max_depth = kMaxDepth;
  boost::json::basic_parser<ValueBuilder> parser(options, max_parts);
  boost::json::error_code error;
  const size_t consumed = parser.write_some(/*more=*/false, text.data(), text.size(), error);
  if (parser.handler().has_too_many()) {
    return InvalidArgument("{}: more than {} keys, strings, arrays and objects, at byte {}", name, max_parts, consumed);
  }
  if (error == boost::json::error::incomplete) {
    return InvalidArgument("{}: not JSON at byte {}: the text ends too early", name, consumed);
  }
  if (error == boost::json::error::too_deep) {
    return InvalidArgument("{}: JSON nested deeper than {} at byte {}", name, kMaxDepth, consumed);
  }
  // No syntax has such bytes: they are of a text, or of what comes outside of texts.
  if (error == boost::json::error::syntax && consumed < text.size() &&
      static_cast<unsigned char>(text[consumed]) >= 0x80) {
    return InvalidArgument("{}: not JSON at byte {}: this is no UTF-8, or no text in quotes", name, consumed);
  }
  if (error) return InvalidArgument("{}: not JSON at byte {}: {}", name, consumed, error.message());
  if (consumed < text.size()) return InvalidArgument("{}: not JSON at byte {}: extra data", name, consumed);
  return parser.handler().Release();
}

std::optional<JsonView> JsonView::Find(std::string_view key) const {
  const boost::json::object* object = value_->if_object();
  if (object == nullptr) return std::nullopt;
  const boost::json::value* member = object->if_contains(key);
  if (member == nullptr || member->is_null()) return std::nullopt;
  return JsonView(*member, ChildPath(path_, key));
}

Result<JsonView> JsonView::Get(std::string_view key) const {
  if (std::optional<JsonView> member = Find(key)) return *std::move(member);
  if (!value_->is_object()) return WrongKind(*this, "an object");
  return InvalidArgument("{}: missing", ChildPath(path_, key));
}

Result<int64_t> JsonView::Int(std::string_view key) const { return Member(*this, key, &JsonView::AsInt); }
Result<int64_t> JsonView::Int(std::string_view key, int64_t fallback) const {
  return Member(*this, key, &JsonView::AsInt, fallback);
}
Result<double> JsonView::Double(std::string_view key) const { return Member(*this, key, &JsonView::AsDouble); }
Result<double> JsonView::Double(std::string_view key, double fallback) const {
  return Member(*this, key, &JsonView::AsDouble, fallback);
}
Result<bool> JsonView::Bool(std::string_view key, bool fallback) const {
  return Member(*this, key, &JsonView::AsBool, fallback);
}
Result<std::string> JsonView::String(std::string_view key) const { return Member(*this, key, &JsonView::AsString); }
Result<std::string> JsonView::String(std::string_view key, std::string_view fallback) const {
  return Member(*this, key, &JsonView::AsString, std::string(fallback));
}

Result<int64_t> JsonView::AsInt() const {
  if (const int64_t* value = value_->if_int64()) return *value;
  if (value_->is_uint64()) return InvalidArgument("{}: {} is above {}", path_, value_->get_uint64(), INT64_MAX);
  const double* value = value_->if_double();
  if (value == nullptr) return WrongKind(*this, "an integer");
  // -2^63 as a double is what was a little below it in the text, too: the text of -2^63 itself is an int64.
  if (!(*value > -0x1p63 && *value < 0x1p63) || std::trunc(*value) != *value) {
    return InvalidArgument("{}: must be an integer of 64 bits, is {}", path_, *value);
  }
  return static_cast<int64_t>(*value);
}

Result<double> JsonView::AsDouble() const {
  if (const double* value = value_->if_double()) return *value;
  if (const int64_t* value = value_->if_int64()) return static_cast<double>(*value);
  if (const uint64_t* value = value_->if_uint64()) return static_cast<double>(*value);
  return WrongKind(*this, "a number");
}

Result<bool> JsonView::AsBool() const {
  const bool* value = value_->if_bool();
  if (value == nullptr) return WrongKind(*this, "a boolean");
  return *value;
}

Result<std::string> JsonView::AsString() const {
  const boost::json::string* value = value_->if_string();
  if (value == nullptr) return WrongKind(*this, "a string");
  return std::string(value->data(), value->size());
}

Result<const boost::json::array*> JsonView::AsArray() const {
  const boost::json::array* value = value_->if_array();
  if (value == nullptr) return WrongKind(*this, "an array");
  return value;
}

Result<const boost::json::object*> JsonView::AsObject() const {
  const boost::json::object* value = value_->if_object();
  if (value == nullptr) return WrongKind(*this, "an object");
  return value;
}

JsonView JsonView::At(size_t index) const {
  const boost::json::array* array = value_->if_array();
  INGOT_CHECK(array != nullptr && index < array->size());
  return JsonView((*array)[index], fmt::format("{}[{}]", path_, index));
}

void AppendJsonString(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    size_t plain = 0;
    while (plain < text.size() && IsPlain(text[plain])) ++plain;
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    const Decoded decoded = DecodeUtf8(text, 0);
    if (decoded.length == 1 && decoded.valid()) {
      AppendEscape(out, text[0]);
    } else {
      AppendUtf8(out, decoded.code_point);
    }
    text.remove_prefix(decoded.length);
  }
  out += '"';
}

void AppendJsonNumber(std::string& out, double value) { AppendNumber(out, value); }
void AppendJsonNumber(std::string& out, float value) { AppendNumber(out, value); }

}  // namespace ingot
