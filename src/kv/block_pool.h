// The numbers of the KV cache's blocks: which are free, and how often each other one is held.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace ingot::kv {

class BlockPool;

// Holds one reference to one block; gives it back when it goes. Move-only: a second holder is made by Share.
class BlockRef {
 public:
  BlockRef() = default;
  BlockRef(BlockRef&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}
  BlockRef& operator=(BlockRef&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~BlockRef();

  bool empty() const { return pool_ == nullptr; }
  int32_t id() const { return id_; }  // REQUIRES: !empty()
  BlockRef Share() const;             // REQUIRES: !empty()

 private:
  friend class BlockPool;
  BlockRef(BlockPool* pool, int32_t id) : pool_(pool), id_(id) {}
  BlockPool* pool_ = nullptr;
  int32_t id_ = 0;
};

// Thread safety: none; the engine thread owns it. Outlives its BlockRefs. Allocates memory only when made.
// Invariants: 1. num_free() + num_in_use() == num_blocks(). 2. A block is on the free list iff nobody holds it.
// 3. The block given back last is handed out first: pages of the cache that were never needed stay untouched.
class BlockPool {
 public:
  explicit BlockPool(int32_t num_blocks);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  int32_t num_blocks() const { return static_cast<int32_t>(references_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_in_use() const { return num_in_use_; }

  // A block nobody holds; nullopt when there is none.
  std::optional<BlockRef> Allocate();
  // Recounts everything: whether the invariants hold. O(num_blocks).
  bool CheckIntegrity() const;

 private:
  friend class BlockRef;
  void AddReference(int32_t id);
  void Release(int32_t id);
  std::vector<int32_t> references_;  // [num_blocks] holders of each
  std::vector<int32_t> free_;        // a stack
  int32_t num_in_use_ = 0;
};

}  // namespace ingot::kv
