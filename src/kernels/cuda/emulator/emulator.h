// Runs CUDA kernels on the host, one block at a time, each thread of the block a fiber. Barriers, warp collectives and
// asynchronous copies behave as PTX defines them, and what a kernel does wrong ends the launch with a message:
//   - lanes of a warp meet in different collectives, or not all of a mask arrive; threads wait in different barriers
//   - deadlock
//   - shared memory: races, reads of what was never written, accesses out of bounds or while a copy is in flight
//   - device memory: accesses outside of every registered allocation
//   - a thread exits with copies that it did not wait for
// Accesses by plain loads and stores are seen where the kernel was compiled with -fsanitize=thread, whose hooks are
// here (hooks.cc); else only those of the primitives are, and the bytes around each shared allocation are compared.
// It cannot see: races between blocks and missing fences (blocks run one after another), waiting for other blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ingot::kernels::emulator {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint32_t Count() const { return x * y * z; }
};

// Which thread runs where several could. A warp runs until all its lanes wait, so that warps drift apart as far as
// barriers let them.
enum class Schedule : uint8_t { kForward, kReverse, kRandom };

struct Launch {
  Dim3 grid, block;
  size_t shared_bytes = 0;
  Schedule schedule = Schedule::kForward;
  uint32_t seed = 1;  // of kRandom
};
using Kernel = void (*)(const void* params);

inline constexpr size_t kMaxParamsBytes = 4096;       // a kernel's parameters, as on sm_80
inline constexpr size_t kMaxSharedBytes = 227 << 10;  // of a block on sm_90
inline constexpr uint32_t kMaxThreadsPerBlock = 1024;

// Runs every block. Returns "", or what the kernel did wrong and where.
// Thread safety: launches of several threads run one after another.
std::string Run(const Launch& launch, Kernel kernel, const void* params, size_t params_bytes);

// What kernels may access besides shared memory and their own variables.
void AddMemory(const void* begin, size_t bytes);
void RemoveMemory(const void* begin);

// Whether accesses were seen: kernels were compiled with -fsanitize=thread.
bool SeesAccesses();

// Since the last ResetCounts.
struct Counts {
  int64_t switches = 0, mmas = 0, matrix_loads = 0;
  int64_t bank_conflicts = 0;  // of matrix loads: rows of a matrix that share a bank group, less one
};
const Counts& CountsSoFar();
void ResetCounts();

}  // namespace ingot::kernels::emulator
