// arch.h for the host's compiler.
#pragma once

namespace ingot::kernels::cuda {

using emulator::Location;

INGOT_DEVICE Index3 ToIndex(emulator::Dim3 d) { return {d.x, d.y, d.z}; }
INGOT_DEVICE Index3 ThreadIndex() { return ToIndex(emulator::ThreadIndex()); }
INGOT_DEVICE Index3 BlockIndex() { return ToIndex(emulator::BlockIndex()); }
INGOT_DEVICE Index3 BlockSize() { return ToIndex(emulator::BlockSize()); }
INGOT_DEVICE Index3 GridSize() { return ToIndex(emulator::GridSize()); }

template <typename To, typename From>
INGOT_DEVICE To Bits(From from) {
  return std::bit_cast<To>(from);
}

INGOT_DEVICE float ToFloat(Half x) { return F16ToF32(x.bits); }
INGOT_DEVICE float ToFloat(BFloat16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }
INGOT_DEVICE Half FloatToHalf(float x) { return {F32ToF16(x)}; }
INGOT_DEVICE BFloat16 FloatToBFloat16(float x) { return {F32ToBF16(x)}; }

INGOT_DEVICE float Fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
INGOT_DEVICE float RoundToEven(float x) { return __builtin_nearbyintf(x); }
INGOT_DEVICE float Exp2(float x) { return __builtin_exp2f(x); }
INGOT_DEVICE float ReciprocalSqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
INGOT_DEVICE float Divide(float a, float b) { return a / b; }
INGOT_DEVICE float PowerOfTwo(int exponent) { return __builtin_ldexpf(1.0f, exponent); }
INGOT_DEVICE float Tanh(float x) { return __builtin_tanhf(x); }
INGOT_DEVICE float Erf(float x) { return __builtin_erff(x); }
INGOT_DEVICE double Cos(double x) { return __builtin_cos(x); }
INGOT_DEVICE double Sin(double x) { return __builtin_sin(x); }
INGOT_DEVICE bool IsNan(float x) { return x != x; }

INGOT_DEVICE void SyncThreads(Location here = Location::current()) { emulator::Barrier(0, 0, here); }
INGOT_DEVICE void SyncSome(int barrier, int num_threads INGOT_HERE) { emulator::Barrier(barrier, num_threads, here); }
INGOT_DEVICE void SyncWarp(uint32_t mask = kWholeWarp INGOT_HERE) {
  emulator::Collective({"syncwarp", nullptr, true}, mask, nullptr, here);
}
template <typename T>
INGOT_DEVICE T ShuffleXor(T x, int lanes, uint32_t mask = kWholeWarp INGOT_HERE) {
  const auto lane = static_cast<int>(ThreadIndex().x % kWarpSize);
  return emulator::Shuffle("shfl.bfly", x, lane ^ lanes, mask, here);
}
template <typename T>
INGOT_DEVICE T ShuffleFrom(T x, int lane, uint32_t mask = kWholeWarp INGOT_HERE) {
  return emulator::Shuffle("shfl.idx", x, lane & 31, mask, here);
}
template <typename T>
INGOT_DEVICE T ShuffleDown(T x, int lanes, uint32_t mask = kWholeWarp INGOT_HERE) {
  const auto lane = static_cast<int>(ThreadIndex().x % kWarpSize);
  return emulator::Shuffle("shfl.down", x, lane + lanes, mask, here);
}

INGOT_NOT_WATCHED inline void ExecuteBallot(void* const* arguments, uint32_t mask) {
  uint32_t votes = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) != 0) votes |= *static_cast<const uint32_t*>(arguments[lane]) << lane;
  }
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) != 0) *static_cast<uint32_t*>(arguments[lane]) = votes;
  }
}
INGOT_DEVICE uint32_t Ballot(bool yes, uint32_t mask = kWholeWarp INGOT_HERE) {
  uint32_t vote = yes ? 1 : 0;
  emulator::Collective({"vote.ballot", ExecuteBallot, false}, mask, &vote, here);
  return vote;
}

template <typename T>
INGOT_DEVICE T AtomicAdd(T* p, T x) {
  return emulator::Atomic(p, [x](T old) { return static_cast<T>(old + x); });
}
INGOT_DEVICE uint32_t AtomicIncrement(uint32_t* p, uint32_t last) {
  return emulator::Atomic(p, [last](uint32_t old) { return old >= last ? 0 : old + 1; });
}
INGOT_DEVICE void ThreadFence() {}
template <typename T>
INGOT_DEVICE T LoadFromL2(const T* p) {
  return *p;
}

template <int kBytes>
INGOT_DEVICE void CopyAsync(void* to, const void* from, bool wanted = true INGOT_HERE) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  emulator::CopyAsync(
      {static_cast<std::byte*>(to), static_cast<const std::byte*>(from), kBytes, wanted ? size_t{kBytes} : size_t{0}},
      here);
}
INGOT_DEVICE void CopyAsyncCommit() { emulator::CopyAsyncCommit(); }
template <int kGroupsLeft>
INGOT_DEVICE void CopyAsyncWait() {
  emulator::CopyAsyncWait(kGroupsLeft);
}

INGOT_DEVICE void LoadMatrix4(uint32_t (&r)[4], const void* row INGOT_HERE) {
  emulator::LoadMatrix(r, row, 4, false, here);
}
INGOT_DEVICE void LoadMatrix4Transposed(uint32_t (&r)[4], const void* row INGOT_HERE) {
  emulator::LoadMatrix(r, row, 4, true, here);
}
INGOT_DEVICE void MmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] INGOT_HERE) {
  emulator::Mma(emulator::MmaKind::kF16, {d, a, b}, here);
}
INGOT_DEVICE void MmaBF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] INGOT_HERE) {
  emulator::Mma(emulator::MmaKind::kBF16, {d, a, b}, here);
}
INGOT_DEVICE void MmaS8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] INGOT_HERE) {
  emulator::Mma(emulator::MmaKind::kS8, {d, a, b}, here);
}

// lop3: bit i of the result is bit (a·4 + b·2 + c) of the table, of the operands' bits i.
template <int kTable>
INGOT_DEVICE uint32_t Logic3(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d = 0;
  for (int i = 0; i < 8; ++i) {
    if ((kTable >> i & 1) != 0) d |= ((i & 4) != 0 ? a : ~a) & ((i & 2) != 0 ? b : ~b) & ((i & 1) != 0 ? c : ~c);
  }
  return d;
}
// prmt: byte i of the result is the byte of b:a that nibble i names, or with its bit 3 eight times that byte's sign.
INGOT_DEVICE uint32_t Permute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  uint32_t d = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = selector >> (4 * i) & 15;
    auto byte = static_cast<uint32_t>(bytes >> (8 * (nibble & 7)) & 255);
    if ((nibble & 8) != 0) byte = (byte & 128) != 0 ? 255 : 0;
    d |= byte << (8 * i);
  }
  return d;
}

// Both halves of a word are numbers of fp16.
template <typename Op>
INGOT_DEVICE uint32_t ForHalves(Op op) {
  return static_cast<uint32_t>(op(0)) | static_cast<uint32_t>(op(16)) << 16;
}
INGOT_DEVICE float HalfAt(uint32_t word, int shift) { return F16ToF32(static_cast<uint16_t>(word >> shift)); }
// In double the product is exact and the sum nearly so; rounding it to fp16 by way of fp32 may differ from one rounding
// only where the fp32 result is a tie, which rounding to odd rules out.
INGOT_DEVICE float RoundToOdd(double x) {
  const auto y = static_cast<float>(x);
  if (static_cast<double>(y) == x || y != y) return y;
  auto bits = std::bit_cast<uint32_t>(y);
  const bool away = __builtin_fabs(static_cast<double>(y)) > __builtin_fabs(x);
  if (away) --bits;  // toward zero, then the last bit set
  return std::bit_cast<float>(bits | 1);
}
INGOT_DEVICE uint32_t HalvesFma(uint32_t a, uint32_t b, uint32_t c) {
  return ForHalves([=](int shift) {
    const double product = static_cast<double>(HalfAt(a, shift)) * HalfAt(b, shift);
    return F32ToF16(RoundToOdd(product + HalfAt(c, shift)));
  });
}
INGOT_DEVICE uint32_t HalvesSubtract(uint32_t a, uint32_t b) {
  return ForHalves(
      [=](int shift) { return F32ToF16(RoundToOdd(static_cast<double>(HalfAt(a, shift)) - HalfAt(b, shift))); });
}
// Both halves of a word are numbers of bf16.
INGOT_DEVICE double BFloatAt(uint32_t word, int shift) { return std::bit_cast<float>(word >> shift << 16); }
INGOT_DEVICE uint32_t BFloatsFma(uint32_t a, uint32_t b, uint32_t c) {
  return ForHalves(
      [=](int shift) { return F32ToBF16(RoundToOdd(BFloatAt(a, shift) * BFloatAt(b, shift) + BFloatAt(c, shift))); });
}

class SharedMemory {
 public:
  template <typename T>
  T* Take(uint32_t count, uint32_t alignment = 16 INGOT_HERE) {
    return static_cast<T*>(emulator::TakeShared(count * sizeof(T), alignment, here));
  }
};

}  // namespace ingot::kernels::cuda
