#include "chat/text.h"

#include <string.h>

#include <algorithm>

#include "chat/unicode.h"

namespace ingot::chat {

Str::Str(MarkedText text, bool is_markup)
    : marked(std::move(text)), num_chars(CountChars(marked.text)), markup(is_markup) {}

bool Str::wholly_trusted() const {
  return marked.text.empty() ||
         (marked.trusted.size() == 1 && marked.trusted[0].begin == 0 && marked.trusted[0].end == marked.text.size());
}

size_t Str::ByteOffset(size_t index) const {
  if (single_bytes()) return index;
  size_t pos = 0;
  for (; index > 0; --index) pos += DecodeUtf8(marked.text, pos).length;
  return pos;
}

StrPtr MakeStr(MarkedText text, bool markup) { return std::make_shared<const Str>(std::move(text), markup); }
StrPtr TrustedStr(std::string_view text) { return MakeStr(MarkedText::Trusted(std::string(text))); }
StrPtr UntrustedStr(std::string_view text) { return MakeStr(MarkedText::Untrusted(std::string(text))); }
StrPtr StrOf(std::string_view text, bool trusted) { return trusted ? TrustedStr(text) : UntrustedStr(text); }

void AppendSlice(MarkedText& out, const MarkedText& source, size_t begin, size_t end) {
  const std::string_view bytes = source.text;
  auto span = std::upper_bound(source.trusted.begin(), source.trusted.end(), begin,
                               [](size_t pos, const MarkedText::Span& candidate) { return pos < candidate.end; });
  while (begin < end) {
    const bool in_span = span != source.trusted.end() && span->begin <= begin;
    size_t stop = end;
    if (in_span) {
      stop = std::min(end, span->end);
      ++span;
    } else if (span != source.trusted.end()) {
      stop = std::min(end, span->begin);
    }
    out.Append(bytes.substr(begin, stop - begin), in_span);
    begin = stop;
  }
}

void AppendMarked(MarkedText& out, const MarkedText& piece) { AppendSlice(out, piece, 0, piece.text.size()); }

StrPtr SliceBytes(const Str& source, size_t begin, size_t end) {
  MarkedText out;
  AppendSlice(out, source.marked, begin, end);
  return MakeStr(std::move(out), source.markup);
}

bool OriginCursor::TrustedAt(size_t pos) {
  const auto& spans = source_->trusted;
  while (next_ < spans.size() && spans[next_].end <= pos) ++next_;
  return next_ < spans.size() && spans[next_].begin <= pos;
}

namespace {

// `convert(out, pos, decoded)` appends what becomes of the character at pos.
template <typename Convert>
StrPtr MapEach(const Str& source, Convert convert) {
  MarkedText out;
  out.text.reserve(source.marked.text.size());
  OriginCursor origin(source.marked);
  std::string piece;
  for (size_t pos = 0; pos < source.view().size();) {
    const Decoded decoded = DecodeUtf8(source.view(), pos);
    piece.clear();
    if (decoded.length == 1 && decoded.code >= 0x80) {
      piece = source.view().substr(pos, 1);  // not UTF-8: kept as it is
    } else {
      convert(piece, pos, decoded.code);
    }
    out.Append(piece, origin.TrustedAt(pos));
    pos += decoded.length;
  }
  return MakeStr(std::move(out), source.markup);
}

constexpr char32_t kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2;

// Greek has another small sigma at the end of a word.
void AppendLowerInContext(std::string& out, std::string_view text, size_t pos, char32_t code, bool after_letter) {
  if (code == kCapitalSigma && after_letter) {
    const size_t next = pos + 2;  // bytes of a capital sigma
    if (next >= text.size() || !IsAlpha(DecodeUtf8(text, next).code)) {
      AppendUtf8(out, kFinalSigma);
      return;
    }
  }
  AppendLower(out, code);
}

bool HasCase(char32_t code) { return IsUpper(code) || IsLower(code) || IsTitle(code); }

// first_is_context: whether a word's first letter counts as one before a final sigma.
// Characters for which `starts(previous character)` holds go through `first`, the others become small letters.
template <typename Starts>
StrPtr CapitalizeWords(const Str& source, void (*first)(std::string&, char32_t), Starts starts,
                       bool first_is_context = true) {
  char32_t previous = 0;
  bool after_letter = false;
  return MapEach(source, [&](std::string& out, size_t pos, char32_t code) {
    const bool start = starts(pos, previous);
    if (start) {
      first(out, code);
    } else {
      AppendLowerInContext(out, source.view(), pos, code, after_letter);
    }
    after_letter = IsAlpha(code) && (first_is_context || !start);
    previous = code;
  });
}

}  // namespace

StrPtr MapChars(const Str& source, void (*convert)(std::string& out, char32_t code)) {
  return MapEach(source, [&](std::string& out, size_t, char32_t code) { convert(out, code); });
}

StrPtr UpperCase(const Str& text) { return MapChars(text, &AppendUpper); }

StrPtr LowerCase(const Str& text) {
  return CapitalizeWords(text, &AppendLower, [](size_t, char32_t) { return false; });
}

StrPtr Capitalize(const Str& text) {
  return CapitalizeWords(text, &AppendTitle, [](size_t pos, char32_t) { return pos == 0; });
}

StrPtr SwapCase(const Str& text) {
  char32_t previous = 0;
  return MapEach(text, [&](std::string& out, size_t pos, char32_t code) {
    if (IsUpper(code)) {
      AppendLowerInContext(out, text.view(), pos, code, IsAlpha(previous));
    } else if (IsLower(code)) {
      AppendUpper(out, code);
    } else {
      AppendUtf8(out, code);
    }
    previous = code;
  });
}

StrPtr TitleMethod(const Str& text) {
  return CapitalizeWords(text, &AppendTitle, [](size_t, char32_t previous) { return !HasCase(previous); });
}

StrPtr TitleFilter(const Str& text) {
  return CapitalizeWords(
      text, &AppendUpper,
      [](size_t pos, char32_t previous) {
        return pos == 0 || IsSpace(previous) ||
               std::u32string_view(U"-({[<").find(previous) != std::u32string_view::npos;
      },
      /*first_is_context=*/false);
}

StrPtr EscapeHtml(const Str& text) {
  if (text.markup) return MakeStr(text.marked, true);
  const StrPtr escaped = MapChars(text, [](std::string& out, char32_t code) {
    switch (code) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        AppendUtf8(out, code);
    }
  });
  return MakeStr(escaped->marked, true);
}

StrPtr Strip(const StrPtr& text, const Str* chars, StripWhat what) {
  const std::string_view bytes = text->view();
  std::vector<char32_t> set;  // sorted
  if (chars != nullptr) {
    for (size_t pos = 0; pos < chars->view().size();) {
      const Decoded decoded = DecodeUtf8(chars->view(), pos);
      set.push_back(decoded.code);
      pos += decoded.length;
    }
    std::sort(set.begin(), set.end());
  }
  const auto stripped = [&](size_t pos) {
    const char32_t code = DecodeUtf8(bytes, pos).code;
    return chars == nullptr ? IsSpace(code) : std::binary_search(set.begin(), set.end(), code);
  };
  size_t begin = 0, end = bytes.size();
  while (what.left && begin < end) {
    const size_t length = DecodeUtf8(bytes, begin).length;
    if (!stripped(begin)) break;
    begin += length;
  }
  while (what.right && begin < end) {
    size_t start = end - 1;
    while (start > begin && end - start < 4 && (static_cast<unsigned char>(bytes[start]) & 0xC0) == 0x80) --start;
    if (start + DecodeUtf8(bytes, start).length != end) start = end - 1;
    if (!stripped(start)) break;
    end = start;
  }
  if (begin == 0 && end == bytes.size()) return text;
  return SliceBytes(*text, begin, end);
}

size_t FindBytes(std::string_view haystack, std::string_view needle, size_t from) {
  if (from > haystack.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  // memmem is linear (two-way); string_view::find is not.
  const void* hit = memmem(haystack.data() + from, haystack.size() - from, needle.data(), needle.size());
  if (hit == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(hit) - haystack.data());
}

}  // namespace ingot::chat
