#include "ops/matrix_update.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "ops/isa_info.h"

namespace ingot::ops {
namespace {

// A matrix in a wider one, between canaries.
struct Padded {
  Padded(int64_t rows, int64_t cols, int64_t stride, uint32_t seed)
      : cols(cols), stride(stride), data(static_cast<size_t>(rows * stride), kCanary) {
    std::mt19937 rng(seed);
    std::uniform_real_distribution<float> draw(-2, 2);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) data[i * stride + j] = draw(rng);
    }
  }
  float At(int64_t i, int64_t j) const { return data[static_cast<size_t>(i * stride + j)]; }
  bool Intact() const {
    for (size_t i = 0; i < data.size(); ++i) {
      if (static_cast<int64_t>(i) % stride >= cols && data[i] != kCanary) return false;
    }
    return true;
  }
  static constexpr float kCanary = 12345.0f;
  int64_t cols, stride;
  std::vector<float> data;
};

struct Sizes {
  int64_t depth, m, n;
};

class MatrixUpdateTest : public testing::TestWithParam<std::string> {
 protected:
  static const Host& OnThreads(const std::unique_ptr<Backend>* backend) { return (*backend)->host(); }
  std::unique_ptr<Backend> one_ = MakeCpuBackend(1, GetParam()), three_ = MakeCpuBackend(3, GetParam());
};

MatrixUpdateParams ParamsOf(const Padded& a, const Padded& b, Padded& c, const Sizes& s) {
  return {.a = a.data.data(),
          .b = b.data.data(),
          .c = c.data.data(),
          .a_stride = a.stride,
          .b_stride = b.stride,
          .c_stride = c.stride,
          .depth = s.depth,
          .m = s.m,
          .n = s.n,
          .alpha = -0.75f};
}

TEST_P(MatrixUpdateTest, AddsTheProduct) {
  for (const Sizes s :
       {Sizes{1, 1, 1}, {0, 3, 5}, {3, 5, 7}, {64, 48, 48}, {65, 49, 47}, {200, 96, 1000}, {7, 130, 15}}) {
    const Padded a(s.depth, s.m, s.m + 3, 1), b(s.depth, s.n, s.n + 1, 2);
    const Padded before(s.m, s.n, s.n + 5, 3);
    Padded c = before;
    AddProduct(OnThreads(&three_), ParamsOf(a, b, c, s));
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        double want = before.At(i, j), size = std::abs(want);
        for (int64_t r = 0; r < s.depth; ++r) {
          want -= 0.75 * a.At(r, i) * b.At(r, j);
          size += std::abs(0.75 * a.At(r, i) * b.At(r, j));
        }
        ASSERT_TRUE(std::abs(c.At(i, j) - want) <= 64 * 0x1p-23 * size)
            << s.m << " × " << s.n << " at " << i << ", " << j;
      }
    }
    EXPECT_TRUE(c.Intact());
  }
}

TEST_P(MatrixUpdateTest, BitsDoNotDependOnThreads) {
  const Sizes s{150, 101, 1700};
  const Padded a(s.depth, s.m, s.m, 1), b(s.depth, s.n, s.n, 2);
  Padded alone(s.m, s.n, s.n, 3), shared = alone;
  AddProduct(OnThreads(&one_), ParamsOf(a, b, alone, s));
  AddProduct(OnThreads(&three_), ParamsOf(a, b, shared, s));
  EXPECT_EQ(std::memcmp(alone.data.data(), shared.data.data(), alone.data.size() * sizeof(float)), 0);
}

TEST_P(MatrixUpdateTest, LowerAndMirrorGiveTheWhole) {
  for (const int64_t n : {1, 5, 48, 49, 145}) {
    const Sizes s{33, n, n};
    const Padded x(s.depth, n, n, 1);
    Padded whole(n, n, n, 2), lower = whole;
    MirrorLower(OnThreads(&three_), whole.data.data(), n);  // a symmetric start
    lower = whole;
    AddProduct(OnThreads(&three_), ParamsOf(x, x, whole, s));
    AddProductLower(OnThreads(&three_), ParamsOf(x, x, lower, s));
    MirrorLower(OnThreads(&three_), lower.data.data(), n);
    for (size_t i = 0; i < whole.data.size(); ++i) ASSERT_TRUE(std::abs(whole.data[i] - lower.data[i]) <= 1e-4) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, MatrixUpdateTest, testing::ValuesIn(GetIsaInfo().available),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace ingot::ops
