#include "tokenizer/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/utf8.h"

namespace ingot::tokenizer {
namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

}  // namespace

void PrefixMatcher::Add(std::string_view literal) {
  if (literal.empty()) return;
  uint64_t node = 0;
  for (const char c : literal) {
    const auto [it, inserted] =
        edges_.try_emplace(node << 8 | static_cast<unsigned char>(c), static_cast<uint32_t>(ends_.size()));
    if (inserted) ends_.push_back(false);
    node = it->second;
  }
  ends_[node] = true;
}

size_t PrefixMatcher::Match(std::string_view text) const {
  size_t longest = 0;
  uint64_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto it = edges_.find(node << 8 | static_cast<unsigned char>(text[i]));
    if (it == edges_.end()) break;
    node = it->second;
    if (ends_[node]) longest = i + 1;
  }
  return longest;
}

std::string_view SentencePieceNormalizer::NormalizePrefix(std::string_view text, size_t& length) const {
  length = params_.user_defined.Match(text);
  if (length > 0) return text.substr(0, length);
  std::string_view replacement;
  if (params_.charsmap.FindLongest(text, length, replacement)) return replacement;
  length = DecodeUtf8(text.data(), text.data() + text.size()).length;
  return text.substr(0, length);
}

void SentencePieceNormalizer::Split(std::string_view text, bool at_start, PieceSink sink) const {
  const bool trims = params_.remove_extra_whitespaces;
  size_t length = 0;
  while (trims && !text.empty() && NormalizePrefix(text, length) == " ") text.remove_prefix(length);
  if (text.empty()) return;
  const std::string_view space = params_.escape_whitespaces ? kSpaceSymbol : " ";
  const bool dummy = params_.add_dummy_prefix && (at_start || !params_.dummy_prefix_at_start_only);
  std::string out;
  out.reserve(text.size() + text.size() / 2 + 4);
  if (dummy && !params_.whitespace_as_suffix) out += space;
  bool after_space = trims;
  while (!text.empty()) {
    std::string_view part = NormalizePrefix(text, length);
    while (after_space && part.starts_with(' ')) part.remove_prefix(1);
    for (const char c : part) {
      if (c == ' ') {
        out += space;
      } else {
        out += c;
      }
    }
    // As in SentencePiece, a part that vanished leaves the state as it was.
    if (!part.empty()) after_space = part.ends_with(' ');
    if (!trims) after_space = false;
    text.remove_prefix(length);
  }
  while (trims && out.ends_with(space)) out.resize(out.size() - space.size());
  if (dummy && params_.whitespace_as_suffix) out += space;
  if (!out.empty()) sink(out, at_start);
}

SentencePieceBpe::SentencePieceBpe(SentencePieceBpeParams params) : params_(std::move(params)) {
  const std::vector<std::string>& pieces = params_.table->tokens;
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (params_.types[id] == PieceType::kUserDefined) user_defined_.Add(pieces[id]);
    max_piece_bytes_ = std::max(max_piece_bytes_, pieces[id].size());
  }
  if (!params_.byte_fallback) return;
  for (int b = 0; b < 256; ++b) fallback_.push_back(params_.table->Find(fmt::format("<0x{:02X}>", b)));
  if (std::find(fallback_.begin(), fallback_.end(), -1) != fallback_.end()) fallback_.clear();
}

int32_t SentencePieceBpe::FindPlain(std::string_view text) const {
  if (text.size() > max_piece_bytes_) return -1;
  const int32_t id = params_.table->Find(text);
  if (id < 0) return -1;
  const PieceType type = params_.types[static_cast<size_t>(id)];
  const bool plain = type == PieceType::kNormal || type == PieceType::kUserDefined || type == PieceType::kUnused;
  return plain ? id : -1;
}

void SentencePieceBpe::Symbols(std::string_view piece, std::vector<Symbol>& symbols) const {
  for (size_t at = 0; at < piece.size();) {
    size_t size = user_defined_.Match(piece.substr(at));
    const bool frozen = size > 0;
    if (!frozen) size = DecodeUtf8(piece.data() + at, piece.data() + piece.size()).length;
    const int32_t index = static_cast<int32_t>(symbols.size());
    symbols.push_back({index - 1, index + 1, at, size, frozen});
    at += size;
  }
  if (!symbols.empty()) symbols.back().next = -1;
}

void SentencePieceBpe::MergeAll(std::string_view piece, std::vector<Symbol>& symbols, Cuts& cuts) const {
  struct Candidate {
    float score;
    int32_t left;
    size_t size;  // of the pair when it was considered
    bool operator<(const Candidate& other) const {
      return score != other.score ? score < other.score : left > other.left;  // the heap's top is the best
    }
  };
  std::vector<Candidate> heap;
  const auto consider = [&](int32_t left_index) {
    if (left_index < 0) return false;
    const Symbol& left = symbols[static_cast<size_t>(left_index)];
    if (left.next < 0) return false;
    const Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (left.frozen || right.frozen) return false;
    const std::string_view text = piece.substr(left.begin, left.size + right.size);
    const int32_t id = FindPlain(text);
    if (id < 0) return false;
    heap.push_back({params_.scores[static_cast<size_t>(id)], left_index, text.size()});
    if (params_.types[static_cast<size_t>(id)] == PieceType::kUnused) cuts[text] = left.size;
    return true;
  };
  for (size_t i = 0; i < symbols.size(); ++i) consider(static_cast<int32_t>(i));
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(top.left)];
    if (left.size == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (left.size + right.size != top.size) continue;  // the pair changed since
    left.size = top.size;
    right.size = 0;
    left.next = right.next;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].prev = top.left;
    if (consider(left.prev)) std::push_heap(heap.begin(), heap.end());
    if (consider(top.left)) std::push_heap(heap.begin(), heap.end());
  }
}

void SentencePieceBpe::Append(std::string_view text, const Cuts& cuts, bool& after_unknown,
                              std::vector<int32_t>& ids) const {
  const int32_t id = FindPlain(text);
  if (id >= 0) {
    const auto cut = params_.types[static_cast<size_t>(id)] == PieceType::kUnused ? cuts.find(text) : cuts.end();
    if (cut != cuts.end()) {
      Append(text.substr(0, cut->second), cuts, after_unknown, ids);
      Append(text.substr(cut->second), cuts, after_unknown, ids);
      return;
    }
    ids.push_back(id);
    after_unknown = false;
  } else if (!fallback_.empty()) {
    for (const char c : text) ids.push_back(fallback_[static_cast<unsigned char>(c)]);
  } else {
    if (!after_unknown && params_.unk_id >= 0) ids.push_back(params_.unk_id);  // one for a run
    after_unknown = true;
  }
}

void SentencePieceBpe::Encode(std::string_view piece, std::vector<int32_t>& ids) const {
  std::vector<Symbol> symbols;
  Cuts cuts;
  Symbols(piece, symbols);
  MergeAll(piece, symbols, cuts);
  bool after_unknown = false;
  for (int32_t at = symbols.empty() ? -1 : 0; at >= 0; at = symbols[static_cast<size_t>(at)].next) {
    const Symbol& symbol = symbols[static_cast<size_t>(at)];
    Append(piece.substr(symbol.begin, symbol.size), cuts, after_unknown, ids);
  }
}

}  // namespace ingot::tokenizer
