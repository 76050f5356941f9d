#include "tokenizer/bpe.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "text/utf8.h"
#include "tokenizer/byte_level.h"

namespace ingot::tokenizer {
namespace {

// Up to here finding the best pair by looking at all of them is faster than a heap.
constexpr size_t kShortWord = 48;

// Words that this thread met, direct mapped: 16384 entries of 64 bytes, 1 MiB per thread that tokenizes.
struct CacheEntry {
  static constexpr size_t kMaxBytes = 26;
  static constexpr size_t kMaxIds = 7;
  uint64_t serial = 0;
  uint8_t num_bytes = 0;
  uint8_t num_ids = 0;
  char bytes[kMaxBytes] = {};
  int32_t ids[kMaxIds] = {};
};
static_assert(sizeof(CacheEntry) == 64);
constexpr size_t kCacheEntries = size_t{1} << 14;

struct ThreadState {
  std::vector<CacheEntry> cache = std::vector<CacheEntry>(kCacheEntries);
  std::vector<int32_t> symbols;
};
ThreadState& State() {
  thread_local ThreadState state;
  return state;
}

uint64_t Hash(std::string_view word) {
  // Eight bytes at a time, multiplied and folded.
  uint64_t hash = word.size() * 0x9E3779B97F4A7C15u;
  size_t at = 0;
  const auto mix = [&](uint64_t chunk) {
    hash = (hash ^ chunk) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  };
  for (; at + 8 <= word.size(); at += 8) {
    uint64_t chunk;
    std::memcpy(&chunk, word.data() + at, 8);
    mix(chunk);
  }
  uint64_t chunk = 0;
  for (; at < word.size(); ++at) chunk = chunk << 8 | static_cast<unsigned char>(word[at]);
  mix(chunk);
  return hash;
}

}  // namespace

BpeModel::BpeModel(BpeParams params) : params_(std::move(params)) {
  static std::atomic<uint64_t> next_serial{1};
  serial_ = next_serial.fetch_add(1);
}

Result<std::unique_ptr<BpeModel>> BpeModel::Create(BpeParams params) {
  std::unique_ptr<BpeModel> model(new BpeModel(std::move(params)));
  const std::vector<std::pair<std::string, std::string>> merges = std::move(model->params_.merges);
  INGOT_RETURN_IF_ERROR(model->AddMerges(merges));
  model->AddBytes();
  if (!model->params_.ignore_merges) return model;
  const std::vector<std::string>& tokens = model->params_.table->tokens;
  for (const std::string& token : tokens) {
    model->byte_spellings_.push_back(model->params_.byte_level ? SpellingToBytes(token).value_or("") : token);
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string& bytes = model->byte_spellings_[id];
    if (!bytes.empty() && model->FindPlain(tokens[id]) == static_cast<int32_t>(id)) {
      model->whole_.try_emplace(bytes, static_cast<int32_t>(id));
    }
  }
  return model;
}

Status BpeModel::AddMerges(const std::vector<std::pair<std::string, std::string>>& merges) {
  merges_.reserve(merges.size());
  std::string product;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    product.assign(left).append(right);
    const int32_t left_id = params_.table->Find(left), right_id = params_.table->Find(right);
    const int32_t product_id = params_.table->Find(product);
    if (left_id < 0 || right_id < 0 || product_id < 0) {
      return InvalidArgument("merges[{}]: \"{}\" is not in the vocabulary", rank,
                             left_id < 0    ? left
                             : right_id < 0 ? right
                                            : product);
    }
    const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(left_id)) << 32 | static_cast<uint32_t>(right_id);
    merges_.insert_or_assign(key, Merge{static_cast<uint32_t>(rank), product_id});
  }
  return {};
}

void BpeModel::AddBytes() {
  for (int b = 0; b < 256; ++b) {
    const size_t byte = static_cast<size_t>(b);
    fallback_[byte] = params_.table->Find(fmt::format("<0x{:02X}>", b));
  }
  if (!params_.byte_level) return;
  for (int b = 0; b < 256; ++b) {
    const size_t byte = static_cast<size_t>(b);
    const char c = static_cast<char>(b);
    const std::string spelling = BytesToSpelling({&c, 1});
    const int32_t id = FindPlain(spelling);
    if (id >= 0) {
      of_byte_[byte] = {id};
    } else if (params_.byte_fallback) {
      FallBackToBytes(spelling, of_byte_[byte]);
    }
  }
}

bool BpeModel::FallBackToBytes(std::string_view character, std::vector<int32_t>& symbols) const {
  for (const char c : character) {
    if (fallback_[static_cast<unsigned char>(c)] < 0) return false;
  }
  for (const char c : character) symbols.push_back(fallback_[static_cast<unsigned char>(c)]);
  return true;
}

void BpeModel::InitialSymbols(std::string_view piece, std::vector<int32_t>& symbols) const {
  bool unknown = false;  // an unknown token waits to be written, perhaps for more of its kind
  const auto add_unknown = [&] {
    if (params_.unk_id < 0) return;
    if (unknown && !params_.fuse_unk) symbols.push_back(params_.unk_id);
    unknown = true;
  };
  const auto flush = [&] {
    if (unknown) symbols.push_back(params_.unk_id);
    unknown = false;
  };
  const char* const end = piece.data() + piece.size();
  for (const char* p = piece.data(); p < end;) {
    if (params_.byte_level) {
      const std::vector<int32_t>& of_byte = of_byte_[static_cast<unsigned char>(*p++)];
      if (of_byte.empty()) {
        add_unknown();
      } else {
        flush();
        symbols.insert(symbols.end(), of_byte.begin(), of_byte.end());
      }
      continue;
    }
    const std::string_view character(p, DecodeUtf8(p, end).length);
    p += character.size();
    const int32_t id = FindPlain(character);
    if (id >= 0) {
      flush();
      symbols.push_back(id);
    } else if (!params_.byte_fallback || !FallBackToBytes(character, symbols)) {
      add_unknown();
    }
  }
  flush();
}

void BpeModel::MergeShort(std::vector<int32_t>& symbols) const {
  size_t n = symbols.size();
  const Merge* best_of[kShortWord];  // of the pair that begins at i
  for (size_t i = 0; i + 1 < n; ++i) best_of[i] = FindMerge(symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = n;
    for (size_t i = 0; i + 1 < n; ++i) {
      if (best_of[i] != nullptr && (best == n || best_of[i]->rank < best_of[best]->rank)) best = i;
    }
    if (best == n) break;
    symbols[best] = best_of[best]->id;
    std::copy(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 2, symbols.begin() + static_cast<std::ptrdiff_t>(n),
              symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    if (best + 2 < n) std::copy(best_of + best + 2, best_of + n - 1, best_of + best + 1);
    --n;
    if (best + 1 < n) best_of[best] = FindMerge(symbols[best], symbols[best + 1]);
    if (best > 0) best_of[best - 1] = FindMerge(symbols[best - 1], symbols[best]);
  }
  symbols.resize(n);
}

void BpeModel::MergeLong(std::vector<int32_t>& ids) const {
  struct Candidate {
    uint32_t rank;
    int32_t at;  // the left symbol
    int32_t id;  // what the pair becomes: names the pair, since symbols only ever grow
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;  // the heap's top is the lowest
    }
  };
  std::vector<Symbol> symbols(ids.size());
  std::vector<Candidate> heap;
  const int32_t n = static_cast<int32_t>(ids.size());
  const auto consider = [&](int32_t at) {
    if (at < 0 || symbols[static_cast<size_t>(at)].next < 0) return false;
    const Symbol& left = symbols[static_cast<size_t>(at)];
    const Merge* const merge = FindMerge(left.id, symbols[static_cast<size_t>(left.next)].id);
    if (merge == nullptr) return false;
    heap.push_back({merge->rank, at, merge->id});
    return true;
  };
  for (int32_t i = 0; i < n; ++i) {
    symbols[static_cast<size_t>(i)] = {ids[static_cast<size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1};
  }
  for (int32_t i = 0; i < n; ++i) consider(i);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(top.at)];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const Merge* const merge = FindMerge(left.id, right.id);
    if (merge == nullptr || merge->id != top.id) continue;  // the pair changed since
    left.id = top.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].prev = top.at;
    if (consider(left.prev)) std::push_heap(heap.begin(), heap.end());
    if (consider(top.at)) std::push_heap(heap.begin(), heap.end());
  }
  size_t count = 0;
  for (int32_t at = n > 0 ? 0 : -1; at >= 0; at = symbols[static_cast<size_t>(at)].next) {
    ids[count++] = symbols[static_cast<size_t>(at)].id;
  }
  ids.resize(count);
}

void BpeModel::Encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.empty()) return;
  ThreadState& state = State();
  CacheEntry* entry = nullptr;
  if (piece.size() <= CacheEntry::kMaxBytes) {
    entry = &state.cache[(Hash(piece) ^ serial_ * 0x9E3779B1u) % kCacheEntries];
    if (entry->serial == serial_ && entry->num_bytes == piece.size() &&
        std::memcmp(entry->bytes, piece.data(), piece.size()) == 0) {
      ids.insert(ids.end(), entry->ids, entry->ids + entry->num_ids);
      return;
    }
  }
  std::vector<int32_t>& symbols = state.symbols;
  symbols.clear();
  const int32_t whole = params_.ignore_merges ? FindToken(whole_, piece) : -1;
  if (whole >= 0) {
    symbols.push_back(whole);
  } else {
    InitialSymbols(piece, symbols);
    if (symbols.size() <= kShortWord) {
      MergeShort(symbols);
    } else {
      MergeLong(symbols);
    }
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
  if (entry == nullptr || symbols.size() > CacheEntry::kMaxIds) return;
  entry->serial = serial_;
  entry->num_bytes = static_cast<uint8_t>(piece.size());
  entry->num_ids = static_cast<uint8_t>(symbols.size());
  std::memcpy(entry->bytes, piece.data(), piece.size());
  std::copy(symbols.begin(), symbols.end(), entry->ids);
}

}  // namespace ingot::tokenizer
