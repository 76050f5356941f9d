// Compiled with the emulator's hooks, where those are used (kernels/CMakeLists.txt).
#include "kernels/cuda/emulator_test_kernels.h"

#include "kernels/cuda/arch.h"

namespace ingot::kernels::emulator_test {
namespace {

using namespace cuda;  // NOLINT: what a kernel sees

const Params& ParamsOf(const void* p) { return *static_cast<const Params*>(p); }
INGOT_NOT_WATCHED __attribute__((noinline)) void WriteUnseen(volatile char* at) { *at = 3; }

}  // namespace

// Neighbours give each other their numbers by way of shared memory.
void Exchange(const void* params) {
  const Params& p = ParamsOf(params);
  SharedMemory shared;
  float* const x = shared.Take<float>(p.bug == 7 && ThreadIndex().x == 9 ? kThreads / 2 : kThreads);
  const auto thread = static_cast<int>(ThreadIndex().x);
  if (p.bug == 8 && thread == 40) return;
  if (p.bug != 1) x[p.bug == 2 && thread == kThreads - 1 ? kThreads : thread] = p.in[thread];
  if (p.bug == 3) {
    SyncWarp();
  } else if (p.bug == 4 && thread >= 32) {
    SyncThreads();
  } else if (p.bug != 5 || thread != 40) {
    SyncThreads();
  }
  p.out[p.bug == 6 ? thread + 1 : thread] = x[(thread + 32) % kThreads];
}

// Lanes of a warp, and two warps by a barrier of their own.
void Warps(const void* params) {
  const Params& p = ParamsOf(params);
  SharedMemory shared;
  float* const x = shared.Take<float>(kThreads);
  const auto thread = static_cast<int>(ThreadIndex().x);
  x[thread] = p.in[thread];
  if (p.bug != 1) SyncWarp();
  float sum = x[thread ^ 1];
  if (p.bug != 2 || thread != 5) sum += ShuffleXor(sum, 2);
  if (p.bug == 3) sum += ShuffleFrom(sum, 20, thread % 32 < 16 ? 0x0000ffff : 0xffff0000);
  if (p.bug == 4) {
    if (thread % 2 == 0) sum += ShuffleXor(sum, 2);
    if (thread % 2 == 1) sum += ShuffleXor(sum, 4);
  }
  if (p.bug != 5) SyncSome(1, kThreads);
  p.out[thread] = sum + x[(thread + 32) % kThreads];
}

// Three tiles through two buffers: what a pipeline does.
void Pipeline(const void* params) {
  const Params& p = ParamsOf(params);
  SharedMemory shared;
  float* const x = shared.Take<float>(2 * kThreads);
  const auto thread = static_cast<int>(ThreadIndex().x);
  const auto load = [&](int tile) {
    CopyAsync<4>(x + tile % 2 * kThreads + thread, p.in + tile * kThreads + thread);
    CopyAsyncCommit();
  };
  float sum = 0;
  load(0);
  for (int tile = 0; tile < 4; ++tile) {
    tile < 3 ? load(tile + 1) : CopyAsyncCommit();
    p.bug == 1 ? CopyAsyncWait<2>() : CopyAsyncWait<1>();
    if (p.bug != 2) SyncThreads();
    sum += x[tile % 2 * kThreads + (thread + 32) % kThreads];
    if (p.bug != 3) SyncThreads();
  }
  if (p.bug == 4) load(0);
  if (p.bug == 5) CopyAsync<8>(x + thread + 1, p.in + thread);
  if (p.bug == 6) CopyAsync<4>(x + thread, p.in + 4 * kThreads);
  p.out[thread] = sum;
}

void Matrices(const void* params) {
  const Params& p = ParamsOf(params);
  SharedMemory shared;
  float* const x = shared.Take<float>(256);
  const auto thread = static_cast<int>(ThreadIndex().x);
  for (int i = 0; i < 4; ++i) x[(thread ^ 1) * 4 + i] = p.in[thread];
  if (p.bug != 1) SyncThreads();
  uint32_t a[4];
  if (p.bug == 2 && Lane() == 3) return;
  LoadMatrix4(a, x + (p.bug == 3 ? thread * 4 + 1 : thread * 4));
  const uint32_t b[2] = {a[0], a[1]};
  float d[4] = {};
  MmaF16(d, a, b);
  p.out[thread] = d[0];
}

void StrayWrite(const void*) {
  SharedMemory shared;
  auto* const x = static_cast<volatile char*>(shared.Take<char>(8));
  WriteUnseen(x + 8);
}

}  // namespace ingot::kernels::emulator_test
