// Kernels with bugs, for emulator_test.cc: right with bug 0.
#pragma once

namespace ingot::kernels::emulator_test {

inline constexpr int kThreads = 64;  // of the one block

struct Params {
  const float* in;  // [4 · kThreads]
  float* out;       // [kThreads]
  int bug;          // 0: none
};

void Exchange(const void* params);    // neighbours' numbers, by way of shared memory
void Warps(const void* params);       // lanes of a warp, and two warps by a barrier of their own
void Pipeline(const void* params);    // tiles through two buffers, by asynchronous copies
void Matrices(const void* params);    // ldmatrix and mma
void StrayWrite(const void* params);  // beside its shared memory, where the hooks do not see it

}  // namespace ingot::kernels::emulator_test
