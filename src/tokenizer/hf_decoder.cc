#include "tokenizer/hf_decoder.h"

#include <algorithm>
#include <memory>

#include "tokenizer/byte_level.h"
#include "tokenizer/pattern.h"

namespace ingot::tokenizer {
namespace {

std::string ReplaceAll(const std::string& text, const Pattern& pattern, const std::string& content) {
  std::vector<ByteSpan> matches;
  pattern.FindAll(text, matches);
  std::string out;
  size_t done = 0;
  for (const auto& [begin, end] : matches) {
    out.append(text, done, begin - done).append(content);
    done = end;
  }
  return out.append(text, done);
}

// Up to `start` of `content` from the front and `stop` from the back.
std::string StripToken(std::string token, const std::string& content, int64_t start, int64_t stop) {
  for (; start > 0 && token.starts_with(content); --start) token.erase(0, content.size());
  for (; stop > 0 && token.ends_with(content); --stop) token.resize(token.size() - content.size());
  return token;
}

class DecoderParser {
 public:
  Status Add(const JsonView& json) {
    INGOT_ASSIGN_OR_RETURN(const std::string type, json.String("type"));
    if (type == "Sequence") {
      INGOT_ASSIGN_OR_RETURN(const JsonView list, json.Get("decoders"));
      INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list.AsArray());
      for (size_t i = 0; i < array->size(); ++i) INGOT_RETURN_IF_ERROR(Add(list.At(i)));
      return {};
    }
    if (type == "Fuse") {
      fused_ = true;
      return {};
    }
    if (type == "Strip") return AddStrip(json);
    if (fused_) return Unsupported("{}: decoder {} after Fuse or ByteLevel", json.path(), type);
    if (type == "ByteLevel") {
      plan_.byte_level = fused_ = true;
      return {};
    }
    if (type == "ByteFallback") {
      plan_.byte_fallback = true;
      return {};
    }
    if (type == "Metaspace") return AddMetaspace(json);
    if (type == "Replace") {
      INGOT_ASSIGN_OR_RETURN(Pattern parsed, ParsePattern(json));
      INGOT_ASSIGN_OR_RETURN(const std::string content, json.String("content"));
      const auto pattern = std::make_shared<Pattern>(std::move(parsed));
      plan_.steps.push_back(
          [pattern, content](const std::string& token, bool) { return ReplaceAll(token, *pattern, content); });
      return {};
    }
    return Unsupported("{}: decoder {}", json.path(), type);
  }
  DecodePlan plan() { return std::move(plan_); }

 private:
  Status AddStrip(const JsonView& json) {
    INGOT_ASSIGN_OR_RETURN(const std::string content, json.String("content"));
    INGOT_ASSIGN_OR_RETURN(const int64_t start, json.Int("start", 0));
    INGOT_ASSIGN_OR_RETURN(const int64_t stop, json.Int("stop", 0));
    if (content.empty() || start < 0 || stop < 0)
      return InvalidArgument("{}: a Strip without content, start or stop", json.path());
    if (!fused_) {
      plan_.steps.push_back([=](const std::string& token, bool) { return StripToken(token, content, start, stop); });
      return {};
    }
    if (content != " " || start > 1 || stop > 0) {
      return Unsupported("{}: decoder Strip of {} \"{}\" in front and {} behind", json.path(), start, content, stop);
    }
    plan_.strips_leading_space = plan_.strips_leading_space || start == 1;
    return {};
  }

  Status AddMetaspace(const JsonView& json) {
    INGOT_ASSIGN_OR_RETURN(const std::string replacement, json.String("replacement", "\xE2\x96\x81"));
    INGOT_ASSIGN_OR_RETURN(const bool add_prefix_space, json.Bool("add_prefix_space", true));
    INGOT_ASSIGN_OR_RETURN(const std::string scheme,
                           json.String("prepend_scheme", add_prefix_space ? "always" : "never"));
    if (replacement.empty()) return InvalidArgument("{}: replacement is empty", json.path());
    const bool drops_first = scheme != "never";
    plan_.first_differs = plan_.first_differs || drops_first;
    const auto pattern = std::make_shared<Pattern>(Pattern::Literal(replacement));
    plan_.steps.push_back([pattern, drops_first](const std::string& token, bool first) {
      return ReplaceAll(token, *pattern, drops_first && first ? "" : " ");
    });
    return {};
  }

  DecodePlan plan_;
  bool fused_ = false;
};

}  // namespace

int ByteOfToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const char lower = static_cast<char>(c | 0x20);
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (lower >= 'a' && lower <= 'f') {
      value = value * 16 + (lower - 'a' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

std::string DecodePlan::TokenText(const std::string& token, bool first) const {
  if (byte_fallback) {
    const int byte = ByteOfToken(token);
    if (byte >= 0) return std::string(1, static_cast<char>(byte));
  }
  std::string text = token;
  for (const auto& step : steps) text = step(text, first);
  if (!byte_level) return text;
  // A token with a character that stands for no byte (an added one) is itself.
  std::optional<std::string> bytes = SpellingToBytes(text);
  return bytes ? *std::move(bytes) : text;
}

Result<DecodePlan> ParseDecoder(const JsonView* json) {
  if (json == nullptr) {
    DecodePlan plan;
    plan.first_differs = true;
    plan.steps.push_back([](const std::string& token, bool first) { return first ? token : " " + token; });
    return plan;
  }
  DecoderParser parser;
  INGOT_RETURN_IF_ERROR(parser.Add(*json));
  return parser.plan();
}

}  // namespace ingot::tokenizer
