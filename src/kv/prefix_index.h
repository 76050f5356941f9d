// Which blocks hold which tokens: what is computed once serves every request that begins with the same tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kv/block_pool.h"
#include "kv/block_table.h"

namespace ingot::kv {

// What distinguishes blocks besides their tokens: only sequences of equal ones share.
struct PrefixScope {
  std::string model;    // its fingerprint
  std::string adapter;  // "": none
  std::string salt;     // "": none
  bool operator==(const PrefixScope&) const = default;
};
using PrefixScopePtr = std::shared_ptr<const PrefixScope>;

using NodeId = int32_t;
inline constexpr NodeId kNoNode = -1;

struct PrefixIndexOptions {
  int block_len = 64;
  std::vector<int> windows;       // one a group of layers; 0: all positions are seen
  std::vector<BlockPool*> pools;  // one a group; outlive the index
  int granularity = 1;            // hits end on multiples of it; divides block_len
  // A block serves those alone who have all of its tokens: a group's blocks are states (kv::GroupOptions).
  bool whole_parts_only = false;
};

// The longest prefix of some tokens that can be used.
struct PrefixMatch {
  int64_t num_tokens = 0;
  NodeId node = kNoNode;     // of the last whole block; the root where there is none, kNoNode without a root
  NodeId partial = kNoNode;  // whose block's first num_tokens % block_len tokens are to be copied
};

class PrefixIndex;

// Keeps a node in the tree, also while it has no block: what comes after it needs its parent. Move-only.
class NodeRef {
 public:
  NodeRef() = default;
  NodeRef(PrefixIndex* index, NodeId id);
  NodeRef(NodeRef&& other) noexcept : index_(other.index_), id_(std::exchange(other.id_, kNoNode)) {}
  NodeRef& operator=(NodeRef&& other) noexcept {
    std::swap(index_, other.index_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~NodeRef();
  NodeId id() const { return id_; }  // kNoNode: none

 private:
  PrefixIndex* index_ = nullptr;
  NodeId id_ = kNoNode;
};

// A tree: a node is a block of tokens after those of its parent, found by a hash of (parent, tokens) and compared token
// by token; a leaf may hold less than a block. A root stands for a scope.
// Thread safety: none. Allocates memory only when made.
// Invariants: 1. Every node but a root keeps a block of at least one group, or has a NodeRef or a descendant that
// does. 2. Where a group sees all positions, every node keeps a block of it, and a node without holders has no child
// with one. 3. A block that a node keeps is in no other node.
class PrefixIndex {
 public:
  explicit PrefixIndex(PrefixIndexOptions options);
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // At most `limit` tokens of `tokens`.
  PrefixMatch Find(const PrefixScope& scope, std::span<const int32_t> tokens, int64_t limit) const;
  // How many blocks of the match's path have no holder now.   REQUIRES: nothing changed since Find
  int64_t CountIdle(const PrefixMatch& match, int group) const;
  // The group's blocks of the match's whole blocks, from the first; empty entries before what the window sees.
  void Share(const PrefixMatch& match, int group, BlockTable* table) const;
  int32_t BlockOf(NodeId node, int group) const { return blocks_[Index(node, group)]; }  // -1: none

  // The root of a scope, made where there is none; kNoNode when there is no room. It is removed with its last child: do
  // not store it.
  NodeId Root(const PrefixScopePtr& scope);
  // The block `tokens` after `parent` (a whole one, or the last tokens of a sequence), which tables[group] have at
  // `index`. Where it is there already, the tables take the index's block instead of their own. kNoNode when there is
  // no room, or for a part without use.
  NodeId Insert(NodeId parent, std::span<const int32_t> tokens, std::span<BlockTable> tables, int64_t index);

  // Evicts the least recently used block of the group without a holder; false when there is none.
  bool Evict(int group);
  void AddReference(NodeId node);
  void Release(NodeId node);
  bool CheckIntegrity() const;
  int64_t num_nodes() const { return static_cast<int64_t>(nodes_.size() - free_nodes_.size()); }

 private:
  struct Node {
    NodeId parent = kNoNode;
    NodeId first_child = kNoNode, next_sibling = kNoNode, prev_sibling = kNoNode;
    NodeId next_in_bucket = kNoNode;
    uint64_t hash = 0;
    int32_t num_tokens = 0;  // 0: a root
    int32_t references = 0;
    bool live = false;
    PrefixScopePtr scope;  // of a root
  };
  struct Links {  // of a node in the cached list of a group; the list's ends are at index nodes_.size()
    NodeId previous, next;
  };
  struct Listener : IdleListener {
    PrefixIndex* index = nullptr;
    int group = 0;
    void OnCached(int32_t block) override;
    void OnBusy(int32_t block) override;
  };

  int num_groups() const { return static_cast<int>(options_.windows.size()); }
  size_t Index(NodeId node, int group) const {
    return static_cast<size_t>(node) * options_.windows.size() + static_cast<size_t>(group);
  }
  std::span<const int32_t> TokensOf(NodeId node) const;
  NodeId FindRoot(const PrefixScope& scope) const;
  NodeId FindChild(NodeId parent, std::span<const int32_t> tokens) const;
  void ExtendPartly(std::span<const int32_t> tokens, int64_t limit, PrefixMatch* match) const;
  bool SeesWhatItNeeds(const PrefixMatch& match) const;
  NodeId Make(NodeId parent, uint64_t hash, std::span<const int32_t> tokens);
  void GiveBlocks(NodeId node, std::span<BlockTable> tables, int64_t index);
  bool IsPartUseless(NodeId parent, std::span<const int32_t> tokens) const;
  void RemoveParts(NodeId parent, NodeId whole);
  bool HasBlocks(NodeId node) const;
  bool IsIdle(NodeId node) const;
  void DropBlock(NodeId node, int group);
  void Remove(NodeId node);
  void FreeIfBare(NodeId node);
  void Link(NodeId node, int group);
  void Unlink(NodeId node, int group);

  PrefixIndexOptions options_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;             // [nodes, block_len]
  std::vector<int32_t> blocks_;             // [nodes, groups] -1: none
  std::vector<Links> links_;                // [nodes + 1, groups]
  std::vector<std::vector<NodeId>> owner_;  // [groups][num_blocks] the node that keeps a block
  std::vector<NodeId> buckets_;
  std::vector<NodeId> free_nodes_;
  std::vector<Listener> listeners_;
};

}  // namespace ingot::kv
