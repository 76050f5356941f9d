#include "kv/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "kv/prefix_hash.h"

namespace ingot::kv {
namespace {

// Children that are looked at for a common beginning, the youngest first: bounds the time where many requests part
// after the same block.
constexpr int kMaxPartsTried = 64;

int64_t CommonLength(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto [at, unused] =
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())), b.begin());
  return at - a.begin();
}

}  // namespace

NodeRef::NodeRef(PrefixIndex* index, NodeId id) : index_(index), id_(id) {
  if (id_ != kNoNode) index_->AddReference(id_);
}

NodeRef::~NodeRef() {
  if (id_ != kNoNode) index_->Release(id_);
}

PrefixIndex::PrefixIndex(PrefixIndexOptions options) : options_(std::move(options)) {
  INGOT_CHECK(options_.windows.size() == options_.pools.size() && !options_.windows.empty());
  INGOT_CHECK(options_.block_len % options_.granularity == 0);
  size_t num_nodes = 64;  // roots, and nodes that only lead to others
  for (const BlockPool* pool : options_.pools) num_nodes += 2 * static_cast<size_t>(pool->num_blocks());
  nodes_.resize(num_nodes);
  tokens_.resize(num_nodes * static_cast<size_t>(options_.block_len));
  blocks_.assign(num_nodes * options_.windows.size(), -1);
  links_.resize((num_nodes + 1) * options_.windows.size());
  buckets_.assign(std::bit_ceil(num_nodes), kNoNode);
  const auto end = static_cast<NodeId>(num_nodes);
  for (NodeId node = end - 1; node >= 0; --node) free_nodes_.push_back(node);
  listeners_.resize(options_.windows.size());
  for (int group = 0; group < num_groups(); ++group) {
    BlockPool* pool = options_.pools[static_cast<size_t>(group)];
    owner_.emplace_back(static_cast<size_t>(pool->num_blocks()), kNoNode);
    links_[Index(end, group)] = {end, end};
    listeners_[static_cast<size_t>(group)].index = this;
    listeners_[static_cast<size_t>(group)].group = group;
    pool->set_listener(&listeners_[static_cast<size_t>(group)]);
  }
}

PrefixIndex::~PrefixIndex() {
  for (int group = 0; group < num_groups(); ++group) {
    while (Evict(group)) {
    }
    options_.pools[static_cast<size_t>(group)]->set_listener(nullptr);
  }
}

void PrefixIndex::Listener::OnCached(int32_t block) {
  index->Link(index->owner_[static_cast<size_t>(group)][static_cast<size_t>(block)], group);
}
void PrefixIndex::Listener::OnBusy(int32_t block) {
  index->Unlink(index->owner_[static_cast<size_t>(group)][static_cast<size_t>(block)], group);
}

std::span<const int32_t> PrefixIndex::TokensOf(NodeId node) const {
  const auto begin = static_cast<size_t>(node) * static_cast<size_t>(options_.block_len);
  return std::span(tokens_).subspan(begin, static_cast<size_t>(nodes_[static_cast<size_t>(node)].num_tokens));
}

NodeId PrefixIndex::FindRoot(const PrefixScope& scope) const {
  NodeId node = buckets_[HashOf(scope) % buckets_.size()];
  for (; node != kNoNode; node = nodes_[static_cast<size_t>(node)].next_in_bucket) {
    const Node& n = nodes_[static_cast<size_t>(node)];
    if (n.num_tokens == 0 && *n.scope == scope) return node;
  }
  return kNoNode;
}

NodeId PrefixIndex::FindChild(NodeId parent, std::span<const int32_t> tokens) const {
  const uint64_t hash = HashOf(parent, tokens);
  NodeId node = buckets_[hash % buckets_.size()];
  for (; node != kNoNode; node = nodes_[static_cast<size_t>(node)].next_in_bucket) {
    const Node& n = nodes_[static_cast<size_t>(node)];
    if (n.hash == hash && n.parent == parent && std::ranges::equal(TokensOf(node), tokens)) return node;
  }
  return kNoNode;
}

PrefixMatch PrefixIndex::Find(const PrefixScope& scope, std::span<const int32_t> tokens, int64_t limit) const {
  PrefixMatch here;
  here.node = FindRoot(scope);
  if (here.node == kNoNode) return {};
  PrefixMatch best = here;
  const int64_t block_len = options_.block_len;
  for (; here.num_tokens + block_len <= limit; here.num_tokens += block_len) {
    const auto block = tokens.subspan(static_cast<size_t>(here.num_tokens), static_cast<size_t>(block_len));
    const NodeId child = FindChild(here.node, block);
    if (child == kNoNode) break;
    here.node = child;
    PrefixMatch whole = here;
    whole.num_tokens += block_len;
    if (SeesWhatItNeeds(whole)) best = whole;
  }
  ExtendPartly(tokens, limit, &here);
  return here.partial != kNoNode && SeesWhatItNeeds(here) ? here : best;
}

// The child whose block begins with the most of the tokens that follow.
void PrefixIndex::ExtendPartly(std::span<const int32_t> tokens, int64_t limit, PrefixMatch* match) const {
  const auto rest =
      tokens.subspan(static_cast<size_t>(match->num_tokens), static_cast<size_t>(limit - match->num_tokens));
  int64_t longest = 0;
  NodeId child = nodes_[static_cast<size_t>(match->node)].first_child;
  for (int tried = 0; child != kNoNode && tried < kMaxPartsTried; ++tried) {
    const int64_t common = CommonLength(TokensOf(child), rest) / options_.granularity * options_.granularity;
    const bool serves = !options_.whole_parts_only || common == std::ssize(TokensOf(child));
    if (serves && common > longest) {
      longest = common;
      match->partial = child;
    }
    child = nodes_[static_cast<size_t>(child)].next_sibling;
  }
  match->num_tokens += longest;
}

// Whether the blocks that the next token sees are all there, in every group.
bool PrefixIndex::SeesWhatItNeeds(const PrefixMatch& match) const {
  for (int group = 0; group < num_groups(); ++group) {
    const int window = options_.windows[static_cast<size_t>(group)];
    const int64_t first = FirstBlockSeen(window, match.num_tokens, options_.block_len);
    if (match.partial != kNoNode && BlockOf(match.partial, group) < 0) return false;
    int64_t index = match.num_tokens / options_.block_len - 1;
    for (NodeId node = match.node; index >= first; --index) {
      if (BlockOf(node, group) < 0) return false;
      node = nodes_[static_cast<size_t>(node)].parent;
      // Where all positions are seen, what is before a kept block is kept too.
      if (window == 0) break;
    }
  }
  return true;
}

int64_t PrefixIndex::CountIdle(const PrefixMatch& match, int group) const {
  const BlockPool& pool = *options_.pools[static_cast<size_t>(group)];
  const int window = options_.windows[static_cast<size_t>(group)];
  const int64_t first = FirstBlockSeen(window, match.num_tokens, options_.block_len);
  int64_t count = 0;
  NodeId node = match.node;
  for (int64_t index = match.num_tokens / options_.block_len - 1; index >= first; --index) {
    if (pool.holders(BlockOf(node, group)) > 0 && window == 0) break;  // and so is what is before it
    count += pool.holders(BlockOf(node, group)) == 0 ? 1 : 0;
    node = nodes_[static_cast<size_t>(node)].parent;
  }
  return count;
}

void PrefixIndex::Share(const PrefixMatch& match, int group, BlockTable* table) const {
  BlockPool& pool = *options_.pools[static_cast<size_t>(group)];
  const int window = options_.windows[static_cast<size_t>(group)];
  const int64_t blocks = match.num_tokens / options_.block_len;
  const int64_t first = FirstBlockSeen(window, match.num_tokens, options_.block_len);
  for (int64_t i = 0; i < std::min(first, blocks); ++i) table->AppendEmpty();
  const auto path = [&](int64_t index) {  // the node of block `index`
    NodeId node = match.node;
    for (int64_t up = blocks - 1; up > index; --up) node = nodes_[static_cast<size_t>(node)].parent;
    return node;
  };
  // From the root on. Walking up from the end for each block would take time quadratic in the prefix: in runs of 64.
  constexpr int64_t kRun = 64;
  NodeId run[kRun];
  for (int64_t begin = first; begin < blocks; begin += kRun) {
    const int64_t end = std::min(begin + kRun, blocks);
    NodeId node = path(end - 1);
    for (int64_t i = end - 1; i >= begin; --i) {
      run[i - begin] = node;
      node = nodes_[static_cast<size_t>(node)].parent;
    }
    for (int64_t i = begin; i < end; ++i) table->Append(pool.Hold(BlockOf(run[i - begin], group)));
  }
}

NodeId PrefixIndex::Make(NodeId parent, uint64_t hash, std::span<const int32_t> tokens) {
  if (free_nodes_.empty()) return kNoNode;
  const NodeId id = free_nodes_.back();
  free_nodes_.pop_back();
  Node& node = nodes_[static_cast<size_t>(id)];
  node = {.parent = parent, .hash = hash, .num_tokens = static_cast<int32_t>(tokens.size()), .live = true};
  std::ranges::copy(tokens, tokens_.begin() + static_cast<std::ptrdiff_t>(id) * options_.block_len);
  NodeId& bucket = buckets_[hash % buckets_.size()];
  node.next_in_bucket = std::exchange(bucket, id);
  if (parent == kNoNode) return id;
  Node& above = nodes_[static_cast<size_t>(parent)];
  node.next_sibling = above.first_child;
  if (node.next_sibling != kNoNode) nodes_[static_cast<size_t>(node.next_sibling)].prev_sibling = id;
  above.first_child = id;
  return id;
}

NodeId PrefixIndex::Root(const PrefixScopePtr& scope) {
  NodeId root = FindRoot(*scope);
  if (root != kNoNode) return root;
  root = Make(kNoNode, HashOf(*scope), {});
  if (root != kNoNode) nodes_[static_cast<size_t>(root)].scope = scope;
  return root;
}

NodeId PrefixIndex::Insert(NodeId parent, std::span<const int32_t> tokens, std::span<BlockTable> tables,
                           int64_t index) {
  const bool is_part = tokens.size() < static_cast<size_t>(options_.block_len);
  if (is_part) {
    tokens = tokens.first(tokens.size() / static_cast<size_t>(options_.granularity) *
                          static_cast<size_t>(options_.granularity));
  }
  NodeId node = kNoNode;
  if (!is_part || !(tokens.empty() || IsPartUseless(parent, tokens))) {
    node = FindChild(parent, tokens);
    if (node == kNoNode) node = Make(parent, HashOf(parent, tokens), tokens);
  }
  if (node == kNoNode) {
    FreeIfBare(parent);  // a root made for nothing
    return kNoNode;
  }
  GiveBlocks(node, tables, index);
  RemoveParts(parent, node);
  return node;
}

void PrefixIndex::GiveBlocks(NodeId node, std::span<BlockTable> tables, int64_t index) {
  for (int group = 0; group < num_groups(); ++group) {
    BlockTable& table = tables[static_cast<size_t>(group)];
    BlockPool& pool = *options_.pools[static_cast<size_t>(group)];
    if (index < table.begin() || index >= table.size()) continue;
    const int32_t own = table.ids()[static_cast<size_t>(index)];
    int32_t& kept = blocks_[Index(node, group)];
    if (kept == own) continue;
    if (kept >= 0) {
      table.Replace(index, pool.Hold(kept));
      continue;
    }
    kept = own;
    owner_[static_cast<size_t>(group)][static_cast<size_t>(own)] = node;
    pool.Keep(own);
  }
}

// Whether a child that has these tokens and more serves in its place.
bool PrefixIndex::IsPartUseless(NodeId parent, std::span<const int32_t> tokens) const {
  if (options_.whole_parts_only) return false;
  NodeId child = nodes_[static_cast<size_t>(parent)].first_child;
  for (int tried = 0; child != kNoNode && tried < kMaxPartsTried; ++tried) {
    const auto have = TokensOf(child);
    if (have.size() >= tokens.size() && CommonLength(have, tokens) == static_cast<int64_t>(tokens.size())) return true;
    child = nodes_[static_cast<size_t>(child)].next_sibling;
  }
  return false;
}

// Parts that `whole` makes useless.
void PrefixIndex::RemoveParts(NodeId parent, NodeId whole) {
  if (options_.whole_parts_only) return;
  const auto tokens = TokensOf(whole);
  NodeId child = nodes_[static_cast<size_t>(parent)].first_child;
  for (int tried = 0; child != kNoNode && tried < kMaxPartsTried; ++tried) {
    const NodeId next = nodes_[static_cast<size_t>(child)].next_sibling;
    const auto have = TokensOf(child);
    const bool is_part = have.size() < tokens.size() && CommonLength(have, tokens) == static_cast<int64_t>(have.size());
    if (child != whole && is_part && IsIdle(child)) Remove(child);
    child = next;
  }
}

bool PrefixIndex::HasBlocks(NodeId node) const {
  for (int group = 0; group < num_groups(); ++group) {
    if (BlockOf(node, group) >= 0) return true;
  }
  return false;
}

bool PrefixIndex::IsIdle(NodeId node) const {
  for (int group = 0; group < num_groups(); ++group) {
    const int32_t block = BlockOf(node, group);
    if (block >= 0 && options_.pools[static_cast<size_t>(group)]->holders(block) > 0) return false;
  }
  return true;
}

void PrefixIndex::DropBlock(NodeId node, int group) {
  int32_t& block = blocks_[Index(node, group)];
  if (block < 0) return;
  BlockPool& pool = *options_.pools[static_cast<size_t>(group)];
  if (pool.holders(block) == 0) Unlink(node, group);
  owner_[static_cast<size_t>(group)][static_cast<size_t>(block)] = kNoNode;
  pool.Drop(std::exchange(block, -1));
}

void PrefixIndex::Remove(NodeId node) {
  for (int group = 0; group < num_groups(); ++group) DropBlock(node, group);
  FreeIfBare(node);
}

void PrefixIndex::FreeIfBare(NodeId id) {
  const auto is_bare = [this](NodeId node) {
    return nodes_[static_cast<size_t>(node)].first_child == kNoNode &&
           nodes_[static_cast<size_t>(node)].references == 0 && !HasBlocks(node);
  };
  while (id != kNoNode && is_bare(id)) {
    Node& node = nodes_[static_cast<size_t>(id)];
    NodeId* link = &buckets_[node.hash % buckets_.size()];
    while (*link != id) link = &nodes_[static_cast<size_t>(*link)].next_in_bucket;
    *link = node.next_in_bucket;
    if (node.prev_sibling != kNoNode) nodes_[static_cast<size_t>(node.prev_sibling)].next_sibling = node.next_sibling;
    if (node.next_sibling != kNoNode) nodes_[static_cast<size_t>(node.next_sibling)].prev_sibling = node.prev_sibling;
    const NodeId parent = node.parent;
    if (parent != kNoNode && nodes_[static_cast<size_t>(parent)].first_child == id) {
      nodes_[static_cast<size_t>(parent)].first_child = node.next_sibling;
    }
    node.live = false;
    node.scope = nullptr;
    free_nodes_.push_back(id);
    id = parent;
  }
}

void PrefixIndex::AddReference(NodeId node) { ++nodes_[static_cast<size_t>(node)].references; }

void PrefixIndex::Release(NodeId node) {
  if (--nodes_[static_cast<size_t>(node)].references == 0) FreeIfBare(node);
}

bool PrefixIndex::Evict(int group) {
  const auto end = static_cast<NodeId>(nodes_.size());
  const NodeId node = links_[Index(end, group)].next;
  if (node == end) return false;
  if (options_.windows[static_cast<size_t>(group)] == 0) {
    INGOT_CHECK(nodes_[static_cast<size_t>(node)].first_child == kNoNode);
    Remove(node);
  } else {
    DropBlock(node, group);
    FreeIfBare(node);
  }
  return true;
}

void PrefixIndex::Link(NodeId node, int group) {
  const auto end = static_cast<NodeId>(nodes_.size());
  const NodeId last = links_[Index(end, group)].previous;
  links_[Index(node, group)] = {last, end};
  links_[Index(last, group)].next = node;
  links_[Index(end, group)].previous = node;
}

void PrefixIndex::Unlink(NodeId node, int group) {
  const Links links = links_[Index(node, group)];
  links_[Index(links.previous, group)].next = links.next;
  links_[Index(links.next, group)].previous = links.previous;
}

bool PrefixIndex::CheckIntegrity() const {
  for (int group = 0; group < num_groups(); ++group) {
    const BlockPool& pool = *options_.pools[static_cast<size_t>(group)];
    int64_t cached = 0;
    for (NodeId id = 0; id < static_cast<NodeId>(nodes_.size()); ++id) {
      const int32_t block = BlockOf(id, group);
      if (block < 0) continue;
      if (!nodes_[static_cast<size_t>(id)].live || !pool.kept(block)) return false;
      if (owner_[static_cast<size_t>(group)][static_cast<size_t>(block)] != id) return false;
      cached += pool.holders(block) == 0 ? 1 : 0;
    }
    if (cached != pool.num_cached()) return false;
    const auto end = static_cast<NodeId>(nodes_.size());
    for (NodeId id = links_[Index(end, group)].next; id != end; id = links_[Index(id, group)].next) --cached;
    if (cached != 0) return false;
  }
  for (const Node& node : nodes_) {
    if (node.live && node.parent != kNoNode && !nodes_[static_cast<size_t>(node.parent)].live) return false;
  }
  return true;
}

}  // namespace ingot::kv
