#include "kv/block_pool.h"

#include "base/check.h"

namespace ingot::kv {

BlockRef::~BlockRef() {
  if (pool_ != nullptr) pool_->Release(id_);
}

BlockRef BlockRef::Share() const {
  INGOT_CHECK(!empty());
  pool_->AddReference(id_);
  return BlockRef(pool_, id_);
}

BlockPool::BlockPool(int32_t num_blocks) {
  INGOT_CHECK(num_blocks >= 0);
  references_.assign(static_cast<size_t>(num_blocks), 0);
  free_.reserve(static_cast<size_t>(num_blocks));
  for (int32_t id = num_blocks - 1; id >= 0; --id) free_.push_back(id);
}

BlockPool::~BlockPool() { INGOT_CHECK(num_in_use_ == 0); }

std::optional<BlockRef> BlockPool::Allocate() {
  if (free_.empty()) return std::nullopt;
  const int32_t id = free_.back();
  free_.pop_back();
  ++num_in_use_;
  references_[static_cast<size_t>(id)] = 1;
  return BlockRef(this, id);
}

void BlockPool::AddReference(int32_t id) { ++references_[static_cast<size_t>(id)]; }

void BlockPool::Release(int32_t id) {
  int32_t& count = references_[static_cast<size_t>(id)];
  INGOT_CHECK(count > 0);
  if (--count > 0) return;
  --num_in_use_;
  free_.push_back(id);
}

bool BlockPool::CheckIntegrity() const {
  std::vector<bool> is_free(references_.size(), false);
  for (const int32_t id : free_) {
    if (id < 0 || id >= num_blocks() || is_free[static_cast<size_t>(id)]) return false;
    is_free[static_cast<size_t>(id)] = true;
  }
  int32_t held = 0;
  for (size_t id = 0; id < references_.size(); ++id) {
    if (references_[id] < 0 || (references_[id] == 0) != is_free[id]) return false;
    if (references_[id] > 0) ++held;
  }
  return held == num_in_use_ && num_free() + num_in_use() == num_blocks();
}

}  // namespace ingot::kv
