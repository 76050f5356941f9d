#include "ops/profile.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "ops/kv_view.h"

namespace ingot::ops {

bool IsSameStage(const OpWork& a, const OpWork& b) {
  return a.rows == b.rows && a.out_features == b.out_features && a.in_features == b.in_features && a.bits == b.bits &&
         std::string_view(a.op) == b.op;
}

void Profile::Clear() {
  const MutexLock lock(mutex_);
  stages_.clear();
}

void Profile::Add(const OpWork& work, double seconds) {
  OpWork key = work;
  key.rows = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(work.rows)));
  const MutexLock lock(mutex_);
  const auto stage = std::ranges::find_if(stages_, [&](const Stage& s) { return IsSameStage(s.work, key); });
  if (stage == stages_.end()) {
    stages_.push_back({key, 1, seconds});
    return;
  }
  stage->work.bytes += work.bytes;
  stage->work.products += work.products;
  ++stage->calls;
  stage->seconds += seconds;
}

std::vector<Profile::Stage> Profile::stages() const {
  std::vector<Stage> sorted;
  {
    const MutexLock lock(mutex_);
    sorted = stages_;
  }
  std::ranges::sort(sorted, [](const Stage& a, const Stage& b) {
    return a.work.rows != b.work.rows ? a.work.rows < b.work.rows : a.seconds > b.seconds;
  });
  return sorted;
}

void Profile::BeginStep(const StepBatch& batch, std::span<const KvView> kv) {
  std::vector<Seen> seen(kv.size());
  for (size_t g = 0; g < kv.size(); ++g) {
    const int64_t window = kv[g].layout.window;
    for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
      const auto begin = static_cast<size_t>(batch.cu_seqlens[s]), end = static_cast<size_t>(batch.cu_seqlens[s + 1]);
      if (begin == end) continue;
      const int64_t first = batch.positions[begin], last = batch.positions[end - 1];
      seen[g].positions +=
          static_cast<double>(window > 0 ? last + 1 - std::max<int64_t>(0, first - window + 1) : last + 1);
      for (int64_t p = first; p <= last; ++p) {
        seen[g].pairs += static_cast<double>(window > 0 ? std::min(p + 1, window) : p + 1);
      }
    }
  }
  const MutexLock lock(mutex_);
  seen_ = std::move(seen);
}

Profile::Seen Profile::seen(int group) const {
  const MutexLock lock(mutex_);
  return seen_[static_cast<size_t>(group)];
}

}  // namespace ingot::ops
