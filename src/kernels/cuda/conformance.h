// The primitives of arch.h, for a test that compares each with its definition in the PTX manual: on the
// emulator, and first thing on a GPU. One block; what is read and written is described beside each function.
#pragma once

#include "kernels/cuda/arch.h"
#include "kernels/cuda/params.h"

namespace ingot::kernels::cuda {

// out[thread][i]: shuffles, votes and atomics.   in: [64]
INGOT_DEVICE void ConformWarp(const ConformanceParams& p) {
  SharedMemory shared;
  uint32_t* const counters = shared.Take<uint32_t>(4);
  const uint32_t thread = ThreadIndex().x, value = p.in[thread];
  if (thread < 4) counters[thread] = 0;
  SyncThreads();
  uint32_t* const out = p.out + thread * 10;
  out[0] = ShuffleXor(value, 5);
  out[1] = ShuffleFrom(value, 7);
  out[2] = ShuffleDown(value, 3);
  const uint32_t mask = Lane() < 16 ? 0x0000ffff : 0xffff0000;
  out[3] = ShuffleXor(value, 8, mask);
  out[4] = Ballot(value % 3 == 0);
  out[5] = Ballot(value % 2 == 0, mask);
  AtomicAdd(&counters[0], value);
  AtomicIncrement(&counters[1], 40);
  AtomicAdd(reinterpret_cast<float*>(&counters[2]), 0.5f);
  SyncThreads();
  out[6] = counters[0];
  out[7] = counters[1];
  out[8] = counters[2];
  if (thread < 32) {  // a barrier of some threads: the first warp waits for nobody else
    if (Lane() == 0) counters[3] = 77;
    SyncSome(1, 32);
  }
  SyncThreads();
  out[9] = counters[3];
}

// Copies of 4, 8 and 16 bytes, of which every third is not wanted.   in: [64 · 7], out: [64 · 7]
INGOT_DEVICE void ConformCopies(const ConformanceParams& p) {
  SharedMemory shared;
  uint32_t* const four = shared.Take<uint32_t>(kConformanceThreads);
  uint32_t* const eight = shared.Take<uint32_t>(kConformanceThreads * 2);
  uint32_t* const sixteen = shared.Take<uint32_t>(kConformanceThreads * 4);
  const uint32_t thread = ThreadIndex().x;
  const bool wanted = thread % 3 != 2;
  CopyAsync<4>(four + thread, p.in + thread, wanted);
  CopyAsyncCommit();
  CopyAsync<8>(eight + thread * 2, p.in + kConformanceThreads + thread * 2, wanted);
  CopyAsync<16>(sixteen + thread * 4, p.in + kConformanceThreads * 3 + thread * 4, wanted);
  CopyAsyncCommit();
  CopyAsyncWait<1>();
  SyncThreads();
  const uint32_t other = kConformanceThreads - 1 - thread;  // what another thread copied
  p.out[other] = four[other];
  CopyAsyncWait<0>();
  SyncThreads();
  for (uint32_t i = 0; i < 2; ++i) p.out[kConformanceThreads + other * 2 + i] = eight[other * 2 + i];
  for (uint32_t i = 0; i < 4; ++i) p.out[kConformanceThreads * 3 + other * 4 + i] = sixteen[other * 4 + i];
}

// Four matrices of 8 × 8 numbers of 16 bits, plain and transposed.   in: [4, 8, 4 words], out: [32, 8]
INGOT_DEVICE void ConformMatrices(const ConformanceParams& p) {
  SharedMemory shared;
  uint32_t* const matrices = shared.Take<uint32_t>(128, 128);
  const int lane = Lane();
  for (int i = 0; i < 4; ++i) matrices[lane * 4 + i] = p.in[lane * 4 + i];
  SyncWarp();
  uint32_t plain[4], transposed[4];
  LoadMatrix4(plain, matrices + lane * 4);
  LoadMatrix4Transposed(transposed, matrices + lane * 4);
  for (int i = 0; i < 4; ++i) {
    p.out[lane * 8 + i] = plain[i];
    p.out[lane * 8 + 4 + i] = transposed[i];
  }
}

// in: per lane 4 registers of a, 2 of b and 4 of c, first f16, then bf16, then s8: [3, 32, 10]; out: [3, 32, 4]
INGOT_DEVICE void ConformMma(const ConformanceParams& p) {
  const int lane = Lane();
  for (int kind = 0; kind < 3; ++kind) {
    const uint32_t* const in = p.in + (kind * 32 + lane) * 10;
    const uint32_t a[4] = {in[0], in[1], in[2], in[3]}, b[2] = {in[4], in[5]};
    uint32_t* const out = p.out + (kind * 32 + lane) * 4;
    if (kind == 2) {
      int32_t d[4];
      for (int i = 0; i < 4; ++i) d[i] = Bits<int32_t>(in[6 + i]);
      MmaS8(d, a, b);
      for (int i = 0; i < 4; ++i) out[i] = Bits<uint32_t>(d[i]);
      continue;
    }
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = Bits<float>(in[6 + i]);
    if (kind == 0) {
      MmaF16(d, a, b);
    } else {
      MmaBF16(d, a, b);
    }
    for (int i = 0; i < 4; ++i) out[i] = Bits<uint32_t>(d[i]);
  }
}

// A thread's three words through the instructions on words and numbers.   in: [64, 3], out: [64, 12]
INGOT_DEVICE void ConformNumbers(const ConformanceParams& p) {
  const uint32_t thread = ThreadIndex().x;
  const uint32_t a = p.in[thread * 3], b = p.in[thread * 3 + 1], c = p.in[thread * 3 + 2];
  uint32_t* const out = p.out + thread * 12;
  const float x = Bits<float>(a);
  out[0] = Logic3<0xea>(a, b, c);
  out[1] = Permute(a, b, c);
  out[2] = HalvesFma(a, b, c);
  out[3] = HalvesSubtract(a, b);
  out[4] = BFloatsFma(a, b, c);
  out[5] = FloatToHalf(x).bits;
  out[6] = FloatToBFloat16(x).bits;
  out[7] = Bits<uint32_t>(ToFloat(Half{static_cast<uint16_t>(a)}));
  out[8] = Bits<uint32_t>(Exp2(ToFloat(BFloat16{static_cast<uint16_t>(b)})));
  out[9] = Bits<uint32_t>(Fma(x, Bits<float>(b), Bits<float>(c)));
  out[10] = Bits<uint32_t>(RoundToEven(ToFloat(Half{static_cast<uint16_t>(a)})));
  out[11] = Bits<uint32_t>(Divide(x, Bits<float>(b)));
}

// grid: (1), threads: kConformanceThreads, shared memory: kConformanceSharedBytes
INGOT_DEVICE void Conform(const ConformanceParams& p) {
  const bool is_first_warp = Warp() == 0;
  switch (p.primitives) {
    case Primitives::kWarp:
      return ConformWarp(p);
    case Primitives::kCopies:
      return ConformCopies(p);
    case Primitives::kMatrices:
      if (is_first_warp) ConformMatrices(p);
      return;
    case Primitives::kMma:
      if (is_first_warp) ConformMma(p);
      return;
    case Primitives::kNumbers:
      return ConformNumbers(p);
  }
}

}  // namespace ingot::kernels::cuda
