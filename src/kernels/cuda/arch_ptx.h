// arch.h for nvcc. Included by it alone.
#pragma once

namespace ingot::kernels::cuda {

INGOT_DEVICE Index3 ThreadIndex() { return {threadIdx.x, threadIdx.y, threadIdx.z}; }
INGOT_DEVICE Index3 BlockIndex() { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
INGOT_DEVICE Index3 BlockSize() { return {blockDim.x, blockDim.y, blockDim.z}; }
INGOT_DEVICE Index3 GridSize() { return {gridDim.x, gridDim.y, gridDim.z}; }

template <typename To, typename From>
INGOT_DEVICE To Bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

INGOT_DEVICE float ToFloat(Half x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
INGOT_DEVICE float ToFloat(BFloat16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
INGOT_DEVICE Half FloatToHalf(float x) {
  Half y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
INGOT_DEVICE BFloat16 FloatToBFloat16(float x) {
  BFloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

INGOT_DEVICE float Fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
INGOT_DEVICE float RoundToEven(float x) { return rintf(x); }
INGOT_DEVICE float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
INGOT_DEVICE float ReciprocalSqrt(float x) { return rsqrtf(x); }
INGOT_DEVICE float Divide(float a, float b) { return __fdiv_rn(a, b); }
INGOT_DEVICE float PowerOfTwo(int exponent) { return ldexpf(1.0f, exponent); }
INGOT_DEVICE float Tanh(float x) { return tanhf(x); }
INGOT_DEVICE float Erf(float x) { return erff(x); }
INGOT_DEVICE double Cos(double x) { return cos(x); }
INGOT_DEVICE double Sin(double x) { return sin(x); }
INGOT_DEVICE bool IsNan(float x) { return x != x; }

INGOT_DEVICE void SyncThreads() { __syncthreads(); }
INGOT_DEVICE void SyncSome(int barrier, int num_threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(num_threads) : "memory");
}
INGOT_DEVICE void SyncWarp(uint32_t mask = kWholeWarp) { __syncwarp(mask); }
template <typename T>
INGOT_DEVICE T ShuffleXor(T x, int lanes, uint32_t mask = kWholeWarp) {
  return __shfl_xor_sync(mask, x, lanes);
}
template <typename T>
INGOT_DEVICE T ShuffleFrom(T x, int lane, uint32_t mask = kWholeWarp) {
  return __shfl_sync(mask, x, lane);
}
template <typename T>
INGOT_DEVICE T ShuffleDown(T x, int lanes, uint32_t mask = kWholeWarp) {
  return __shfl_down_sync(mask, x, lanes);
}
INGOT_DEVICE uint32_t Ballot(bool yes, uint32_t mask = kWholeWarp) { return __ballot_sync(mask, yes); }

template <typename T>
INGOT_DEVICE T AtomicAdd(T* p, T x) {
  return atomicAdd(p, x);
}
INGOT_DEVICE uint32_t AtomicIncrement(uint32_t* p, uint32_t last) { return atomicInc(p, last); }
INGOT_DEVICE void ThreadFence() { __threadfence(); }
template <typename T>
INGOT_DEVICE T LoadFromL2(const T* p) {
  return __ldcg(p);
}

INGOT_DEVICE uint32_t SharedAddress(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }
template <int kBytes>
INGOT_DEVICE void CopyAsync(void* to, const void* from, bool wanted = true) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  const int from_bytes = wanted ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(from_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(SharedAddress(to)),
                 "l"(__cvta_generic_to_global(from)), "n"(kBytes), "r"(from_bytes)
                 : "memory");
  }
}
INGOT_DEVICE void CopyAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kGroupsLeft>
INGOT_DEVICE void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");
}

INGOT_DEVICE void LoadMatrix4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}
INGOT_DEVICE void LoadMatrix4Transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(SharedAddress(row))
               : "memory");
}

INGOT_DEVICE void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
INGOT_DEVICE void MmaBF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
INGOT_DEVICE void MmaS8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <int kTable>
INGOT_DEVICE uint32_t Logic3(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(d) : "r"(a), "r"(b), "r"(c), "n"(kTable));
  return d;
}
INGOT_DEVICE uint32_t Permute(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t d;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(selector));
  return d;
}
INGOT_DEVICE uint32_t HalvesFma(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
INGOT_DEVICE uint32_t HalvesSubtract(uint32_t a, uint32_t b) {
  uint32_t d;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}
INGOT_DEVICE uint32_t BFloatsFma(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// Pieces of the block's dynamic shared memory, one after another. All threads take the same ones in the same order.
class SharedMemory {
 public:
  template <typename T>
  INGOT_DEVICE T* Take(uint32_t count, uint32_t alignment = 16) {
    extern __shared__ __align__(1024) unsigned char ingot_shared[];
    taken_ = (taken_ + alignment - 1) / alignment * alignment;
    T* const piece = reinterpret_cast<T*>(ingot_shared + taken_);
    taken_ += count * static_cast<uint32_t>(sizeof(T));
    return piece;
  }

 private:
  uint32_t taken_ = 0;
};

}  // namespace ingot::kernels::cuda
