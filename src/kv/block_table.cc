#include "kv/block_table.h"

#include "base/check.h"

namespace ingot::kv {

BlockTable::BlockTable(int block_len, int64_t max_blocks)
    : block_len_(block_len), max_blocks_(static_cast<size_t>(max_blocks)) {
  INGOT_CHECK(block_len > 0 && max_blocks >= 0);
  blocks_.reserve(max_blocks_);
  ids_.reserve(max_blocks_);
}

void BlockTable::Append(BlockRef block) {
  INGOT_CHECK(!block.empty() && ids_.size() < max_blocks_);
  ids_.push_back(block.id());
  blocks_.push_back(std::move(block));
}

void BlockTable::AppendEmpty() {
  INGOT_CHECK(begin_ == size() && ids_.size() < max_blocks_);
  ids_.push_back(0);
  blocks_.emplace_back();
  ++begin_;
}

void BlockTable::Replace(int64_t index, BlockRef block) {
  INGOT_CHECK(index >= begin_ && index < size() && !block.empty());
  ids_[static_cast<size_t>(index)] = block.id();
  blocks_[static_cast<size_t>(index)] = std::move(block);
}

void BlockTable::ReleaseBefore(int64_t index) {
  for (; begin_ < std::min(index, size()); ++begin_) {
    BlockRef gone = std::move(blocks_[static_cast<size_t>(begin_)]);
  }
}

void BlockTable::Truncate(int64_t size) {
  INGOT_CHECK(size >= 0);
  while (this->size() > size) {
    blocks_.pop_back();
    ids_.pop_back();
  }
  begin_ = std::min(begin_, size);
}

void BlockTable::Clear() { Truncate(0); }

int64_t BlockTable::CountExclusive(const BlockPool& pool) const {
  int64_t count = 0;
  for (int64_t i = begin_; i < size(); ++i) count += pool.holders(ids_[static_cast<size_t>(i)]) == 1 ? 1 : 0;
  return count;
}

}  // namespace ingot::kv
