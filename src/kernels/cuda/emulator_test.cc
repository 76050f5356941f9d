// The emulator finds what a kernel does wrong: each class of bug, injected into a kernel that is right without it.
// (That primitives do what PTX says is tested by ops/cuda/conformance_test.cc, on a GPU too.)
#include "kernels/cuda/emulator/emulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "kernels/cuda/emulator_test_kernels.h"

namespace ingot::kernels::emulator_test {
namespace {

using testing::HasSubstr;

// A launch of one block; "" or the fault.
template <typename Function>
std::string RunOn(Function kernel, int bug, emulator::Schedule schedule = emulator::Schedule::kForward) {
  std::vector<float> in(4 * kThreads), out(kThreads);
  std::iota(in.begin(), in.end(), 1.0f);
  emulator::AddMemory(in.data(), in.size() * sizeof(float));
  emulator::AddMemory(out.data(), out.size() * sizeof(float));
  const Params params{in.data(), out.data(), bug};
  std::string fault =
      emulator::Run({.block = {kThreads}, .shared_bytes = 4096, .schedule = schedule}, kernel, &params, sizeof(params));
  emulator::RemoveMemory(in.data());
  emulator::RemoveMemory(out.data());
  return fault;
}

struct Bug {
  int number;
  const char* fault;
};

TEST(Emulator, FindsBugsOfSharedMemory) {
  if (!emulator::SeesAccesses()) GTEST_SKIP() << "built without the hooks";
  EXPECT_EQ(RunOn(Exchange, 0), "");
  for (const auto [number, fault] :
       {Bug{1, "never written"}, Bug{2, "shared memory out of bounds"}, Bug{3, "never written"}, Bug{4, "divergence"},
        Bug{5, "a race with a write of thread 8"}, Bug{6, "outside of every allocation"}, Bug{7, "different sizes"},
        Bug{8, "deadlock"}}) {
    EXPECT_THAT(RunOn(Exchange, number), HasSubstr(fault)) << "bug " << number;
  }
}

TEST(Emulator, SaysWhereAndWho) {
  const std::string fault = RunOn(Exchange, 8);
  EXPECT_THAT(fault, HasSubstr("emulator_test_kernels.cc:"));
  EXPECT_THAT(fault, HasSubstr("deadlock: 1 threads from 40 on have exited; 63 threads from 0 on wait for a barrier"));
}

TEST(Emulator, FindsBugsOfWarps) {
  if (!emulator::SeesAccesses()) GTEST_SKIP() << "built without the hooks";
  EXPECT_EQ(RunOn(Warps, 0), "");
  for (const auto [number, fault] : {Bug{1, "never written"}, Bug{2, "deadlock"}, Bug{3, "outside of its mask"},
                                     Bug{4, "divergence"}, Bug{5, "never written"}}) {
    EXPECT_THAT(RunOn(Warps, number), HasSubstr(fault)) << "bug " << number;
  }
}

TEST(Emulator, FindsBugsOfAsynchronousCopies) {
  if (!emulator::SeesAccesses()) GTEST_SKIP() << "built without the hooks";
  for (const auto schedule :
       {emulator::Schedule::kForward, emulator::Schedule::kReverse, emulator::Schedule::kRandom}) {
    EXPECT_EQ(RunOn(Pipeline, 0, schedule), "");
    for (const auto [number, fault] :
         {Bug{1, "in flight"}, Bug{4, "did not wait for"}, Bug{5, "not aligned"}, Bug{6, "outside of every"}}) {
      EXPECT_THAT(RunOn(Pipeline, number, schedule), HasSubstr(fault)) << "bug " << number;
    }
    EXPECT_NE(RunOn(Pipeline, 2, schedule), "") << "no barrier behind the wait";
    EXPECT_NE(RunOn(Pipeline, 3, schedule), "") << "a buffer is overwritten that others still read";
  }
}

TEST(Emulator, FindsBugsOfMatrices) {
  EXPECT_EQ(RunOn(Matrices, 0), "");
  EXPECT_THAT(RunOn(Matrices, 2), HasSubstr("deadlock"));
  EXPECT_THAT(RunOn(Matrices, 3), HasSubstr("not aligned"));
  if (!emulator::SeesAccesses()) GTEST_SKIP() << "built without the hooks";
  EXPECT_THAT(RunOn(Matrices, 1), HasSubstr("race"));
}

TEST(Emulator, CountsBankConflicts) {
  emulator::ResetCounts();
  RunOn(Matrices, 0);  // rows one after another
  EXPECT_EQ(emulator::CountsSoFar().bank_conflicts, 0);
  EXPECT_EQ(emulator::CountsSoFar().mmas, kThreads);
}

TEST(Emulator, ComparesTheBytesAroundSharedMemory) {
  EXPECT_THAT(RunOn(StrayWrite, 0), HasSubstr("out of bounds, 0 bytes behind piece 0"));
}

TEST(Emulator, ChecksLaunches) {
  const Params params{};
  EXPECT_THAT(emulator::Run({.block = {2048}}, Matrices, &params, sizeof(params)), HasSubstr("1 to 1024 threads"));
  EXPECT_THAT(emulator::Run({.shared_bytes = 1 << 20}, Matrices, &params, sizeof(params)), HasSubstr("227 KiB"));
  EXPECT_THAT(emulator::Run({.block = {32}, .shared_bytes = 16}, Matrices, &params, sizeof(params)),
              HasSubstr("the launch gave 16"));
}

}  // namespace
}  // namespace ingot::kernels::emulator_test
