// Text that records who wrote it. Special tokens are recognized in the template's own bytes, never in what a user
// wrote.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ingot {

// Invariant: spans are sorted, disjoint, not adjacent, within text.
struct MarkedText {
  struct Span {
    size_t begin, end;  // bytes, half open
    bool operator==(const Span&) const = default;
  };
  std::string text;
  std::vector<Span> trusted;  // the template's own bytes

  static MarkedText Trusted(std::string text) {
    MarkedText marked;
    marked.Append(text, true);
    return marked;
  }
  static MarkedText Untrusted(std::string text) { return {std::move(text), {}}; }

  // What follows the first `begin` bytes.
  MarkedText From(size_t begin) const {
    MarkedText rest{text.substr(begin), {}};
    for (const Span& span : trusted) {
      if (span.end > begin) rest.trusted.push_back({span.begin > begin ? span.begin - begin : 0, span.end - begin});
    }
    return rest;
  }

  void Append(std::string_view piece, bool is_trusted) {
    const size_t begin = text.size();
    text.append(piece);
    if (!is_trusted || piece.empty()) return;
    if (!trusted.empty() && trusted.back().end == begin) {
      trusted.back().end = text.size();
    } else {
      trusted.push_back({begin, text.size()});
    }
  }
};

}  // namespace ingot
