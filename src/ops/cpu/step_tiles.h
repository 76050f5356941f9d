// With an int4 cache, where the K and V of a step's tokens are while their tile of 32 positions is open (see
// kernels/attention.h): worked out once a step, the same for all layers.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "ops/context.h"
#include "ops/step_batch.h"

namespace ingot::ops {

// A sequence's last tile lies in the tail of its running slot. The tiles before it that the step fills are `passing`:
// they are closed at once, but their own queries read them open. A first tile that was begun in an earlier step is
// carried over from the tail.
// Drafts that may be taken back must stay within one tile, since what passes has left the tail.
struct StepTiles {
  struct Carry {
    int32_t slot, tile;
  };
  std::span<int32_t> index;      // [T]: >= 0: number of a passing tile; else the tail of slot ~index
  std::span<Carry> carried;      // tail → passing, before the step writes
  std::span<int32_t> closing;    // tokens at the last position of a tile: it goes into the cache
  std::byte* passing = nullptr;  // [PassingBytes] of the device, which the caller takes
};

// Empty, and without need of memory, for other formats than kI4. A tail must hold all of its sequence's tokens since
// the last multiple of 32. take(bytes): memory of the host for the plan, as long as the step lasts.
StepTiles PlanStepTiles(FunctionRef<std::byte*(int64_t bytes)> take, const KvLayout& layout, const StepBatch& batch);
int64_t PassingBytes(const KvLayout& layout, int64_t num_tokens, int64_t num_seqs);
// What `take` is asked for at most.
int64_t StepTilesBytes(const KvLayout& layout, const StepLimits& limits);

}  // namespace ingot::ops
