#include "chat/text.h"

#include <string.h>

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace ingot::chat {

Str::Str(MarkedText text, bool is_markup)
    : marked(std::move(text)), num_chars(CountCharacters(marked.text)), markup(is_markup) {}

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

bool IsSpace(uint32_t code_point) {
  return (ClassOf(code_point) & kSpace) != 0 || (code_point >= 0x1C && code_point <= 0x1F);
}

namespace {

// `convert(out, code point, the one before it)` appends what becomes of a character.
template <typename Convert>
StrPtr MapEach(const Str& source, Convert convert) {
  MarkedText out;
  out.text.reserve(source.marked.text.size());
  OriginCursor origin(source.marked);
  std::string piece;
  uint32_t previous = 0;
  for (size_t pos = 0; pos < source.view().size();) {
    const Decoded decoded = DecodeUtf8(source.view(), pos);
    piece.clear();
    if (!decoded.valid()) {
      piece = source.view().substr(pos, 1);  // not UTF-8: kept as it is
    } else {
      convert(piece, decoded.code_point, previous);
    }
    out.Append(piece, origin.TrustedAt(pos));
    previous = decoded.code_point;
    pos += decoded.length;
  }
  return MakeStr(std::move(out), source.markup);
}

// Capitals where a word starts, which `starts(previous character)` says; 0 before the first.
template <typename Starts>
StrPtr CapitalizeWords(const Str& source, Starts starts) {
  return MapEach(source, [&](std::string& out, uint32_t code, uint32_t previous) {
    (starts(previous) ? AppendUpperCase : AppendLowerCase)(out, code);
  });
}

}  // namespace

StrPtr UpperCase(const Str& text) {
  return CapitalizeWords(text, [](uint32_t) { return true; });
}

StrPtr LowerCase(const Str& text) {
  return CapitalizeWords(text, [](uint32_t) { return false; });
}

StrPtr Capitalize(const Str& text) {
  return CapitalizeWords(text, [](uint32_t previous) { return previous == 0; });
}

StrPtr TitleMethod(const Str& text) {
  return CapitalizeWords(
      text, [](uint32_t previous) { return (ClassOf(previous) & MaskOf(Category::kLu, Category::kLt)) == 0; });
}

StrPtr TitleFilter(const Str& text) {
  constexpr std::u32string_view kBefore = U"-({[<";
  return CapitalizeWords(text, [&](uint32_t previous) {
    return previous == 0 || IsSpace(previous) || kBefore.find(static_cast<char32_t>(previous)) != kBefore.npos;
  });
}

StrPtr EscapeHtml(const Str& text) {
  if (text.markup) return MakeStr(text.marked, true);
  const StrPtr escaped = MapEach(text, [](std::string& out, uint32_t code, uint32_t) {
    constexpr std::pair<char, std::string_view> kEscapes[] = {
        {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"}};
    const auto* found = std::find_if(std::begin(kEscapes), std::end(kEscapes),
                                     [&](const auto& each) { return static_cast<uint32_t>(each.first) == code; });
    if (found == std::end(kEscapes)) return AppendUtf8(out, code);
    out += found->second;
  });
  return MakeStr(escaped->marked, true);
}

StrPtr Strip(const StrPtr& text, const Str* chars, StripWhat what) {
  const std::string_view bytes = text->view();
  std::vector<uint32_t> set;  // sorted
  if (chars != nullptr) {
    for (size_t pos = 0; pos < chars->view().size();) {
      const Decoded decoded = DecodeUtf8(chars->view(), pos);
      set.push_back(decoded.code_point);
      pos += decoded.length;
    }
    std::sort(set.begin(), set.end());
  }
  const auto stripped = [&](size_t pos) {
    const uint32_t code = DecodeUtf8(bytes, pos).code_point;
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
