#include "ops/cuda/gemm_table.h"

#include <gtest/gtest.h>

#include "ops/cuda/test_device.h"
#include "ops/linear.h"
#include "ops/test_linear.h"

namespace ingot::ops {
namespace {

TEST(GemmTable, IsReadAsItIsWritten) {
  GemmTable table;
  table.int4 = {.few_rows = 32, .spread_below = 128};
  table.int8_products = {.few_rows = 0, .spread_below = 0};
  const std::string text = GemmTableText(table, 90);
  EXPECT_EQ(ParseGemmTable(text, 90).value(), table);
  EXPECT_EQ(ParseGemmTable(text, 80).value(), GemmTable()) << "of another device";
  EXPECT_EQ(ParseGemmTable("", 90).value(), GemmTable());
}

TEST(GemmTable, SaysWhatIsWrong) {
  const auto message = [](const char* text) { return ParseGemmTable(text, 90).error().message(); };
  EXPECT_EQ(message("90 int4 16"),
            "line 1: has 3 words; it needs: compute capability, weights, few_rows, spread_below");
  EXPECT_EQ(message("# x\n90 int5 16 64"), "line 2: weights \"int5\" are not one of int4, int8, dense, int8_products");
  EXPECT_EQ(message("90 int4 129 64"), "line 1: few_rows \"129\" is not a number from 0 to 128");
  EXPECT_EQ(message("90 int4 16 6x"), "line 1: spread_below \"6x\" is not a number from 0 to 1024");
  EXPECT_EQ(message("9 int4 16 64"), "line 1: compute capability \"9\" is not a number from 80 to 999");
}

// Whatever a table says, the bits are the same, and the scratch is what LinearBytes says.
TEST(GemmTable, ChangesNoBits) {
  const int64_t rows = 20, n = 40, k = 1088;
  const std::vector<float> x = RandomActivations(rows * k, 5);
  std::vector<std::vector<float>> results;
  for (const GemmChoice choice : {GemmChoice{0, 0}, GemmChoice{0, 64}, GemmChoice{kMaxFewRows, 0}}) {
    CudaBackend backend(1, OpenTestDriver(), DType::kF16);
    backend.UseGemmTable({.int4 = choice, .int8 = {}, .dense = {}, .int8_products = {}});
    const PackedWeight weight = backend.Prepack(RandomSource({.bits = 4, .group_size = 32}, n, k, 7)).value();
    Scratch scratch = Scratch::Allocate(backend, backend.LinearBytes(rows, {&weight, 1})).value();
    const Context context{.backend = &backend, .scratch = &scratch, .compute = Compute::kFast};
    const Tensor in = Put(backend, DType::kF16, {rows, k}, x), out = Garbage(backend, DType::kF32, {rows, n});
    Linear(context, in.view(), weight, out.view());
    EXPECT_EQ(scratch.peak() > 0, choice != GemmChoice({0, 0})) << "splits of their own";
    results.push_back(Get(backend, out.view()));
  }
  EXPECT_TRUE(SameBits(results[1], results[0]));
  EXPECT_TRUE(SameBits(results[2], results[0]));
}

}  // namespace
}  // namespace ingot::ops
