#include "tokenizer/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <tuple>

#include "text/unicode.h"
#include "text/utf8.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/pattern.h"

namespace ingot::tokenizer {
namespace {

// Says of ranges in ascending order whether they are trusted throughout.
class TrustCursor {
 public:
  explicit TrustCursor(const MarkedText& text) : text_(&text) {}
  bool operator()(size_t begin, size_t end) {
    const auto& spans = text_->trusted;
    while (span_ < spans.size() && spans[span_].end <= begin) ++span_;
    return span_ < spans.size() && spans[span_].begin <= begin && end <= spans[span_].end;
  }

 private:
  const MarkedText* text_;
  size_t span_ = 0;
};

void AppendPart(MarkedText& out, const MarkedText& in, size_t begin, size_t end) {
  auto span = std::partition_point(in.trusted.begin(), in.trusted.end(), [&](const auto& s) { return s.end <= begin; });
  for (size_t at = begin; at < end;) {
    const bool at_span = span != in.trusted.end() && span->begin <= at;
    const size_t until = std::min(end, at_span ? span->end : span != in.trusted.end() ? span->begin : end);
    out.Append({in.text.data() + at, until - at}, at_span);
    if (at_span) ++span;
    at = until;
  }
}

class UnicodeForm : public Normalizer {
 public:
  UnicodeForm(bool compatible, bool composed) : compatible_(compatible), composed_(composed) {}

  void Apply(MarkedText& text) const override {
    const std::string& in = text.text;
    if (std::all_of(in.begin(), in.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) return;
    // ASCII never combines with what precedes it: cut before it, and normalize each block by itself.
    MarkedText out;
    TrustCursor trusted(text);
    const char* const end = in.data() + in.size();
    size_t begin = 0;
    const auto append_block = [&](size_t block_end) {
      if (block_end > begin) AppendBlock({in.data() + begin, block_end - begin}, trusted(begin, block_end), out);
      begin = block_end;
    };
    for (size_t at = 0; at < in.size();) {
      const auto [code_point, length] = DecodeUtf8(in.data() + at, end);
      const bool opaque = code_point >= 0x80 && IsOpaqueToNormalization(code_point);
      if (code_point < 0x80 || opaque) append_block(at);
      if (opaque) {
        out.Append({in.data() + at, length}, trusted(at, at + length));
        begin = at + length;
      }
      at += length;
    }
    append_block(in.size());
    text = std::move(out);
  }

 private:
  void AppendBlock(std::string_view block, bool is_trusted, MarkedText& out) const {
    if (block.size() == 1) return out.Append(block, is_trusted);
    std::string normalized;
    Normalize(block, normalized);
    out.Append(normalized, is_trusted);
  }

  // Marks are sorted by us: utf8proc sorts by exchanging neighbours, in quadratic time.
  void Normalize(std::string_view source, std::string& out) const {
    std::vector<utf8proc_int32_t> decomposed;
    const int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible_ ? UTF8PROC_COMPAT : 0);
    const char* const end = source.data() + source.size();
    for (const char* p = source.data(); p < end;) {
      const auto [code_point, length] = DecodeUtf8(p, end);
      p += length;
      utf8proc_int32_t parts[32];
      int last_boundclass = 0;
      const utf8proc_ssize_t n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts, 32,
                                                         static_cast<utf8proc_option_t>(options), &last_boundclass);
      if (n < 0 || n > 32) {
        decomposed.push_back(static_cast<utf8proc_int32_t>(code_point));
      } else {
        decomposed.insert(decomposed.end(), parts, parts + n);
      }
    }
    const auto combining = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
    for (auto it = decomposed.begin(); it != decomposed.end();) {
      if (combining(*it) == 0) {
        ++it;
        continue;
      }
      const auto run = std::find_if(it, decomposed.end(), [&](auto c) { return combining(c) == 0; });
      const size_t count = static_cast<size_t>(run - it);
      std::vector<std::tuple<int, size_t, utf8proc_int32_t>> order;
      for (size_t i = 0; i < count; ++i)
        order.emplace_back(combining(it[static_cast<std::ptrdiff_t>(i)]), i, it[static_cast<std::ptrdiff_t>(i)]);
      std::sort(order.begin(), order.end());
      for (size_t i = 0; i < count; ++i) it[static_cast<std::ptrdiff_t>(i)] = std::get<2>(order[i]);
      it = run;
    }
    utf8proc_ssize_t count = static_cast<utf8proc_ssize_t>(decomposed.size());
    if (composed_) {
      const int compose = UTF8PROC_STABLE | UTF8PROC_COMPOSE | (compatible_ ? UTF8PROC_COMPAT : 0);
      count = utf8proc_normalize_utf32(decomposed.data(), count, static_cast<utf8proc_option_t>(compose));
    }
    for (utf8proc_ssize_t i = 0; i < count; ++i)
      AppendUtf8(out, static_cast<uint32_t>(decomposed[static_cast<size_t>(i)]));
  }

  bool compatible_, composed_;
};

class Lowercase : public Normalizer {
 public:
  void Apply(MarkedText& text) const override {
    MarkedText out;
    TrustCursor trusted(text);
    const char* const end = text.text.data() + text.text.size();
    std::string lower;
    for (size_t at = 0; at < text.text.size();) {
      const auto [code_point, length] = DecodeUtf8(text.text.data() + at, end);
      lower.clear();
      AppendLowerCase(lower, code_point);
      out.Append(lower, trusted(at, at + length));
      at += length;
    }
    text = std::move(out);
  }
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string content) : content_(std::move(content)) {}
  void Apply(MarkedText& text) const override {
    if (text.text.empty()) return;
    MarkedText out;
    out.Append(content_, !text.trusted.empty() && text.trusted[0].begin == 0);
    AppendPart(out, text, 0, text.text.size());
    text = std::move(out);
  }

 private:
  std::string content_;
};

class Replace : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void Apply(MarkedText& text) const override {
    std::vector<ByteSpan> matches;
    pattern_.FindAll(text.text, matches);
    if (matches.empty()) return;
    MarkedText out;
    size_t at = 0;
    TrustCursor trusted(text);
    for (const auto& [begin, end] : matches) {
      AppendPart(out, text, at, begin);
      out.Append(content_, trusted(begin, end));
      at = end;
    }
    AppendPart(out, text, at, text.text.size());
    text = std::move(out);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class StripSpaces : public Normalizer {
 public:
  StripSpaces(bool left, bool right) : left_(left), right_(right) {}
  void Apply(MarkedText& text) const override {
    const char* const end = text.text.data() + text.text.size();
    size_t first = text.text.size(), last = 0;  // of what is no space
    for (size_t at = 0; at < text.text.size();) {
      const auto [code_point, length] = DecodeUtf8(text.text.data() + at, end);
      if (!(ClassOf(code_point) & kSpace)) {
        first = std::min(first, at);
        last = at + length;
      }
      at += length;
    }
    if (!left_) first = 0;
    if (!right_) last = text.text.size();
    text = Slice(text, std::min(first, last), last);
  }

 private:
  bool left_, right_;
};

// SentencePiece's table, applied as `tokenizers` does: to whole graphemes of up to five bytes, else to characters.
class Precompiled : public Normalizer {
 public:
  explicit Precompiled(CharsMap map) : map_(std::move(map)) {}
  void Apply(MarkedText& text) const override {
    MarkedText out;
    TrustCursor trusted(text);
    const std::string& in = text.text;
    for (size_t at = 0; at < in.size();) {
      const size_t end = GraphemeEnd(in, at);
      const std::string_view grapheme(in.data() + at, end - at);
      std::string_view replacement;
      if (grapheme.size() < 6 && map_.FindShortest(grapheme, replacement)) {
        out.Append(replacement, trusted(at, end));
        at = end;
        continue;
      }
      while (at < end) {
        const std::string_view character(in.data() + at, DecodeUtf8(in.data() + at, in.data() + end).length);
        const bool found = map_.FindShortest(character, replacement);
        out.Append(found ? replacement : character, trusted(at, at + character.size()));
        at += character.size();
      }
    }
    text = std::move(out);
  }

 private:
  static size_t GraphemeEnd(const std::string& text, size_t begin) {
    const char* const end = text.data() + text.size();
    Decoded current = DecodeUtf8(text.data() + begin, end);
    size_t at = begin + current.length;
    utf8proc_int32_t state = 0;
    while (at < text.size()) {
      const Decoded next = DecodeUtf8(text.data() + at, end);
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(current.code_point),
                                           static_cast<utf8proc_int32_t>(next.code_point), &state)) {
        break;
      }
      current = next;
      at += next.length;
    }
    return at;
  }
  CharsMap map_;
};

}  // namespace

MarkedText Slice(const MarkedText& text, size_t begin, size_t end) {
  MarkedText out;
  AppendPart(out, text, begin, end);
  return out;
}

MarkedText MakeValid(const MarkedText& text) {
  MarkedText out;
  TrustCursor trusted(text);
  const char* const end = text.text.data() + text.text.size();
  for (size_t at = 0; at < text.text.size();) {
    const auto [code_point, length] = DecodeUtf8(text.text.data() + at, end);
    const std::string_view character(text.text.data() + at, length);
    out.Append(length == 1 && code_point == kReplacementCharacter ? "\xEF\xBF\xBD" : character,
               trusted(at, at + length));
    at += length;
  }
  return out;
}

std::unique_ptr<Normalizer> MakeNfc() { return std::make_unique<UnicodeForm>(false, true); }

void Apply(const Normalizers& normalizers, MarkedText& text) {
  for (const auto& normalizer : normalizers) normalizer->Apply(text);
}

Status ParseNormalizer(const JsonView& json, Normalizers& normalizers) {
  INGOT_ASSIGN_OR_RETURN(const std::string type, json.String("type"));
  const auto add = [&](std::unique_ptr<Normalizer> normalizer) { normalizers.push_back(std::move(normalizer)); };
  if (type == "Sequence") {
    INGOT_ASSIGN_OR_RETURN(const JsonView list, json.Get("normalizers"));
    INGOT_ASSIGN_OR_RETURN(const boost::json::array* const array, list.AsArray());
    for (size_t i = 0; i < array->size(); ++i) INGOT_RETURN_IF_ERROR(ParseNormalizer(list.At(i), normalizers));
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    add(std::make_unique<UnicodeForm>(type[2] == 'K', type.back() == 'C'));
  } else if (type == "Lowercase") {
    add(std::make_unique<Lowercase>());
  } else if (type == "Prepend") {
    INGOT_ASSIGN_OR_RETURN(std::string content, json.String("prepend"));
    add(std::make_unique<Prepend>(std::move(content)));
  } else if (type == "Strip") {
    INGOT_ASSIGN_OR_RETURN(const bool left, json.Bool("strip_left", true));
    INGOT_ASSIGN_OR_RETURN(const bool right, json.Bool("strip_right", true));
    add(std::make_unique<StripSpaces>(left, right));
  } else if (type == "Replace") {
    INGOT_ASSIGN_OR_RETURN(Pattern pattern, ParsePattern(json));
    INGOT_ASSIGN_OR_RETURN(std::string content, json.String("content"));
    add(std::make_unique<Replace>(std::move(pattern), std::move(content)));
  } else if (type == "Precompiled") {
    INGOT_ASSIGN_OR_RETURN(const std::string map, json.String("precompiled_charsmap"));
    if (map.empty()) return {};
    INGOT_ASSIGN_OR_RETURN(CharsMap table, CharsMap::FromBase64(map));
    add(std::make_unique<Precompiled>(std::move(table)));
  } else {
    return Unsupported("{}: normalizer {}", json.path(), type);
  }
  return {};
}

}  // namespace ingot::tokenizer
