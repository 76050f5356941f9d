#include "ops/cpu/step_tiles.h"

#include <algorithm>

#include "base/check.h"
#include "ops/cpu/kv_tiles.h"

namespace ingot::ops {
namespace {

constexpr int kTile = kernels::kKvTile;

// Passing tiles of `num_seqs` sequences with `num_tokens` together: n tokens leave at most (n + 30) / 32 tiles behind,
// a single one none.
int64_t MaxPassing(int64_t num_tokens, int64_t num_seqs) {
  const int64_t prefilling = std::min(num_seqs, num_tokens / 2);
  return (num_tokens + 30 * prefilling) / kTile;
}
int64_t MaxClosing(int64_t num_tokens, int64_t num_seqs) { return num_tokens / kTile + num_seqs; }

}  // namespace

int64_t PassingBytes(const KvLayout& layout, int64_t num_tokens, int64_t num_seqs) {
  if (layout.format != KvFormat::kI4) return 0;
  return MaxPassing(num_tokens, std::min(num_seqs, num_tokens)) * KvTiles(layout).open_bytes;
}

StepTiles PlanStepTiles(FunctionRef<std::byte*(int64_t bytes)> take, const KvLayout& layout, const StepBatch& batch) {
  if (layout.format != KvFormat::kI4) return {};
  const auto take_ids = [&](int64_t count) {
    return reinterpret_cast<int32_t*>(take(count * static_cast<int64_t>(sizeof(int32_t))));
  };
  const auto num_tokens = std::ssize(batch.positions), num_seqs = std::ssize(batch.tail_slots);
  StepTiles step;
  auto* const index = take_ids(num_tokens);
  auto* const closing = take_ids(MaxClosing(num_tokens, num_seqs));
  auto* const carried = reinterpret_cast<StepTiles::Carry*>(take_ids(2 * num_seqs));
  const int64_t max_passing = MaxPassing(num_tokens, num_seqs);
  size_t num_closing = 0, num_carried = 0;
  int32_t num_passing = 0;
  for (size_t s = 0; s < batch.tail_slots.size(); ++s) {
    const auto begin = static_cast<size_t>(batch.cu_seqlens[s]), end = static_cast<size_t>(batch.cu_seqlens[s + 1]);
    if (begin == end) continue;
    const int32_t first = batch.positions[begin] / kTile, last = batch.positions[end - 1] / kTile;
    for (size_t t = begin; t < end; ++t) {
      const int32_t tile = batch.positions[t] / kTile;
      index[t] = tile == last ? ~batch.tail_slots[s] : num_passing + tile - first;
      if (batch.positions[t] % kTile == kTile - 1) closing[num_closing++] = static_cast<int32_t>(t);
    }
    if (first != last && batch.positions[begin] % kTile != 0) {
      carried[num_carried++] = {batch.tail_slots[s], num_passing};
    }
    num_passing += last - first;
  }
  INGOT_CHECK(num_passing <= max_passing && static_cast<int64_t>(num_closing) <= MaxClosing(num_tokens, num_seqs));
  step.index = {index, batch.positions.size()};
  step.closing = {closing, num_closing};
  step.carried = {carried, num_carried};
  return step;
}

int64_t StepTilesBytes(const KvLayout& layout, const StepLimits& limits) {
  if (layout.format != KvFormat::kI4) return 0;
  const int64_t max_tokens = limits.max_tokens, seqs = std::min(limits.max_seqs, max_tokens);
  const int64_t ids = max_tokens + MaxClosing(max_tokens, seqs);
  return ids * static_cast<int64_t>(sizeof(int32_t)) + seqs * static_cast<int64_t>(sizeof(StepTiles::Carry)) + 3 * 64;
}

}  // namespace ingot::ops
