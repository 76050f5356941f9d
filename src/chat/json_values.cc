// tojson and from_json.
#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "chat/runtime.h"
#include "chat/stable_sort.h"
#include "text/utf8.h"

namespace ingot::chat {
namespace {

class Dumper {
 public:
  Dumper(Runtime& runtime, const JsonStyle& style, bool trusted)
      : runtime_(runtime), style_(style), trusted_(trusted) {}

  void Dump(const Value& value, int level) {
    if (const StrPtr* text = value.As<StrPtr>()) {
      DumpText(**text);
    } else if (const ListPtr* list = value.As<ListPtr>(); list && (*list)->IsIndexable()) {
      DumpArray((*list)->items, level);
    } else if (const DictPtr* dict = value.As<DictPtr>()) {
      DumpObject(**dict, level);
    } else if (const std::optional<std::string> scalar = Scalar(value)) {
      out_.Append(*scalar, trusted_);
    } else {
      Fail(fmt::format("Object of type {} is not JSON serializable", TypeName(value)));
    }
    runtime_.CheckLength(out_.text.size());
  }

  MarkedText Take() { return std::move(out_); }

 private:
  static std::optional<std::string> Scalar(const Value& value) {
    if (value.IsNone()) return "null";
    if (const bool* flag = value.As<bool>()) return *flag ? "true" : "false";
    if (const int64_t* number = value.As<int64_t>()) return std::to_string(*number);
    const double* real = value.As<double>();
    if (real == nullptr) return std::nullopt;
    if (std::isnan(*real)) return "NaN";
    if (std::isinf(*real)) return *real < 0 ? "-Infinity" : "Infinity";
    return FloatRepr(*real);
  }

  std::string Escaped(uint32_t code, std::string_view bytes) const {
    constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
    if (const size_t at = kEscaped.find(bytes); at != kEscaped.npos) return {'\\', kLetters[at]};
    if (code >= 0x20 && (code <= 0x7F || !style_.ensure_ascii)) return std::string(bytes);
    if (code < 0x10000) return fmt::format("\\u{:04x}", code);
    const uint32_t high = 0xD800 + ((code - 0x10000) >> 10), low = 0xDC00 + ((code - 0x10000) & 0x3FF);
    return fmt::format("\\u{:04x}\\u{:04x}", high, low);
  }

  void DumpText(const Str& text) {
    out_.Append("\"", trusted_);
    OriginCursor origin(text.marked);
    for (size_t pos = 0; pos < text.view().size();) {
      const Decoded decoded = DecodeUtf8(text.view(), pos);
      out_.Append(Escaped(decoded.code_point, text.view().substr(pos, decoded.length)), origin.TrustedAt(pos));
      pos += decoded.length;
    }
    out_.Append("\"", trusted_);
  }

  void DumpKey(const Value& key) {
    if (const StrPtr* text = key.As<StrPtr>()) return DumpText(**text);
    const std::optional<std::string> scalar = Scalar(key);
    if (!scalar) Fail(fmt::format("keys must be str, int, float, bool or None, not {}", TypeName(key)));
    out_.Append("\"" + *scalar + "\"", trusted_);
  }

  // Between the items of a list, before its first and after its last.
  void NewLine(int level) {
    if (!style_.indent) return;
    out_.Append("\n", trusted_);
    for (int i = 0; i < level; ++i) AppendMarked(out_, *style_.indent);
    runtime_.Work(static_cast<int64_t>(level) * static_cast<int64_t>(1 + style_.indent->text.size()));
  }

  void Separate(size_t i, int level) {
    if (i > 0) AppendMarked(out_, style_.item_separator);
    runtime_.Work(static_cast<int64_t>(style_.item_separator.text.size() + style_.key_separator.text.size()));
    NewLine(level + 1);
    runtime_.CheckLength(out_.text.size());
  }

  void DumpArray(const Values& items, int level) {
    out_.Append("[", trusted_);
    for (size_t i = 0; i < items.size(); ++i) {
      Separate(i, level);
      Dump(items[i], level + 1);
    }
    if (!items.empty()) NewLine(level);
    out_.Append("]", trusted_);
  }

  void DumpObject(const DictData& dict, int level) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      StableSort(entries, [](auto* a, auto* b) { return LessThan(a->first, b->first); });
    }
    out_.Append("{", trusted_);
    for (size_t i = 0; i < entries.size(); ++i) {
      Separate(i, level);
      DumpKey(entries[i]->first);
      AppendMarked(out_, style_.key_separator);
      Dump(entries[i]->second, level + 1);
    }
    if (!entries.empty()) NewLine(level);
    out_.Append("}", trusted_);
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  bool trusted_;
  MarkedText out_;
};

}  // namespace

Value DumpJson(Runtime& runtime, const Value& value, const JsonStyle& style) {
  runtime.Work(std::min(kMaxWeight, 2 * ExtentOf(value).weight));
  Dumper dumper(runtime, style, WhollyTrusted(value));
  dumper.Dump(value, 0);
  return runtime.MakeString(dumper.Take());
}

Value FromJson(Runtime& runtime, const boost::json::value& json, bool trusted, bool in_message, int depth) {
  if (depth > kMaxDepthOfData) Fail(fmt::format("data is nested more than {} deep", kMaxDepthOfData));
  using boost::json::kind;
  switch (json.kind()) {
    case kind::null:
      return None{};
    case kind::bool_:
      return json.get_bool();
    case kind::int64:
      return int64_t{json.get_int64()};
    case kind::uint64: {
      const uint64_t number = json.get_uint64();
      if (number <= INT64_MAX) return static_cast<int64_t>(number);
      return static_cast<double>(number);
    }
    case kind::double_:
      return json.get_double();
    case kind::string: {
      const auto& text = json.get_string();
      Str made(trusted ? MarkedText::Trusted(std::string(text)) : MarkedText::Untrusted(std::string(text)));
      made.in_message = in_message;
      return std::make_shared<const Str>(std::move(made));
    }
    case kind::array: {
      Values items;
      items.reserve(json.get_array().size());
      for (const boost::json::value& item : json.get_array()) {
        items.push_back(FromJson(runtime, item, trusted, false, depth + 1));
      }
      return runtime.MakeList(std::move(items), ListData::Kind::kList, in_message);
    }
    case kind::object: {
      DictData dict;
      dict.in_message = in_message;
      for (const auto& [key, item] : json.get_object()) {
        dict.Set(StrOf(key, trusted), FromJson(runtime, item, trusted, key == "arguments", depth + 1));
      }
      return runtime.MakeDict(std::move(dict));
    }
  }
  return {};
}

}  // namespace ingot::chat
