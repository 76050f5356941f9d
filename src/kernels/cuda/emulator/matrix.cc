// ldmatrix and mma, after the layouts of fragments in the PTX manual.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/cuda/emulator/hooks.h"
#include "kernels/cuda/emulator/primitives.h"
#include "tensor/dtype.h"

namespace ingot::kernels::emulator {
namespace {

constexpr uint32_t kWholeWarp = 0xffffffff;
constexpr int kBankGroups = 8;  // of 4 banks of 4 bytes: what a row of 16 bytes takes

struct MatrixArgument {
  uint32_t* registers;
  const std::byte* row;
  int num;
  bool transposed;
  Location where;
};

const MatrixArgument& MatrixOf(void* const* arguments, int lane) {
  return *static_cast<const MatrixArgument*>(arguments[lane]);
}

void ExecuteLoadMatrix(void* const* arguments, uint32_t) {
  const MatrixArgument& first = MatrixOf(arguments, 0);
  for (int m = 0; m < first.num; ++m) {
    uint16_t matrix[8][8];
    int rows_in[kBankGroups] = {};
    for (int r = 0; r < 8; ++r) {
      const MatrixArgument& lane = MatrixOf(arguments, m * 8 + r);
      const auto address = reinterpret_cast<uintptr_t>(lane.row);
      if (address % 16 != 0) Fail("ldmatrix: a row is not aligned to 16 bytes", lane.where);
      CheckAccess(lane.row, 16, Access::kRead, m * 8 + r);
      std::memcpy(matrix[r], lane.row, 16);
      ++rows_in[address / 16 % kBankGroups];
    }
    MutableCounts().bank_conflicts += *std::max_element(rows_in, rows_in + kBankGroups) - 1;
    for (int lane = 0; lane < 32; ++lane) {
      const int row = lane / 4, col = lane % 4 * 2;
      const uint16_t low = first.transposed ? matrix[col][row] : matrix[row][col];
      const uint16_t high = first.transposed ? matrix[col + 1][row] : matrix[row][col + 1];
      MatrixOf(arguments, lane).registers[m] = low | static_cast<uint32_t>(high) << 16;
    }
  }
}

const MmaOperands& OperandsOf(void* const* arguments, int lane) {
  return *static_cast<const MmaOperands*>(arguments[lane]);
}

// m16n8k16 of numbers of 16 bits, m16n8k32 of bytes. Element(reg, i): the i-th number in a register.
template <typename T, int K, auto Element>
void ExecuteMma(void* const* arguments, uint32_t) {
  constexpr int kEach = K / 8;  // numbers in a register
  T a[16][K], b[K][8], sums[16][8] = {};
  for (int lane = 0; lane < 32; ++lane) {
    const MmaOperands& own = OperandsOf(arguments, lane);
    const int group = lane / 4, first = lane % 4 * kEach;
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < kEach; ++i) {
        const int k = half * K / 2 + first + i;
        a[group][k] = Element(own.a[half * 2], i);
        a[group + 8][k] = Element(own.a[half * 2 + 1], i);
        b[k][group] = Element(own.b[half], i);
      }
    }
  }
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < K; ++k) {
      for (int n = 0; n < 8; ++n) sums[m][n] += a[m][k] * b[k][n];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto* const d = static_cast<T*>(OperandsOf(arguments, lane).d);
    for (int i = 0; i < 4; ++i) d[i] += sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

float F16Element(uint32_t bits, int i) { return F16ToF32(static_cast<uint16_t>(bits >> (16 * i))); }
float BF16Element(uint32_t bits, int i) { return std::bit_cast<float>(bits >> (16 * i) << 16); }
int32_t S8Element(uint32_t bits, int i) { return static_cast<int8_t>(bits >> (8 * i)); }

}  // namespace

void LoadMatrix(uint32_t* registers, const void* row, int num, bool transposed, Location where) {
  MatrixArgument argument{registers, static_cast<const std::byte*>(row), num, transposed, where};
  ++MutableCounts().matrix_loads;
  Collective({transposed ? "ldmatrix.trans" : "ldmatrix", ExecuteLoadMatrix, false}, kWholeWarp, &argument, where);
}

void Mma(MmaKind kind, const MmaOperands& operands, Location where) {
  ++MutableCounts().mmas;
  MmaOperands argument = operands;
  CollectiveOp op{};
  if (kind == MmaKind::kF16) op = {"mma.f16", ExecuteMma<float, 16, F16Element>, false};
  if (kind == MmaKind::kBF16) op = {"mma.bf16", ExecuteMma<float, 16, BF16Element>, false};
  if (kind == MmaKind::kS8) op = {"mma.s8", ExecuteMma<int32_t, 32, S8Element>, false};
  Collective(op, kWholeWarp, &argument, where);
}

}  // namespace ingot::kernels::emulator
