// The numbers of the KV cache's blocks: which are free, which are held and how often, which the prefix index keeps.
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

// Called when a block that the prefix index keeps gets its first holder, or loses its last one.
class IdleListener {
 public:
  virtual ~IdleListener() = default;
  virtual void OnCached(int32_t block) = 0;
  virtual void OnBusy(int32_t block) = 0;
};

// Thread safety: none; the engine thread owns it. Outlives its BlockRefs. Allocates memory only when made.
// Invariants: 1. num_free() + num_cached() + num_in_use() == num_blocks(): free blocks hold nothing, cached ones are
// kept and not held, those in use are held. 2. The block given back last is handed out first: pages of the cache that
// were never needed stay untouched.
class BlockPool {
 public:
  explicit BlockPool(int32_t num_blocks);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  int32_t num_blocks() const { return static_cast<int32_t>(references_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_cached() const { return num_cached_; }
  int32_t num_in_use() const { return num_blocks() - num_free() - num_cached_; }
  int32_t holders(int32_t id) const { return references_[static_cast<size_t>(id)]; }

  // A free block; nullopt when there is none.
  std::optional<BlockRef> Allocate();
  // One more holder of a block that is kept or held.
  BlockRef Hold(int32_t id);

  void set_listener(IdleListener* listener) { listener_ = listener; }
  // The block stays when its last holder goes. REQUIRES: it is held, and not kept.
  void Keep(int32_t id);
  // It goes with its last holder again, at once when there is none. REQUIRES: it is kept.
  void Drop(int32_t id);
  bool kept(int32_t id) const { return kept_[static_cast<size_t>(id)]; }

  // Recounts everything: whether the invariants hold. O(num_blocks).
  bool CheckIntegrity() const;

 private:
  friend class BlockRef;
  void AddReference(int32_t id);
  void Release(int32_t id);
  std::vector<int32_t> references_;  // [num_blocks] holders of each
  std::vector<bool> kept_;           // [num_blocks]
  std::vector<int32_t> free_;        // a stack
  int32_t num_cached_ = 0;
  IdleListener* listener_ = nullptr;
};

}  // namespace ingot::kv
