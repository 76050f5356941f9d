#include "chat/string_ops.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "chat/unicode.h"

namespace ingot::chat {
namespace {

struct Piece {
  size_t begin, end;
};

// The words of a text, at most max_splits + 1 of them; the last (with from_right: the first) takes the rest.
std::vector<Piece> Words(std::string_view text, int64_t max_splits, bool from_right) {
  std::vector<Piece> words;
  for (size_t pos = 0; pos < text.size();) {
    const Decoded decoded = DecodeUtf8(text, pos);
    const bool space = IsSpace(decoded.code);
    const bool continues = !words.empty() && words.back().end == pos;
    if (!space && continues) words.back().end += decoded.length;
    if (!space && !continues) words.push_back({pos, pos + decoded.length});
    pos += decoded.length;
  }
  if (max_splits < 0 || words.size() <= static_cast<size_t>(max_splits)) return words;
  const auto kept = static_cast<size_t>(max_splits);
  if (from_right) {
    // What is left of the split words keeps the white space before it, not that after it.
    const size_t rest_end = words[words.size() - kept - 1].end;
    words.erase(words.begin(), words.end() - static_cast<ptrdiff_t>(kept));
    words.insert(words.begin(), {0, rest_end});
  } else {
    words[kept].end = text.size();
    words.resize(kept + 1);
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

// The same from the right: matches are sought from the end, so those that overlap differ from those of Between.
std::vector<Piece> BetweenFromRight(std::string_view text, std::string_view separator, int64_t max_splits) {
  const std::string reversed_text(text.rbegin(), text.rend()), reversed_separator(separator.rbegin(), separator.rend());
  std::vector<Piece> pieces = Between(reversed_text, reversed_separator, max_splits);
  std::reverse(pieces.begin(), pieces.end());
  for (Piece& piece : pieces) piece = {text.size() - piece.end, text.size() - piece.begin};
  return pieces;
}

bool IsLineBreak(char32_t code) {
  return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 ||
         code == 0x2029;
}

std::string_view StripSpace(std::string_view text) {
  const StrPtr stripped = Strip(UntrustedStr(text), nullptr, {});
  const size_t at = FindBytes(text, stripped->view(), 0);
  return text.substr(at, stripped->view().size());
}

// Digits with single underscores between them, as Python's literals may have; nullopt if an underscore is elsewhere.
std::optional<std::string> WithoutUnderscores(std::string_view text) {
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() && std::isalnum(static_cast<unsigned char>(text[i - 1])) &&
                         std::isalnum(static_cast<unsigned char>(text[i + 1]));
    if (text[i] == '_' && !between) return std::nullopt;
    if (text[i] != '_') digits += text[i];
  }
  return digits;
}

}  // namespace

Values SplitText(Runtime& runtime, const Str& text, const Str* separator, int64_t max_splits, bool from_right) {
  const std::string_view bytes = text.view();
  runtime.Work(static_cast<int64_t>(2 * bytes.size() + (separator ? separator->view().size() : 0)));
  const std::vector<Piece> pieces = separator == nullptr ? Words(bytes, max_splits, from_right)
                                    : from_right         ? BetweenFromRight(bytes, separator->view(), max_splits)
                                                         : Between(bytes, separator->view(), max_splits);
  runtime.WorkOnItems(2 * pieces.size());
  Values parts;
  for (const Piece& piece : pieces) parts.emplace_back(SliceBytes(text, piece.begin, piece.end));
  return parts;
}

Values SplitLines(Runtime& runtime, const Str& text, bool keep_ends) {
  const std::string_view bytes = text.view();
  runtime.Work(static_cast<int64_t>(2 * bytes.size()));
  Values lines;
  size_t begin = 0;
  for (size_t pos = 0; pos < bytes.size();) {
    const Decoded decoded = DecodeUtf8(bytes, pos);
    size_t next = pos + decoded.length;
    if (IsLineBreak(decoded.code)) {
      if (decoded.code == '\r' && next < bytes.size() && bytes[next] == '\n') ++next;
      runtime.WorkOnItems(2);
      lines.emplace_back(SliceBytes(text, begin, keep_ends ? next : pos));
      begin = next;
    }
    pos = next;
  }
  if (begin < bytes.size()) lines.emplace_back(SliceBytes(text, begin, bytes.size()));
  return lines;
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

Value PadText(Runtime& runtime, const Str& text, int64_t width, const Str& fill, int side) {
  const auto length = static_cast<int64_t>(text.num_chars);
  const int64_t missing = width > length ? width - length : 0;
  runtime.CheckLength(static_cast<size_t>(missing));
  // Python's center puts the odd space to the left where the width is odd.
  const int64_t left = side < 0 ? 0 : side > 0 ? missing : missing / 2 + (missing & width & 1);
  MarkedText out;
  const auto pad = [&](int64_t count) {
    for (int64_t i = 0; i < count; ++i) AppendMarked(out, fill.marked);
  };
  pad(left);
  AppendMarked(out, text.marked);
  pad(missing - left);
  return runtime.MakeString(std::move(out), text.markup);
}

size_t FindLastBytes(std::string_view haystack, std::string_view needle) {
  const std::string reversed(haystack.rbegin(), haystack.rend()), reversed_needle(needle.rbegin(), needle.rend());
  const size_t found = FindBytes(reversed, reversed_needle, 0);
  return found == haystack.npos ? found : haystack.size() - found - needle.size();
}

namespace {
// Some characters are of the wanted case, none of the others'.
bool AllOfCase(std::string_view text, bool (*wanted)(char32_t), bool (*other)(char32_t)) {
  bool any = false;
  for (size_t pos = 0; pos < text.size();) {
    const Decoded decoded = DecodeUtf8(text, pos);
    if (other(decoded.code) || IsTitle(decoded.code)) return false;
    any = any || wanted(decoded.code);
    pos += decoded.length;
  }
  return any;
}
}  // namespace

bool IsUpperText(std::string_view text) { return AllOfCase(text, &IsUpper, &IsLower); }
bool IsLowerText(std::string_view text) { return AllOfCase(text, &IsLower, &IsUpper); }

std::optional<int64_t> ParseInt(std::string_view text, int64_t base) {
  std::string_view rest = StripSpace(text);
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  const auto prefix_base = [&]() -> int64_t {
    if (rest.size() < 2 || rest[0] != '0') return 0;
    const char letter = static_cast<char>(rest[1] | 0x20);
    return letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
  };
  const int64_t prefixed = prefix_base();
  if (prefixed != 0 && (base == prefixed || base == 0)) {
    rest.remove_prefix(2);
    if (rest.starts_with('_')) rest.remove_prefix(1);
    base = prefixed;
  } else if (base == 0) {
    base = 10;
    if (rest.size() > 1 && rest[0] == '0' && rest.find_first_not_of("0_") != rest.npos) return std::nullopt;
  }
  if (base < 2 || base > 36) Fail("int(): the base must be 0 or 2 to 36");
  const std::optional<std::string> digits = WithoutUnderscores(rest);
  if (!digits || digits->empty() || !std::isalnum(static_cast<unsigned char>((*digits)[0]))) return std::nullopt;
  const std::string signed_digits = (negative ? "-" : "") + *digits;
  int64_t number = 0;
  const char* end = signed_digits.data() + signed_digits.size();
  const auto result = std::from_chars(signed_digits.data(), end, number, static_cast<int>(base));
  if (result.ptr != end) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) Fail("an integer does not fit 64 bits");
  return number;
}

std::optional<double> ParseFloat(std::string_view text) {
  std::string_view rest = StripSpace(text);
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  std::string lower(rest);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; });
  const double sign = negative ? -1 : 1;
  if (lower == "inf" || lower == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (lower == "nan") return std::numeric_limits<double>::quiet_NaN();
  const std::optional<std::string> digits = WithoutUnderscores(lower);
  if (!digits || digits->empty() || digits->find_first_not_of("0123456789.e+-") != std::string::npos)
    return std::nullopt;
  if ((*digits)[0] == '-' || (*digits)[0] == '+') return std::nullopt;
  double number = 0;
  const char* end = digits->data() + digits->size();
  const auto result = std::from_chars(digits->data(), end, number);
  if (result.ptr != end || result.ec == std::errc::invalid_argument) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) {
    number = digits->find("e-") != std::string::npos ? 0 : std::numeric_limits<double>::infinity();
  }
  return sign * number;
}

}  // namespace ingot::chat
