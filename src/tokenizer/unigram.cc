#include "tokenizer/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/utf8.h"

namespace ingot::tokenizer {
namespace {

constexpr double kUnknownPenalty = 10;   // as in SentencePiece
constexpr size_t kMaxTokenBytes = 1024;  // bounds the time per character
constexpr int32_t kUnreached = -2;

}  // namespace

UnigramModel::UnigramModel(UnigramParams params) : params_(std::move(params)), token_at_(1, -1) {
  for (size_t id = 0; id < params_.table->tokens.size(); ++id) {
    if (std::isnan(params_.scores[id])) continue;
    const std::string& token = params_.table->tokens[id];
    if (token.empty() || token.size() > kMaxTokenBytes || params_.table->Find(token) != static_cast<int32_t>(id))
      continue;
    uint64_t node = 0;
    for (const char c : token) {
      const uint64_t key = node << 8 | static_cast<unsigned char>(c);
      const auto [it, inserted] = edges_.try_emplace(key, static_cast<uint32_t>(token_at_.size()));
      if (inserted) token_at_.push_back(-1);
      node = it->second;
    }
    token_at_[node] = static_cast<int32_t>(id);
  }
  unk_score_ = params_.min_score - kUnknownPenalty;
  if (!params_.byte_fallback) return;
  for (int b = 0; b < 256; ++b) fallback_.push_back(params_.table->Find(fmt::format("<0x{:02X}>", b)));
  if (std::find(fallback_.begin(), fallback_.end(), -1) != fallback_.end()) fallback_.clear();
}

template <typename Score>
void UnigramModel::Viterbi(std::string_view piece, std::vector<Node>& best) const {
  const char* const end = piece.data() + piece.size();
  for (size_t begin = 0; begin < piece.size();) {
    const size_t character = DecodeUtf8(piece.data() + begin, end).length;
    const Score so_far = static_cast<Score>(best[begin].score);
    bool has_single = false;
    const auto offer = [&](size_t to, Score score, int32_t id) {
      const Score candidate = score + so_far;
      Node& node = best[to];
      if (node.id == kUnreached || candidate > static_cast<Score>(node.score)) node = {candidate, begin, id};
    };
    uint64_t node = 0;
    for (size_t at = begin; at < piece.size(); ++at) {
      const auto it = edges_.find(node << 8 | static_cast<unsigned char>(piece[at]));
      if (it == edges_.end()) break;
      node = it->second;
      const int32_t id = token_at_[node];
      if (id < 0) continue;
      offer(at + 1, static_cast<Score>(params_.scores[static_cast<size_t>(id)]), id);
      if (at + 1 - begin == character) has_single = true;
    }
    if (!has_single) offer(begin + character, static_cast<Score>(unk_score_), -1);
    begin += character;
  }
}

void UnigramModel::AppendUnknown(std::string_view text, std::vector<int32_t>& ids) const {
  if (!params_.single_precision) {
    // A run of unknown characters may be a token as a whole.
    const int32_t whole = params_.table->Find(text);
    if (whole >= 0) {
      ids.push_back(whole);
      return;
    }
  }
  if (!fallback_.empty()) {
    for (const char c : text) ids.push_back(fallback_[static_cast<unsigned char>(c)]);
  } else if (params_.unk_id >= 0) {
    ids.push_back(params_.unk_id);
  }
}

void UnigramModel::Encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.empty()) return;
  std::vector<Node> best(piece.size() + 1, Node{0, 0, kUnreached});
  if (params_.single_precision) {
    Viterbi<float>(piece, best);
  } else {
    Viterbi<double>(piece, best);
  }
  std::vector<std::pair<size_t, size_t>> path;  // from the end: begin, end; runs of unknown characters joined
  bool unknown = false;
  for (size_t end = piece.size(); end > 0; end = best[end].begin) {
    const bool is_unknown = best[end].id < 0 || best[end].id == params_.unk_id;
    if (unknown && is_unknown) {
      path.back().first = best[end].begin;
    } else {
      path.emplace_back(best[end].begin, end);
    }
    unknown = is_unknown;
  }
  for (auto it = path.rbegin(); it != path.rend(); ++it) {
    const auto [begin, end] = *it;
    const bool is_unknown = best[end].id < 0 || best[end].id == params_.unk_id;
    if (is_unknown) {
      AppendUnknown(piece.substr(begin, end - begin), ids);
    } else {
      ids.push_back(best[end].id);
    }
  }
}

}  // namespace ingot::tokenizer
