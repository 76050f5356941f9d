// The bookkeeping of a KV cache: groups of layers with blocks of their own, and the prefix index over them. Integers
// only; the owner of the bytes copies them when asked to.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "kv/prefix_index.h"

namespace ingot::kv {

inline constexpr int kMaxGroups = 4;  // kinds of layers of one model; more are refused when it is loaded
using PerGroup = std::array<int64_t, kMaxGroups>;

// Blocks that a sequence of num_tokens holds at most at once in a group with this window, when it is computed in chunks
// of max_chunk tokens.
struct SequenceShape {
  int64_t num_tokens, max_chunk;
  int block_len;
};
int64_t MostBlocksHeld(int window, const SequenceShape& shape);

// Layers keep K and V of every token, or (recurrent ones, linear attention) a state of fixed size after all of them. A
// state is a block: entry i of the table is the state after block i of the tokens, and the last entry the state after
// the last token. The next token needs that one alone, as if it saw one position besides its own. States at the ends of
// blocks are snapshots: the index keeps them, shares and evicts them as it does other blocks; the state of a block that
// is not full is overwritten by its sequence, which alone holds it.
inline constexpr int kStateWindow = 2;

struct GroupOptions {
  int window = 0;  // positions that a query sees with its own; 0: all
  int32_t num_blocks = 1;
  bool is_state = false;  // window is kStateWindow
};

struct CacheOptions {
  int block_len = 64;
  std::vector<GroupOptions> groups;
  int granularity = 1;  // hits end on multiples of it, and what is not a whole one is not kept
};

struct CacheStats {
  int64_t total = 0, free = 0, cached = 0;  // blocks of all groups; cached: kept for later hits, not held
};

// What a sequence holds of the cache.
struct Holding {
  std::vector<BlockTable> tables;  // one a group
  NodeRef node;                    // of its last whole block in the index
  int64_t num_indexed = 0;         // whole blocks in the index
  int64_t num_written = 0;         // tokens, drafts too: where states are
  PrefixScopePtr scope;            // whose blocks it may share; null: nothing of it enters the index
  bool detached = false;           // the index had no room: nothing more of it is kept
  std::vector<BlockRef> to_copy;   // [groups] between Take and CopyPart: what its last, partial block begins with
};

// Thread safety: none; the engine thread owns it. Outlives its Holdings.
// Invariants: per group, free + cached + held == total; what a Holding's tables have from their begin on is held.
class Cache {
 public:
  explicit Cache(const CacheOptions& options);

  int num_groups() const { return static_cast<int>(pools_.size()); }
  int block_len() const { return options_.block_len; }
  int granularity() const { return options_.granularity; }
  const GroupOptions& group(int index) const { return options_.groups[static_cast<size_t>(index)]; }
  const BlockPool& pool(int group) const { return *pools_[static_cast<size_t>(group)]; }

  // Blocks that can be had: free ones, and cached ones after eviction.
  int64_t Available(int group) const { return pool(group).num_free() + pool(group).num_cached(); }
  // MostBlocksHeld of the group.
  int64_t MostHeld(int group, int64_t num_tokens, int64_t max_chunk) const;

  Holding MakeHolding(int64_t max_tokens, PrefixScopePtr scope) const;
  // What the index has of these tokens, at most `limit` of them.
  PrefixMatch Find(const PrefixScope& scope, std::span<const int32_t> tokens, int64_t limit) const;
  // Blocks that taking the match makes unavailable, its copy included.
  PerGroup BlocksOfMatch(const PrefixMatch& match) const;
  // Lets an empty holding begin with the match, but for the copy of its last, partial block. Takes nothing from others,
  // so that matches found before it stay what they are. REQUIRES: BlocksOfMatch, of all matches that are taken before
  // the next CopyPart together, are available.
  void Take(const PrefixMatch& match, Holding* holding);
  using CopyFn = std::function<void(int group, int32_t from, int32_t to)>;
  // Makes the copy, in a block of its own, for which a cached one may be evicted.
  void CopyPart(Holding* holding, const CopyFn& copy);

  // Takes blocks until num_tokens fit, evicting cached ones; false, with what it got kept, when there are not enough.
  [[nodiscard]] bool Grow(Holding* holding, int64_t num_tokens);
  // The first num_computed tokens are computed, and stay what they are: whole blocks enter the index, what no window
  // sees any more goes back.
  void Commit(Holding* holding, std::span<const int32_t> tokens, int64_t num_computed);
  // Takes back the tokens after the first num_tokens, whose blocks go back. They may have been written: drafts that
  // were rejected. Returns how many are left: num_tokens, or where a state has advanced beyond them, as many as the
  // last snapshot before that is of.   REQUIRES: num_tokens are at least those committed
  [[nodiscard]] int64_t Rewind(Holding* holding, int64_t num_tokens);
  // Gives everything back. The blocks of the first num_computed tokens stay for later hits.
  void Release(Holding* holding, std::span<const int32_t> tokens, int64_t num_computed);

  // Frees the cached blocks: what was computed is not to be found.
  void EvictAll();

  CacheStats stats() const;
  bool CheckIntegrity() const;

 private:
  std::optional<BlockRef> TakeBlock(int group);

  // Whether it holds the states after the first num_blocks blocks, in every group of states.
  bool HasSnapshots(const Holding& holding, int64_t num_blocks) const;
  CacheOptions options_;
  bool has_states_ = false;  // a group does
  std::vector<std::unique_ptr<BlockPool>> pools_;
  std::unique_ptr<PrefixIndex> index_;
};

}  // namespace ingot::kv
