// Each primitive of kernels/cuda/arch.h against its definition in the PTX manual (ISA 9.0), written down here once
// more. On a GPU this comes first: what it finds, no test of a kernel needs to.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "ops/cuda/test_device.h"

namespace ingot::ops {
namespace {

using kernels::cuda::Primitives;

std::vector<uint32_t> Conform(Primitives primitives, const std::vector<uint32_t>& in, size_t out_words,
                              kernels::emulator::Schedule schedule = kernels::emulator::Schedule::kForward) {
  const std::unique_ptr<CudaDriver> driver = OpenTestDriver({.schedule = schedule});
  const Buffer from = driver->Allocate(static_cast<int64_t>(in.size() * 4)).value();
  const Buffer to = driver->Allocate(static_cast<int64_t>(out_words * 4)).value();
  driver->Upload(from.data(), in.data(), from.size());
  const kernels::cuda::ConformanceParams params{reinterpret_cast<const uint32_t*>(from.data()),
                                                reinterpret_cast<uint32_t*>(to.data()), primitives};
  driver->Launch({.kernel = kernels::cuda::KernelId::conform}, &params);
  std::vector<uint32_t> out(out_words);
  driver->Download(out.data(), to.data(), to.size());
  return out;
}

std::vector<uint32_t> RandomWords(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint32_t> words(count);
  for (uint32_t& word : words) word = random();
  return words;
}

TEST(Conformance, ShufflesVotesAtomicsAndBarriers) {
  const std::vector<uint32_t> in = RandomWords(64, 1);
  const auto ballot = [&](uint32_t thread, uint32_t divisor, uint32_t lanes) {
    uint32_t votes = 0;
    for (uint32_t lane = 0; lane < 32; ++lane) {
      if ((lanes >> lane & 1) != 0 && in[thread / 32 * 32 + lane] % divisor == 0) votes |= 1U << lane;
    }
    return votes;
  };
  uint32_t sum = 0;
  for (const uint32_t word : in) sum += word;
  using kernels::emulator::Schedule;
  for (const Schedule schedule : {Schedule::kForward, Schedule::kReverse, Schedule::kRandom}) {
    const std::vector<uint32_t> out = Conform(Primitives::kWarp, in, 640, schedule);
    for (uint32_t t = 0; t < 64; ++t) {
      const uint32_t* const got = out.data() + static_cast<size_t>(t) * 10;
      const uint32_t warp = t / 32 * 32, lane = t % 32;
      EXPECT_EQ(got[0], in[warp + (lane ^ 5)]);
      EXPECT_EQ(got[1], in[warp + 7]);
      EXPECT_EQ(got[2], lane + 3 < 32 ? in[t + 3] : in[t]);
      EXPECT_EQ(got[3], in[warp + (lane ^ 8)]);
      EXPECT_EQ(got[4], ballot(t, 3, 0xffffffff));
      EXPECT_EQ(got[5], ballot(t, 2, lane < 16 ? 0x0000ffff : 0xffff0000));
      EXPECT_EQ(got[6], sum);
      EXPECT_EQ(got[7], 64U % 41);  // 0 … 40, then from 0 on
      EXPECT_EQ(std::bit_cast<float>(got[8]), 32.0f);
      EXPECT_EQ(got[9], 77U);
    }
  }
}

TEST(Conformance, AsynchronousCopies) {
  const std::vector<uint32_t> in = RandomWords(64 * 7, 2);
  const std::vector<uint32_t> out = Conform(Primitives::kCopies, in, in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    const size_t thread = i < 64 ? i : i < 192 ? (i - 64) / 2 : (i - 192) / 4;
    EXPECT_EQ(out[i], thread % 3 == 2 ? 0 : in[i]) << "word " << i;
  }
}

// ldmatrix: lane i of 8·m … 8·m + 7 names row i of matrix m; each lane gets of each matrix the row lane / 4, columns
// 2 · (lane % 4) and the next. With .trans the matrices are stored by column.
TEST(Conformance, LoadsOfMatrices) {
  const std::vector<uint32_t> in = RandomWords(128, 3);
  const auto at = [&](size_t matrix, size_t row, size_t col) {
    return in[matrix * 32 + row * 4 + col / 2] >> (col % 2 * 16) & 0xffff;
  };
  const std::vector<uint32_t> out = Conform(Primitives::kMatrices, in, 256);
  for (size_t lane = 0; lane < 32; ++lane) {
    const size_t row = lane / 4, col = lane % 4 * 2;
    for (size_t m = 0; m < 4; ++m) {
      EXPECT_EQ(out[lane * 8 + m], at(m, row, col) | at(m, row, col + 1) << 16);
      EXPECT_EQ(out[lane * 8 + 4 + m], at(m, col, row) | at(m, col + 1, row) << 16);
    }
  }
}

struct Place {
  int row, col;
};
// Where element i of a lane's registers lies, for numbers of 16 bits (k = 16) and bytes (k = 32).
Place PlaceInA(int lane, int i, int k) {
  const int each = k / 8, group = lane / 4, in_group = lane % 4;  // numbers in a register
  const bool upper = i / each % 2 == 0;
  return {upper ? group : group + 8, in_group * each + i % each + (i < 2 * each ? 0 : k / 2)};
}
Place PlaceInB(int lane, int i, int k) {
  const int each = k / 8;
  return {lane % 4 * each + i % each + (i < each ? 0 : k / 2), lane / 4};
}
Place PlaceInC(int lane, int i) { return {lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + i % 2}; }

struct MmaCase {
  int kind, k;
  double (*element)(uint32_t word, int i);
};

void CheckMma(const MmaCase& c, const std::vector<uint32_t>& in, const std::vector<uint32_t>& out) {
  double a[16][32], b[32][8], d[16][8], size[16][8];
  const int each = c.k / 8;
  const auto number = [&](uint32_t word) {
    return c.kind == 2 ? static_cast<int32_t>(word) : static_cast<double>(std::bit_cast<float>(word));
  };
  for (int lane = 0; lane < 32; ++lane) {
    const uint32_t* const own = in.data() + (c.kind * 32 + lane) * 10;
    for (int i = 0; i < 4 * each; ++i) {
      const Place at = PlaceInA(lane, i, c.k);
      a[at.row][at.col] = c.element(own[i / each], i % each);
    }
    for (int i = 0; i < 2 * each; ++i) {
      const Place at = PlaceInB(lane, i, c.k);
      b[at.row][at.col] = c.element(own[4 + i / each], i % each);
    }
    for (int i = 0; i < 4; ++i) {
      const Place at = PlaceInC(lane, i);
      d[at.row][at.col] = number(own[6 + i]);
      size[at.row][at.col] = std::abs(d[at.row][at.col]);
    }
  }
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      for (int k = 0; k < c.k; ++k) {
        d[m][n] += a[m][k] * b[k][n];
        size[m][n] += std::abs(a[m][k] * b[k][n]);
      }
    }
  }
  // Products are exact; each of the k + 1 terms may be cut by an ulp of the largest sum (2^-23), whatever the order.
  const double eps = c.kind == 2 ? 0 : (c.k + 1) * 0x1p-23;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const Place at = PlaceInC(lane, i);
      const double error = std::abs(number(out[static_cast<size_t>((c.kind * 32 + lane) * 4 + i)]) - d[at.row][at.col]);
      EXPECT_TRUE(error <= eps * size[at.row][at.col]) << "kind " << c.kind << " lane " << lane << " element " << i;
    }
  }
}

TEST(Conformance, ProductsOfMatrices) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<uint32_t> in(3 * 32 * 10);
  for (size_t i = 0; i < in.size(); ++i) {
    const size_t kind = i / 320;
    if (i % 10 >= 6) {
      in[i] = kind == 2 ? random() % 1000 : std::bit_cast<uint32_t>(normal(random));
    } else if (kind == 2) {
      in[i] = random();
    } else {
      const auto round = kind == 0 ? F32ToF16 : F32ToBF16;
      in[i] = round(normal(random)) | static_cast<uint32_t>(round(normal(random))) << 16;
    }
  }
  const std::vector<uint32_t> out = Conform(Primitives::kMma, in, 3 * 32 * 4);
  CheckMma({0, 16, [](uint32_t w, int i) -> double { return F16ToF32(static_cast<uint16_t>(w >> (16 * i))); }}, in,
           out);
  CheckMma({1, 16, [](uint32_t w, int i) -> double { return BF16ToF32(static_cast<uint16_t>(w >> (16 * i))); }}, in,
           out);
  CheckMma({2, 32, [](uint32_t w, int i) -> double { return static_cast<int8_t>(w >> (8 * i)); }}, in, out);
}

// The number of 16 bits nearest to x, of two equally near ones that whose last bit is 0.
template <typename ToBits, typename ToFloat>
uint16_t Nearest(double x, ToBits to_bits, ToFloat to_float) {
  const uint16_t guess = to_bits(static_cast<float>(x));
  uint16_t best = guess;
  for (int step = -1; step <= 1; ++step) {
    const auto other = static_cast<uint16_t>(guess + step);
    const double distance = std::abs(to_float(other) - x), least = std::abs(to_float(best) - x);
    if (distance < least || (distance == least && other % 2 == 0)) best = other;
  }
  return best;
}
uint16_t NearestHalf(double x) { return Nearest(x, F32ToF16, F16ToF32); }
uint16_t NearestBFloat(double x) { return Nearest(x, F32ToBF16, BF16ToF32); }

TEST(Conformance, NumbersAndWords) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<uint32_t> in(64 * 3);
  for (uint32_t& word : in) {  // halves are moderate numbers of fp16, so that sums are exact in double
    word = F32ToF16(normal(random)) | static_cast<uint32_t>(F32ToF16(normal(random))) << 16;
  }
  const std::vector<uint32_t> out = Conform(Primitives::kNumbers, in, 64 * 12);
  for (size_t t = 0; t < 64; ++t) {
    const uint32_t a = in[t * 3], b = in[t * 3 + 1], c = in[t * 3 + 2];
    const uint32_t* const got = out.data() + t * 12;
    EXPECT_EQ(got[0], (a & b) | c);
    const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
    for (int i = 0; i < 4; ++i) {
      const uint32_t selector = c >> (4 * i) & 15;
      const auto byte = static_cast<int8_t>(bytes >> (8 * (selector & 7)));
      EXPECT_EQ(got[1] >> (8 * i) & 255, static_cast<uint8_t>(selector < 8 ? byte : byte < 0 ? -1 : 0));
    }
    for (int half = 0; half < 2; ++half) {
      const auto of = [&](uint32_t word) -> double { return F16ToF32(static_cast<uint16_t>(word >> (16 * half))); };
      EXPECT_EQ(got[2] >> (16 * half) & 0xffff, NearestHalf(of(a) * of(b) + of(c)));
      EXPECT_EQ(got[3] >> (16 * half) & 0xffff, NearestHalf(of(a) - of(b)));
      // The words are also pairs of bf16.
      const auto bf16 = [&](uint32_t word) -> double { return BF16ToF32(static_cast<uint16_t>(word >> (16 * half))); };
      EXPECT_EQ(got[4] >> (16 * half) & 0xffff, NearestBFloat(bf16(a) * bf16(b) + bf16(c)));
    }
    const auto x = std::bit_cast<float>(a), y = std::bit_cast<float>(b), z = std::bit_cast<float>(c);
    EXPECT_EQ(got[5], F32ToF16(x));
    EXPECT_EQ(got[6], F32ToBF16(x));
    EXPECT_EQ(std::bit_cast<float>(got[7]), F16ToF32(static_cast<uint16_t>(a)));
    const double power = std::exp2(static_cast<double>(BF16ToF32(static_cast<uint16_t>(b))));
    EXPECT_TRUE(std::abs(std::bit_cast<float>(got[8]) - power) <= power * 0x1p-21);  // ex2.approx: 2 ulp
    EXPECT_EQ(std::bit_cast<float>(got[9]), std::fma(x, y, z));
    EXPECT_EQ(std::bit_cast<float>(got[10]), std::nearbyint(F16ToF32(static_cast<uint16_t>(a))));
    EXPECT_EQ(std::bit_cast<float>(got[11]), x / y);
  }
}

}  // namespace
}  // namespace ingot::ops
