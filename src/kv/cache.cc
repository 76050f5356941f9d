#include "kv/cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace ingot::kv {

Cache::Cache(const CacheOptions& options) : options_(options) {
  INGOT_CHECK(!options.groups.empty() && options.groups.size() <= kMaxGroups);
  PrefixIndexOptions index{.block_len = options.block_len, .granularity = options.granularity};
  for (const GroupOptions& group : options.groups) {
    INGOT_CHECK(!group.is_state || group.window == kStateWindow);
    has_states_ |= group.is_state;
    pools_.push_back(std::make_unique<BlockPool>(group.num_blocks));
    index.windows.push_back(group.window);
    index.pools.push_back(pools_.back().get());
  }
  index.whole_parts_only = has_states_;
  index_ = std::make_unique<PrefixIndex>(std::move(index));
}

int64_t MostBlocksHeld(int window, const SequenceShape& shape) {
  const int64_t all = BlocksFor(shape.num_tokens, shape.block_len);
  if (window == 0) return all;
  // The window, a chunk, both borders within a block, and the last whole block, which stays for the index.
  return std::min(all, BlocksFor(window + shape.max_chunk, shape.block_len) + 2);
}

int64_t Cache::MostHeld(int group_index, int64_t num_tokens, int64_t max_chunk) const {
  return MostBlocksHeld(group(group_index).window, {num_tokens, max_chunk, options_.block_len});
}

Holding Cache::MakeHolding(int64_t max_tokens, PrefixScopePtr scope) const {
  Holding holding{.scope = std::move(scope)};
  for (int g = 0; g < num_groups(); ++g) {
    holding.tables.emplace_back(options_.block_len, BlocksFor(max_tokens, options_.block_len));
  }
  return holding;
}

PrefixMatch Cache::Find(const PrefixScope& scope, std::span<const int32_t> tokens, int64_t limit) const {
  return limit <= 0 ? PrefixMatch{} : index_->Find(scope, tokens, limit);
}

PerGroup Cache::BlocksOfMatch(const PrefixMatch& match) const {
  PerGroup blocks{};
  if (match.num_tokens == 0) return blocks;
  for (int g = 0; g < num_groups(); ++g) {
    int64_t& count = blocks[static_cast<size_t>(g)];
    count = index_->CountIdle(match, g);
    if (match.partial == kNoNode) continue;
    const bool source_is_idle = pool(g).holders(index_->BlockOf(match.partial, g)) == 0;
    count += source_is_idle ? 2 : 1;  // the copy, and what it is made of while it is made
  }
  return blocks;
}

void Cache::Take(const PrefixMatch& match, Holding* holding) {
  if (match.num_tokens == 0) return;
  const int64_t whole = match.num_tokens / options_.block_len;
  for (int g = 0; match.partial != kNoNode && g < num_groups(); ++g) {
    holding->to_copy.push_back(pools_[static_cast<size_t>(g)]->Hold(index_->BlockOf(match.partial, g)));
  }
  for (int g = 0; g < num_groups(); ++g) index_->Share(match, g, &holding->tables[static_cast<size_t>(g)]);
  if (whole > 0) holding->node = NodeRef(index_.get(), match.node);
  holding->num_indexed = whole;
  holding->num_written = match.num_tokens;
}

void Cache::CopyPart(Holding* holding, const CopyFn& copy) {
  std::vector<BlockRef> copies;
  for (size_t g = 0; g < holding->to_copy.size(); ++g) {
    auto block = TakeBlock(static_cast<int>(g));
    INGOT_CHECK(block.has_value());
    copies.push_back(*std::move(block));
  }
  for (size_t g = 0; g < copies.size(); ++g) {
    copy(static_cast<int>(g), holding->to_copy[g].id(), copies[g].id());
    holding->tables[g].Append(std::move(copies[g]));
  }
  holding->to_copy.clear();
}

std::optional<BlockRef> Cache::TakeBlock(int group_index) {
  BlockPool& pool = *pools_[static_cast<size_t>(group_index)];
  auto block = pool.Allocate();
  if (!block && index_->Evict(group_index)) block = pool.Allocate();
  return block;
}

bool Cache::Grow(Holding* holding, int64_t num_tokens) {
  const int64_t wanted = BlocksFor(num_tokens, options_.block_len);
  for (int g = 0; g < num_groups(); ++g) {
    BlockTable& table = holding->tables[static_cast<size_t>(g)];
    while (table.size() < wanted) {
      auto block = TakeBlock(g);
      if (!block) return false;
      table.Append(*std::move(block));
    }
  }
  holding->num_written = std::max(holding->num_written, num_tokens);
  return true;
}

void Cache::Commit(Holding* holding, std::span<const int32_t> tokens, int64_t num_computed) {
  const auto block_len = static_cast<size_t>(options_.block_len);
  while (holding->scope && !holding->detached && (holding->num_indexed + 1) * options_.block_len <= num_computed) {
    const NodeId parent = holding->num_indexed == 0 ? index_->Root(holding->scope) : holding->node.id();
    const auto block = tokens.subspan(static_cast<size_t>(holding->num_indexed) * block_len, block_len);
    const NodeId node =
        parent == kNoNode ? kNoNode : index_->Insert(parent, block, holding->tables, holding->num_indexed);
    holding->detached = node == kNoNode;
    if (holding->detached) break;
    holding->node = NodeRef(index_.get(), node);
    ++holding->num_indexed;
  }
  for (int g = 0; g < num_groups(); ++g) {
    const int window = group(g).window;
    if (window == 0) continue;
    int64_t first = FirstBlockSeen(window, num_computed, options_.block_len);
    // The last whole block, after which a hit may end.
    if (holding->scope && !holding->detached) first = std::min(first, holding->num_indexed - 1);
    // The snapshot to which Rewind may have to go back.
    if (group(g).is_state) first = std::min(first, num_computed / options_.block_len - 1);
    holding->tables[static_cast<size_t>(g)].ReleaseBefore(first);
  }
}

bool Cache::HasSnapshots(const Holding& holding, int64_t num_blocks) const {
  for (int g = 0; g < num_groups(); ++g) {
    if (group(g).is_state && holding.tables[static_cast<size_t>(g)].begin() >= num_blocks) return false;
  }
  return true;
}

int64_t Cache::Rewind(Holding* holding, int64_t num_tokens) {
  INGOT_CHECK(num_tokens >= holding->num_indexed * options_.block_len);
  if (has_states_ && num_tokens < holding->num_written) {
    num_tokens -= num_tokens % options_.block_len;
    // A hit that ended within a block has no snapshot of its beginning.
    if (!HasSnapshots(*holding, num_tokens / options_.block_len)) num_tokens = 0;
    holding->num_indexed = std::min(holding->num_indexed, num_tokens / options_.block_len);
    if (num_tokens == 0) holding->node = NodeRef();
  }
  holding->num_written = std::min(holding->num_written, num_tokens);
  for (BlockTable& table : holding->tables) {
    table.Truncate(std::min(table.size(), BlocksFor(num_tokens, options_.block_len)));
  }
  return num_tokens;
}

void Cache::Release(Holding* holding, std::span<const int32_t> tokens, int64_t num_computed) {
  Commit(holding, tokens, num_computed);
  num_computed -= num_computed % options_.granularity;
  const int64_t whole = holding->num_indexed * options_.block_len;
  const bool states_are_there = !has_states_ || holding->num_written == num_computed;
  if (holding->scope && !holding->detached && num_computed > whole && states_are_there) {
    const NodeId parent = holding->num_indexed == 0 ? index_->Root(holding->scope) : holding->node.id();
    const auto part = tokens.subspan(static_cast<size_t>(whole), static_cast<size_t>(num_computed - whole));
    if (parent != kNoNode) index_->Insert(parent, part, holding->tables, holding->num_indexed);
  }
  for (BlockTable& table : holding->tables) table.Clear();
  holding->node = NodeRef();
  holding->num_indexed = holding->num_written = 0;
  holding->detached = false;
}

void Cache::EvictAll() {
  for (int g = 0; g < num_groups(); ++g) {
    while (index_->Evict(g)) {
    }
  }
}

CacheStats Cache::stats() const {
  CacheStats stats;
  for (const auto& pool : pools_) {
    stats.total += pool->num_blocks();
    stats.free += pool->num_free();
    stats.cached += pool->num_cached();
  }
  return stats;
}

bool Cache::CheckIntegrity() const {
  for (const auto& pool : pools_) {
    if (!pool->CheckIntegrity()) return false;
  }
  return index_->CheckIntegrity();
}

}  // namespace ingot::kv
