#include "chat/string_ops.h"

#include <charconv>

#include "text/utf8.h"

namespace ingot::chat {
namespace {

struct Piece {
  size_t begin, end;
};

// The words of a text, at most max_splits + 1 of them; the last takes the rest.
std::vector<Piece> Words(std::string_view text, int64_t max_splits) {
  std::vector<Piece> words;
  for (size_t pos = 0; pos < text.size();) {
    const Decoded decoded = DecodeUtf8(text, pos);
    const bool space = IsSpace(decoded.code_point);
    const bool continues = !words.empty() && words.back().end == pos;
    if (!space && continues) words.back().end += decoded.length;
    if (!space && !continues) words.push_back({pos, pos + decoded.length});
    pos += decoded.length;
  }
  if (max_splits >= 0 && words.size() > static_cast<size_t>(max_splits)) {
    words.resize(static_cast<size_t>(max_splits) + 1);
    words.back().end = text.size();
  }
  return words;
}

std::vector<Piece> Between(std::string_view text, std::string_view separator, int64_t max_splits) {
  std::vector<Piece> pieces;
  size_t begin = 0;
  while (max_splits < 0 || pieces.size() < static_cast<size_t>(max_splits)) {
    const size_t found = FindBytes(text, separator, begin);
    if (found == text.npos) break;
    pieces.push_back({begin, found});
    begin = found + separator.size();
  }
  pieces.push_back({begin, text.size()});
  return pieces;
}

template <typename Number>
std::optional<Number> ParseNumber(std::string_view text) {
  const StrPtr stripped = Strip(UntrustedStr(text), nullptr, {});
  std::string_view digits = stripped->view();
  if (digits.starts_with('+')) digits.remove_prefix(1);
  Number number{};
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) return std::nullopt;
  return number;
}

}  // namespace

Values SplitText(Runtime& runtime, const Str& text, const Str* separator, int64_t max_splits) {
  const std::string_view bytes = text.view();
  runtime.Work(static_cast<int64_t>(2 * bytes.size() + (separator ? separator->view().size() : 0)));
  const std::vector<Piece> pieces =
      separator == nullptr ? Words(bytes, max_splits) : Between(bytes, separator->view(), max_splits);
  runtime.WorkOnItems(2 * pieces.size());
  Values parts;
  for (const Piece& piece : pieces) parts.emplace_back(SliceBytes(text, piece.begin, piece.end));
  return parts;
}

Value ReplaceText(Runtime& runtime, const Str& text, const Str& old_part, const Str& new_part, int64_t max_count) {
  const std::string_view bytes = text.view(), wanted = old_part.view();
  runtime.Work(static_cast<int64_t>(bytes.size() + wanted.size()));
  MarkedText out;
  size_t copied = 0, search = 0;
  for (int64_t count = 0; max_count < 0 || count < max_count; ++count) {
    const size_t found = FindBytes(bytes, wanted, search);
    if (found == bytes.npos) break;
    AppendSlice(out, text.marked, copied, found);
    AppendMarked(out, new_part.marked);
    runtime.CheckLength(out.text.size());
    runtime.Work(static_cast<int64_t>(16 + new_part.view().size()));
    copied = found + wanted.size();
    search = copied;
    if (wanted.empty()) {  // between all characters, and at both ends
      if (found == bytes.size()) break;
      search = found + DecodeUtf8(bytes, found).length;
    }
  }
  AppendSlice(out, text.marked, copied, bytes.size());
  return runtime.MakeString(std::move(out), text.markup);
}

Value JoinTexts(Runtime& runtime, const Str& separator, const Values& items) {
  MarkedText out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) AppendMarked(out, separator.marked);
    AppendMarked(out, Print(runtime, items[i])->marked);
    runtime.Work(static_cast<int64_t>(16 + separator.view().size()));
    runtime.CheckLength(out.text.size());
  }
  return runtime.MakeString(std::move(out));
}

std::optional<int64_t> ParseInt(std::string_view text) { return ParseNumber<int64_t>(text); }
std::optional<double> ParseFloat(std::string_view text) { return ParseNumber<double>(text); }

}  // namespace ingot::chat
