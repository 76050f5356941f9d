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
  kept_.assign(static_cast<size_t>(num_blocks), false);
  free_.reserve(static_cast<size_t>(num_blocks));
  for (int32_t id = num_blocks - 1; id >= 0; --id) free_.push_back(id);
}

BlockPool::~BlockPool() { INGOT_CHECK(num_in_use() == 0); }

std::optional<BlockRef> BlockPool::Allocate() {
  if (free_.empty()) return std::nullopt;
  const int32_t id = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(id)] = 1;
  return BlockRef(this, id);
}

BlockRef BlockPool::Hold(int32_t id) {
  AddReference(id);
  return BlockRef(this, id);
}

void BlockPool::AddReference(int32_t id) {
  int32_t& count = references_[static_cast<size_t>(id)];
  INGOT_CHECK(count > 0 || kept(id));
  if (count++ > 0) return;
  --num_cached_;
  if (listener_ != nullptr) listener_->OnBusy(id);
}

void BlockPool::Release(int32_t id) {
  int32_t& count = references_[static_cast<size_t>(id)];
  INGOT_CHECK(count > 0);
  if (--count > 0) return;
  if (!kept(id)) {
    free_.push_back(id);
    return;
  }
  ++num_cached_;
  if (listener_ != nullptr) listener_->OnCached(id);
}

void BlockPool::Keep(int32_t id) {
  INGOT_CHECK(holders(id) > 0 && !kept(id));
  kept_[static_cast<size_t>(id)] = true;
}

void BlockPool::Drop(int32_t id) {
  INGOT_CHECK(kept(id));
  kept_[static_cast<size_t>(id)] = false;
  if (holders(id) > 0) return;
  --num_cached_;
  free_.push_back(id);
}

bool BlockPool::CheckIntegrity() const {
  std::vector<bool> is_free(references_.size(), false);
  for (const int32_t id : free_) {
    if (id < 0 || id >= num_blocks() || is_free[static_cast<size_t>(id)]) return false;
    is_free[static_cast<size_t>(id)] = true;
  }
  int32_t cached = 0;
  for (int32_t id = 0; id < num_blocks(); ++id) {
    const bool is_unused = holders(id) == 0;
    if (holders(id) < 0 || (is_unused && !kept(id)) != is_free[static_cast<size_t>(id)]) return false;
    if (is_unused && kept(id)) ++cached;
  }
  return cached == num_cached_;
}

}  // namespace ingot::kv
