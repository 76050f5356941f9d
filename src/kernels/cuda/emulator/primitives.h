// What kernels/cuda/arch.h calls in an emulated kernel, on behalf of the running thread.
#pragma once

#include <source_location>
#include <string>

#include "kernels/cuda/emulator/emulator.h"

// The emulator's own accesses in code that is compiled with the hooks.
#define INGOT_NOT_WATCHED __attribute__((no_sanitize("thread")))

namespace ingot::kernels::emulator {

using Location = std::source_location;

Dim3 ThreadIndex();
Dim3 BlockIndex();
Dim3 BlockSize();
Dim3 GridSize();

[[noreturn]] void Fail(const std::string& message, Location where);

// Waits until `num_threads` threads (0: all of the block) have come to barrier `id`.
void Barrier(int id, int num_threads, Location where);

// Waits until the lanes of `mask` have come to `op`; the last of them runs execute(arguments of all lanes, mask).
using Execute = void (*)(void* const* arguments, uint32_t mask);
struct CollectiveOp {
  const char* name;
  Execute execute;     // may be null
  bool orders_memory;  // as __syncwarp does, and shuffles do not
};
void Collective(const CollectiveOp& op, uint32_t mask, void* argument, Location where);

// The next piece of the block's shared memory, the same for all threads.
void* TakeShared(size_t bytes, size_t alignment, Location where);

// cp.async: `bytes` (4, 8 or 16) into shared memory, of which the last bytes - from_bytes are zeros.
struct AsyncCopy {
  std::byte* to;
  const std::byte* from;
  size_t bytes, from_bytes;
};
void CopyAsync(const AsyncCopy& copy, Location where);
void CopyAsyncCommit();
void CopyAsyncWait(size_t groups_left);

// ldmatrix: `row` is this lane's row of 16 bytes. num: 1, 2 or 4 matrices of 8 × 8 numbers of 16 bits.
void LoadMatrix(uint32_t* registers, const void* row, int num, bool transposed, Location where);

enum class MmaKind : uint8_t { kF16, kBF16, kS8 };
// d += a · b of m16n8k16 (kS8: m16n8k32).   d: f32 or s32 [4], a: [4], b: [2]
struct MmaOperands {
  void* d;
  const uint32_t *a, *b;
};
void Mma(MmaKind kind, const MmaOperands& operands, Location where);

// An access of `lane`'s thread of the running warp, or of the running thread (lane < 0).
enum class Access : uint8_t { kRead, kWrite, kAtomic };
void CheckAccess(const void* p, size_t bytes, Access access, int lane = -1);

// A value that lanes give each other; what each gets is that of lane `source`, where that is a lane of the warp.
template <typename T>
struct ShuffleArgument {
  T value, result;
  int source;
};
void CheckShuffleSource(int source, uint32_t mask);
template <typename T>
INGOT_NOT_WATCHED void ExecuteShuffle(void* const* arguments, uint32_t lanes) {
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if ((lanes >> lane & 1) == 0) continue;
    auto* const to = static_cast<ShuffleArgument<T>*>(arguments[lane]);
    if (to->source < 0 || to->source > 31) continue;  // keeps its own
    CheckShuffleSource(to->source, lanes);
    to->result = static_cast<const ShuffleArgument<T>*>(arguments[to->source])->value;
  }
}
template <typename T>
T Shuffle(const char* name, T value, int source, uint32_t mask, Location where) {
  ShuffleArgument<T> argument{value, value, source};
  Collective({name, ExecuteShuffle<T>, false}, mask, &argument, where);
  return argument.result;
}

// *p = change(*p); returns what was there.
template <typename T, typename Change>
INGOT_NOT_WATCHED __attribute__((noinline)) T Atomic(T* p, Change change) {
  CheckAccess(p, sizeof(T), Access::kAtomic);
  const T old = *p;
  *p = change(old);
  return old;
}

}  // namespace ingot::kernels::emulator
