#include "kv/block_table.h"

#include "base/check.h"

namespace ingot::kv {

BlockTable::BlockTable(int block_len, int64_t max_blocks)
    : block_len_(block_len), max_blocks_(static_cast<size_t>(max_blocks)) {
  INGOT_CHECK(block_len > 0 && max_blocks >= 0);
  blocks_.reserve(max_blocks_);
  ids_.reserve(max_blocks_);
}

bool BlockTable::Grow(BlockPool& pool, int64_t num_tokens) {
  const int64_t wanted = BlocksFor(num_tokens, block_len_);
  INGOT_CHECK(wanted <= static_cast<int64_t>(max_blocks_));
  while (size() < wanted) {
    auto block = pool.Allocate();
    if (!block) return false;
    ids_.push_back(block->id());
    blocks_.push_back(*std::move(block));
  }
  return true;
}

void BlockTable::Clear() {
  blocks_.clear();
  ids_.clear();
}

}  // namespace ingot::kv
