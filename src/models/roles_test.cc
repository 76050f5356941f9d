// What a checkpoint's tensors become, whatever they are called and however they are fused, stacked and ordered.
#include "models/roles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/bind.h"
#include "models/layer_runner.h"
#include "models/test_checkpoint.h"

namespace ingot::models {
namespace {

using testing::HasSubstr;

std::vector<float> Dense(const RoleTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.matrix->rows() * tensor.matrix->cols()));
  ReadDense(*tensor.matrix, 0, tensor.matrix->rows(), values.data());
  return values;
}

void ExpectSame(const std::vector<RoleTensor>& a, const std::vector<RoleTensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    SCOPED_TRACE(a[i].name);
    EXPECT_EQ(a[i].role, b[i].role);
    EXPECT_EQ(a[i].layer, b[i].layer);
    EXPECT_EQ(a[i].expert, b[i].expert);
    EXPECT_EQ(a[i].numbers, b[i].numbers);
    ASSERT_EQ(a[i].matrix == nullptr, b[i].matrix == nullptr);
    if (a[i].matrix) EXPECT_EQ(Dense(a[i]), Dense(b[i]));
  }
}

// Puts tensors into one, row by row of each in turn, or one below the other.
void Stack(MemoryCheckpoint* checkpoint, const std::vector<std::string>& names, const std::string& whole,
           std::vector<int64_t> shape) {
  std::vector<float> values;
  for (const std::string& name : names) {
    const std::vector<float> part = checkpoint->Floats(name).value();
    values.insert(values.end(), part.begin(), part.end());
    checkpoint->Remove(name);
  }
  checkpoint->Add(whole, shape, values);
}

TEST(Roles, StackedExpertsWithBiasesAreThoseOfOneTensorEach) {
  ModelSpec spec = SmallMixtureSpec();
  spec.router_bias = spec.expert_bias = true;
  const auto one_by_one = RandomInMemory(spec), stacked = RandomInMemory(spec);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string base = fmt::format("model.layers.{}.mlp.experts.", layer);
    for (const auto& [kind, ending, cols] : {std::tuple(".weight", "", 1), std::tuple(".bias", "_bias", 0)}) {
      std::vector<std::string> gate_up, down;
      for (int e = 0; e < 4; ++e) {
        gate_up.push_back(base + std::to_string(e) + ".gate_proj" + kind);
        gate_up.push_back(base + std::to_string(e) + ".up_proj" + kind);
        down.push_back(base + std::to_string(e) + ".down_proj" + kind);
      }
      const auto shape = [&, with_cols = cols](int64_t rows, int64_t width) {
        return with_cols ? std::vector<int64_t>{4, rows, width} : std::vector<int64_t>{4, rows};
      };
      Stack(stacked.get(), gate_up, base + "gate_up_proj" + ending, shape(128, 32));
      Stack(stacked.get(), down, base + "down_proj" + ending, shape(32, 64));
    }
  }
  const auto expected = ReadRoles(*one_by_one, spec).value();
  EXPECT_EQ(expected.back().role, Role::kLmHead);
  EXPECT_EQ(std::ranges::count(expected, Role::kExpertUp, &RoleTensor::role), 8);
  const auto got = ReadRoles(*stacked, spec);
  ASSERT_TRUE(got) << got.error().ToString();
  ExpectSame(*got, expected);
}

// With nothing but biases in the experts, and no attention, each token gets their weighted mean.
TEST(Roles, BiasesOfExpertsAndRouterCount) {
  ModelSpec spec = SmallMixtureSpec();
  spec.router_bias = spec.expert_bias = true;
  const auto checkpoint = RandomInMemory(spec);
  const std::string base = "model.layers.0.";
  checkpoint->Add(base + "self_attn.o_proj.weight", {32, 32}, std::vector<float>(1024));
  checkpoint->Add(base + "mlp.gate.weight", {4, 32}, std::vector<float>(128));
  checkpoint->Add(base + "mlp.gate.bias", {4}, {0.5f, -9, 1.0f, -9});  // experts 0 and 2
  for (int e = 0; e < 4; ++e) {
    const std::string down = fmt::format("{}mlp.experts.{}.down_proj.", base, e);
    checkpoint->Add(down + "weight", {32, 64}, std::vector<float>(2048));
    checkpoint->Add(down + "bias", {32}, std::vector<float>(32, static_cast<float>(e + 1)));
  }
  ThreadPool pool(1);
  const ops::Context context{.pool = &pool, .scratch = nullptr};
  const CheckpointNames names = ChooseNames(*checkpoint, spec).value();
  const LayerWeights weights = PackLayer(context, ReadLayerRoles(*checkpoint, spec, names, 0).value()).value();
  HiddenStates hidden(2 * 32, 0.25f);
  ASSERT_TRUE(LayerRunner(spec, {}, pool).Run(0, weights, &hidden).ok());
  const double share = 1 / (1 + std::exp(-0.5));  // of expert 2
  for (const float value : hidden) EXPECT_TRUE(std::abs(value - (0.25 + 1 * (1 - share) + 3 * share)) <= 1e-5) << value;
}

TEST(Roles, ShapesAreCheckedAndNothingIsLeftOver) {
  ModelSpec spec = SmallMixtureSpec();
  const auto message = [&](const MemoryCheckpoint& checkpoint) {
    const auto read = ReadRoles(checkpoint, spec);
    return read ? std::string() : read.error().message();
  };
  const auto checkpoint = RandomInMemory(spec);
  EXPECT_EQ(message(*checkpoint), "");
  checkpoint->Add("model.layers.0.mlp.gate.bias", {4}, {0, 0, 0, 0});  // of zeros: GPTQ's tools write it
  EXPECT_EQ(message(*checkpoint), "");
  checkpoint->Add("model.layers.0.mlp.gate.bias", {4}, {0, 0, 0, 1});
  EXPECT_THAT(message(*checkpoint), HasSubstr("1 tensors are no part of a qwen3_moe model of this configuration: "
                                              "model.layers.0.mlp.gate.bias [4]"));
  spec.router_bias = true;
  checkpoint->Add("model.layers.0.mlp.gate.bias", {3}, {0, 0, 0});
  EXPECT_THAT(message(*checkpoint),
              HasSubstr("tensor model.layers.0.mlp.gate.bias is [3]; the configuration asks for [4]"));
  checkpoint->Remove("model.layers.0.mlp.gate.bias");
  EXPECT_THAT(message(*checkpoint), HasSubstr("tensor model.layers.0.mlp.gate.bias is missing; it should be [4]"));
}

}  // namespace
}  // namespace ingot::models
