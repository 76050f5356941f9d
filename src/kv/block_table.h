// The blocks that hold one sequence's tokens in one group of layers, in order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_pool.h"

namespace ingot::kv {

// Blocks that `num_tokens` tokens fill or begin.
constexpr int64_t BlocksFor(int64_t num_tokens, int block_len) { return (num_tokens + block_len - 1) / block_len; }

// The first block of which the token after num_tokens sees something, where it sees `window` positions, its own
// included (0: all).
constexpr int64_t FirstBlockSeen(int window, int64_t num_tokens, int block_len) {
  return window == 0 || num_tokens < window ? 0 : (num_tokens - window + 1) / block_len;
}

// Thread safety: none. Allocates memory only when made.
// Invariants: ids()[i] is the block of tokens [i · block_len, (i + 1) · block_len), at most max_blocks of them; those
// before begin() have been given back, and their ids say nothing.
class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(int block_len, int64_t max_blocks);

  void Append(BlockRef block);
  // An entry that holds nothing: it lies before what is seen. REQUIRES: all before it hold nothing.
  void AppendEmpty();
  void Replace(int64_t index, BlockRef block);
  // Gives back the blocks before `index`.
  void ReleaseBefore(int64_t index);
  // Gives back those from `size` on, the last first.
  void Truncate(int64_t size);
  // Gives back all, the last first.
  void Clear();

  std::span<const int32_t> ids() const { return ids_; }
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  int64_t begin() const { return begin_; }  // the first entry that holds a block; size() if none does
  // Blocks without another holder.
  int64_t CountExclusive(const BlockPool& pool) const;
  // Where token `position` lies in the cache: block · block_len + offset. REQUIRES: its block is held.
  int32_t KvSlotOf(int64_t position) const {
    return ids_[static_cast<size_t>(position / block_len_)] * block_len_ + static_cast<int32_t>(position % block_len_);
  }

 private:
  int block_len_ = 1;
  size_t max_blocks_ = 0;
  int64_t begin_ = 0;
  std::vector<BlockRef> blocks_;
  std::vector<int32_t> ids_;  // of blocks_, contiguous for the step's batch
};

}  // namespace ingot::kv
