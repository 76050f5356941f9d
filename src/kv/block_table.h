// The blocks that hold one sequence's tokens, in order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_pool.h"

namespace ingot::kv {

// Blocks that `num_tokens` tokens fill or begin.
constexpr int64_t BlocksFor(int64_t num_tokens, int block_len) { return (num_tokens + block_len - 1) / block_len; }

// Thread safety: none. Allocates memory only when made.
// Invariants: ids()[i] is the block of tokens [i · block_len, (i + 1) · block_len); at most max_blocks of them.
class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(int block_len, int64_t max_blocks);

  // Takes blocks until num_tokens fit; false, with what it got kept, when the pool is empty.
  [[nodiscard]] bool Grow(BlockPool& pool, int64_t num_tokens);
  void Clear();

  std::span<const int32_t> ids() const { return ids_; }
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  // Where token `position` lies in the cache: block · block_len + offset. REQUIRES: grown beyond it.
  int32_t SlotOf(int64_t position) const {
    return ids_[static_cast<size_t>(position / block_len_)] * block_len_ + static_cast<int32_t>(position % block_len_);
  }

 private:
  int block_len_ = 1;
  size_t max_blocks_ = 0;
  std::vector<BlockRef> blocks_;
  std::vector<int32_t> ids_;  // of blocks_, contiguous for the step's batch
};

}  // namespace ingot::kv
