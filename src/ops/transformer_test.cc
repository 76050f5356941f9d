#include "ops/transformer.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernel_table.h"
#include "ops/backend.h"
#include "ops/isa_info.h"

namespace ingot::ops {
namespace {

class TransformerTest : public testing::TestWithParam<std::string> {
 protected:
  static Context OnThreads(const std::unique_ptr<Backend>* backend) {
    return {.backend = backend->get(), .scratch = nullptr, .compute = Compute::kExact};
  }
  const kernels::ElementwiseKernels& kernels() const { return one_->host().kernels->elementwise; }
  std::vector<float> Random(int64_t n, float low = -2, float high = 2) {
    std::uniform_real_distribution<float> draw(low, high);
    std::vector<float> x(static_cast<size_t>(n));
    for (float& v : x) v = draw(rng_);
    return x;
  }

  std::mt19937 rng_{1};
  std::unique_ptr<Backend> one_ = MakeCpuBackend(1, GetParam()), three_ = MakeCpuBackend(3, GetParam());
};

TensorView Matrix(std::vector<float>& x, int64_t rows, int64_t cols) {
  EXPECT_EQ(static_cast<int64_t>(x.size()), rows * cols);
  return {.data = x.data(), .dtype = DType::kF32, .shape = {rows, cols}, .device = {}};
}

TensorView Ints(std::vector<int32_t>& x, Shape shape) {
  return {.data = x.data(), .dtype = DType::kI32, .shape = shape, .device = {}};
}

// f32 or f64 [values.size()] that owns its memory.
template <typename T>
Tensor Vector(const std::vector<T>& values) {
  const DType dtype = sizeof(T) == 8 ? DType::kF64 : DType::kF32;
  Tensor tensor = Tensor::Allocate(dtype, {std::ssize(values)}).value();
  std::copy(values.begin(), values.end(), tensor.template Data<T>());
  return tensor;
}

// |got - want| <= tolerance · (|want| + floor); NaN fails.
void ExpectClose(float got, double want, double tolerance, double floor, const std::string& what) {
  EXPECT_TRUE(std::abs(got - want) <= tolerance * (std::abs(want) + floor))
      << what << ": got " << got << ", want " << want;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Distance from the exact value in units of the last place of a float of that size.
double Ulps(float got, double want) {
  const double size = std::max(std::abs(want), double{std::numeric_limits<float>::min()});
  return std::abs(got - want) / std::ldexp(1.0, std::ilogb(size) - 23);
}

// Every 1009th float of the whole range, both signs: 4 million; in vectors of odd length, so that tails count too.
template <typename Kernel, typename Exact>
double WorstUlps(float low, float high, Kernel kernel, Exact exact) {
  double worst = 0;
  std::vector<float> x, y;
  const auto flush = [&] {
    y.resize(x.size());
    kernel(x.data(), y.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double ulps = Ulps(y[i], exact(double{x[i]}));
      if (!(ulps <= worst)) worst = ulps;
    }
    x.clear();
  };
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 1009) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (value >= low && value <= high) x.push_back(value);
    if (x.size() == 1021) flush();
  }
  flush();
  return worst;
}

TEST_P(TransformerTest, ExpIsAsExactAsItSays) {
  EXPECT_TRUE(WorstUlps(-87.3f, 88.72f, kernels().exp, [](double x) { return std::exp(x); }) <= 1.1);
  // Below the smallest normal number the error stays below one of its own units.
  EXPECT_TRUE(WorstUlps(-103.0f, -87.3f, kernels().exp, [](double x) { return std::exp(x); }) <= 1.0);
}

TEST_P(TransformerTest, ExpAtItsEnds) {
  const float inf = INFINITY;
  const float x[] = {0, -0.0f, -104.5f, -1e30f, -inf, 88.8f, 1e30f, inf, NAN};
  float y[9];
  kernels().exp(x, y, 9);
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1);
  EXPECT_EQ(y[2], 0);
  EXPECT_EQ(y[3], 0);
  EXPECT_EQ(y[4], 0);
  EXPECT_EQ(y[5], inf);
  EXPECT_EQ(y[6], inf);
  EXPECT_EQ(y[7], inf);
  EXPECT_TRUE(std::isnan(y[8]));
}

TEST_P(TransformerTest, TanhIsAsExactAsItSays) {
  EXPECT_TRUE(WorstUlps(-INFINITY, INFINITY, kernels().tanh, [](double x) { return std::tanh(x); }) <= 1.3);
}

TEST_P(TransformerTest, EveryIsaGivesTheSameExpAndTanh) {
  const auto& got = kernels();
  const auto& want = kernels::TableFor(kernels::Isa::kReference).elementwise;
  std::vector<float> x = Random(10007, -110, 95), a(x.size()), b(x.size());
  got.exp(x.data(), a.data(), 10007);
  want.exp(x.data(), b.data(), 10007);
  EXPECT_TRUE(SameBits(a, b));
  got.tanh(x.data(), a.data(), 10007);
  want.tanh(x.data(), b.data(), 10007);
  EXPECT_TRUE(SameBits(a, b));
}

constexpr int64_t kWidths[] = {1, 3, 8, 15, 16, 17, 64, 100, 576, 1537};
constexpr int64_t kRowCounts[] = {1, 2, 7, 65};

TEST_P(TransformerTest, RmsNorm) {
  for (const int64_t h : kWidths) {
    for (const int64_t rows : kRowCounts) {
      std::vector<float> x = Random(rows * h), weight = Random(h), y(x.size());
      RmsNorm(OnThreads(&three_), Matrix(x, rows, h), {Vector(weight), 1e-5f}, Matrix(y, rows, h));
      for (int64_t t = 0; t < rows; ++t) {
        double sum = 0;
        for (int64_t i = 0; i < h; ++i) sum += double{x[t * h + i]} * x[t * h + i];
        const double inverse = 1 / std::sqrt(sum / static_cast<double>(h) + 1e-5f);
        for (int64_t i = 0; i < h; ++i) {
          ExpectClose(y[t * h + i], x[t * h + i] * inverse * weight[i], 1e-6, 0, "h " + std::to_string(h));
        }
      }
      std::vector<float> row(x.end() - h, x.end()), alone(static_cast<size_t>(h));
      RmsNorm(OnThreads(&one_), Matrix(row, 1, h), {Vector(weight), 1e-5f}, Matrix(alone, 1, h));
      EXPECT_TRUE(SameBits(alone, {y.end() - h, y.end()}));
      RmsNorm(OnThreads(&one_), Matrix(x, rows, h), {Vector(weight), 1e-5f}, Matrix(x, rows, h));
      EXPECT_TRUE(SameBits(x, y)) << "in place, h " << h;
    }
  }
}

TEST_P(TransformerTest, AddRmsNormEqualsAddThenRmsNorm) {
  for (const int64_t h : kWidths) {
    const int64_t rows = 5;
    std::vector<float> x = Random(rows * h), residual = Random(rows * h), weight = Random(h);
    std::vector<float> sum = residual, want(x.size()), y(x.size());
    Add(OnThreads(&one_), Matrix(x, rows, h), Matrix(sum, rows, h));
    RmsNorm(OnThreads(&one_), Matrix(sum, rows, h), {Vector(weight), 1e-6f}, Matrix(want, rows, h));
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(sum[i], x[i] + residual[i]);
    AddRmsNorm(OnThreads(&three_), Matrix(x, rows, h), Matrix(residual, rows, h), {Vector(weight), 1e-6f},
               Matrix(y, rows, h));
    EXPECT_TRUE(SameBits(residual, sum));
    EXPECT_TRUE(SameBits(y, want));
  }
}

double ExactActivation(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  }
  return 0;
}

TEST_P(TransformerTest, ActMul) {
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    for (const int64_t n : kWidths) {
      for (const int64_t rows : kRowCounts) {
        std::vector<float> gate_up = Random(rows * 2 * n, -9, 9), y(static_cast<size_t>(rows * n));
        ActMul(OnThreads(&three_), Matrix(gate_up, rows, 2 * n), activation, Matrix(y, rows, n));
        for (int64_t t = 0; t < rows; ++t) {
          for (int64_t i = 0; i < n; ++i) {
            const float gate = gate_up[t * 2 * n + i], up = gate_up[t * 2 * n + n + i];
            ExpectClose(y[t * n + i], ExactActivation(activation, gate) * up, 5e-6, 1e-9,
                        "x " + std::to_string(gate) + " activation " + std::to_string(static_cast<int>(activation)));
          }
        }
      }
    }
  }
}

TEST_P(TransformerTest, ActMulFarOut) {
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    std::vector<float> gate_up = {-1e4f, 1e4f, -200, 200, -1e-30f, 0, 1, 1, 1, 1, 1, 1}, y(6);
    ActMul(OnThreads(&one_), Matrix(gate_up, 1, 12), activation, Matrix(y, 1, 6));
    EXPECT_EQ(y[0], 0);
    EXPECT_EQ(y[1], 1e4f);
    EXPECT_EQ(y[2], 0);
    EXPECT_EQ(y[3], 200);
    EXPECT_EQ(y[4], -0.5e-30f);
    EXPECT_EQ(y[5], 0);
  }
}

TEST_P(TransformerTest, Softcap) {
  for (const int64_t n : kWidths) {
    std::vector<float> x = Random(3 * n, -200, 200), y = x;
    Softcap(OnThreads(&three_), Matrix(y, 3, n), 30);
    for (size_t i = 0; i < x.size(); ++i) ExpectClose(y[i], 30 * std::tanh(x[i] / 30.0), 1e-6, 0, "softcap");
  }
}

TEST_P(TransformerTest, RopeAngles) {
  std::vector<int32_t> positions = {0, 1, 7, 4095, 1000000};
  const std::vector<double> inv_freq = {1.0, 0.1, 1e-4};
  std::vector<float> cos(15), sin(15);
  RopeAngles(OnThreads(&three_), Ints(positions, {5}), {Vector(inv_freq), 1.25}, Matrix(cos, 5, 3), Matrix(sin, 5, 3));
  for (size_t t = 0; t < 5; ++t) {
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(cos[t * 3 + i], static_cast<float>(1.25 * std::cos(positions[t] * inv_freq[i])));
      EXPECT_EQ(sin[t * 3 + i], static_cast<float>(1.25 * std::sin(positions[t] * inv_freq[i])));
    }
  }
}

// T tokens, k experts each, of E.
struct TestRouting {
  TestRouting(int64_t tokens, int64_t k, int64_t experts)
      : ids(static_cast<size_t>(tokens * k)),
        row_of(ids.size()),
        token_of(ids.size()),
        begin(static_cast<size_t>(experts + 1)),
        weights(ids.size()) {
    routing = {.ids = Ints(ids, {tokens, k}),
               .weights = Matrix(weights, tokens, k),
               .row_of = Ints(row_of, {tokens, k}),
               .token_of = Ints(token_of, {tokens * k}),
               .expert_begin = Ints(begin, {experts + 1})};
  }
  std::vector<int32_t> ids, row_of, token_of, begin;
  std::vector<float> weights;
  Routing routing;
};

TEST_P(TransformerTest, RouteIsInRankOrderBreaksTiesByIndexAndSortsByExpert) {
  std::vector<float> logits = {1, 3, 3, -2, 0, /**/ -1, -1, -1, -1, -1};
  for (const bool normalize : {false, true}) {
    TestRouting r(2, 3, 5);
    Route(OnThreads(&one_), Matrix(logits, 2, 5), {3, normalize}, r.routing);
    EXPECT_EQ(r.ids, (std::vector<int32_t>{1, 2, 0, 0, 1, 2}));
    const double all = 2 + std::exp(-2) + std::exp(-5) + std::exp(-3), chosen = 2 + std::exp(-2);
    const double sum = normalize ? chosen : all;
    ExpectClose(r.weights[0], 1 / sum, 1e-6, 0, "rank 0");
    ExpectClose(r.weights[1], 1 / sum, 1e-6, 0, "rank 1");
    ExpectClose(r.weights[2], std::exp(-2) / sum, 1e-6, 0, "rank 2");
    for (size_t rank = 3; rank < 6; ++rank) ExpectClose(r.weights[rank], normalize ? 1 / 3.0 : 0.2, 1e-6, 0, "tie");
    // Expert 0 has both tokens, so have 1 and 2; tokens ascend.
    EXPECT_EQ(r.begin, (std::vector<int32_t>{0, 2, 4, 6, 6, 6}));
    EXPECT_EQ(r.token_of, (std::vector<int32_t>{0, 1, 0, 1, 0, 1}));
    EXPECT_EQ(r.row_of, (std::vector<int32_t>{2, 4, 0, 1, 3, 5}));
  }
}

TEST_P(TransformerTest, CombineAndGather) {
  for (const int64_t h : kWidths) {
    const int64_t tokens = 9;
    const int k = 3;
    std::vector<float> expert_out = Random(tokens * k * h), weights = Random(tokens * k, 0, 1);
    TestRouting r(tokens, k, 4);
    std::copy(weights.begin(), weights.end(), r.weights.begin());
    for (size_t i = 0; i < r.row_of.size(); ++i) r.row_of[i] = static_cast<int32_t>((i * 7) % r.row_of.size());
    std::vector<float> y(static_cast<size_t>(tokens * h));
    CombineExperts(OnThreads(&three_), Matrix(expert_out, tokens * k, h), r.routing, Matrix(y, tokens, h));
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < h; ++i) {
        double want = 0;
        for (int rank = 0; rank < k; ++rank) {
          want += double{weights[t * k + rank]} * expert_out[r.row_of[t * k + rank] * h + i];
        }
        ExpectClose(y[t * h + i], want, 1e-6, 1, "combine");
      }
    }
    std::vector<float> gathered(static_cast<size_t>(2 * h));
    std::vector<int32_t> rows = {8, 3};
    GatherRows(OnThreads(&one_), Matrix(y, tokens, h), Ints(rows, {2}), Matrix(gathered, 2, h));
    EXPECT_TRUE(SameBits({gathered.begin(), gathered.begin() + h}, {y.begin() + 8 * h, y.begin() + 9 * h}));
    EXPECT_TRUE(SameBits({gathered.begin() + h, gathered.end()}, {y.begin() + 3 * h, y.begin() + 4 * h}));
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, TransformerTest, testing::ValuesIn(GetIsaInfo().available),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace ingot::ops
