// str() and repr() of values.
#include <charconv>
#include <cmath>

#include "chat/runtime.h"
#include "chat/value.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace ingot::chat {
namespace {

void AppendJoined(MarkedText& out, const Values& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.Append(", ", true);
    AppendRepr(out, items[i]);
  }
}

// As str.isprintable has it.
bool IsPrintable(uint32_t code) {
  constexpr ClassMask kSeparatorOrOther = MaskOf(Category::kZs, Category::kCs);
  return code == ' ' || (ClassOf(code) & kSeparatorOrOther) == 0;
}

// Python prefers single quotes, unless the text has one and no double quote.
void AppendStrRepr(MarkedText& out, const Str& text) {
  const std::string_view bytes = text.view();
  const bool use_double = bytes.find('\'') != bytes.npos && bytes.find('"') == bytes.npos;
  const char quote = use_double ? '"' : '\'';
  const std::string_view quotes = use_double ? "\"" : "'";
  out.Append(quotes, true);
  OriginCursor origin(text.marked);
  std::string piece;
  for (size_t pos = 0; pos < bytes.size();) {
    const Decoded decoded = DecodeUtf8(bytes, pos);
    const uint32_t code = decoded.code_point;
    piece.clear();
    if (code == '\n' || code == '\r' || code == '\t') {
      piece = code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
    } else if (code == '\\' || code == static_cast<uint32_t>(quote)) {
      piece = {'\\', static_cast<char>(code)};
    } else if (IsPrintable(code)) {
      piece = bytes.substr(pos, decoded.length);
    } else {
      piece = code < 0x100     ? fmt::format("\\x{:02x}", code)
              : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                               : fmt::format("\\U{:08x}", code);
    }
    out.Append(piece, origin.TrustedAt(pos));
    pos += decoded.length;
  }
  out.Append(quotes, true);
}

void AppendListRepr(MarkedText& out, const ListData& list) {
  const bool tuple = list.kind == ListData::Kind::kTuple;
  out.Append(tuple ? "(" : "[", true);
  AppendJoined(out, list.items);
  out.Append(!tuple ? "]" : list.items.size() == 1 ? ",)" : ")", true);
}

}  // namespace

std::string FloatRepr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto scientific = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific);
  const std::string_view digits(buffer, static_cast<size_t>(scientific.ptr - buffer));
  const size_t e = digits.find('e');
  int exponent = 0;
  const size_t exponent_at = digits[e + 1] == '+' ? e + 2 : e + 1;
  std::from_chars(digits.data() + exponent_at, digits.data() + digits.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(digits);  // at least two digits of exponent, as in Python
  char fixed[64];
  const auto end = std::to_chars(fixed, fixed + sizeof fixed, number, std::chars_format::fixed);
  std::string text(fixed, end.ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

void AppendRepr(MarkedText& out, const Value& value) {
  if (const StrPtr* text = value.As<StrPtr>()) {
    if ((*text)->markup) out.Append("Markup(", true);
    AppendStrRepr(out, **text);
    if ((*text)->markup) out.Append(")", true);
  } else if (value.IsUndefined()) {
    out.Append("Undefined", true);
  } else {
    AppendPrinted(out, value);
  }
}

void AppendPrinted(MarkedText& out, const Value& value) {
  if (const StrPtr* text = value.As<StrPtr>()) {
    AppendMarked(out, (*text)->marked);
  } else if (value.IsNone()) {
    out.Append("None", true);
  } else if (const bool* flag = value.As<bool>()) {
    out.Append(*flag ? "True" : "False", true);
  } else if (const int64_t* number = value.As<int64_t>()) {
    out.Append(std::to_string(*number), true);
  } else if (const double* real = value.As<double>()) {
    out.Append(FloatRepr(*real), true);
  } else if (const ListPtr* list = value.As<ListPtr>()) {
    AppendListRepr(out, **list);
  } else if (const DictPtr* dict = value.As<DictPtr>()) {
    out.Append("{", true);
    for (size_t i = 0; i < (*dict)->entries.size(); ++i) {
      if (i > 0) out.Append(", ", true);
      AppendRepr(out, (*dict)->entries[i].first);
      out.Append(": ", true);
      AppendRepr(out, (*dict)->entries[i].second);
    }
    out.Append("}", true);
  } else if (Object* const* object = value.As<Object*>()) {
    out.Append(fmt::format("<{}>", (*object)->TypeName()), true);
  } else if (!value.IsUndefined()) {
    out.Append(fmt::format("<{}>", TypeName(value)), true);
  }
}

StrPtr ToStr(const Value& value) {
  if (const StrPtr* text = value.As<StrPtr>()) return *text;
  MarkedText out;
  AppendPrinted(out, value);
  return MakeStr(std::move(out));
}

std::string ReprForMessage(const Value& value) {
  constexpr size_t kLongest = 200;
  if (ExtentOf(value).weight > static_cast<int64_t>(kLongest)) return fmt::format("<{}>", TypeName(value));
  MarkedText out;
  AppendRepr(out, value);
  return out.text;
}

}  // namespace ingot::chat
