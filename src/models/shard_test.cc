// The summands of the ranks make the whole model's layer.
#include "models/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models/bind.h"
#include "models/layer_runner.h"
#include "models/model.h"
#include "models/test_checkpoint.h"

namespace ingot::models {
namespace {

using testing::HasSubstr;

class Zeros : public WeightSource {
 public:
  Zeros(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  Format format() const override { return Format::Dense(DType::kF32); }
  void Read(int64_t, int64_t count, WeightRows* out) const override {
    *out = {.format = format(), .rows = count, .cols = cols_};
    out->dense.resize(static_cast<size_t>(count * cols_));
  }

 private:
  const int64_t rows_, cols_;
};

// What a layer adds to `hidden` without the matrices of some roles.
std::vector<double> Added(const ModelSpec& spec, std::vector<RoleTensor> tensors, const HiddenStates& hidden,
                          const std::vector<Role>& without) {
  for (RoleTensor& tensor : tensors) {
    if (std::ranges::find(without, tensor.role) == without.end()) continue;
    tensor.matrix = std::make_shared<Zeros>(tensor.matrix->rows(), tensor.matrix->cols());
    tensor.numbers.clear();
  }
  const auto backend = ops::MakeCpuBackend(1);
  const LayerWeights weights = PackLayer(*backend, tensors).value();
  HiddenStates out = hidden;
  EXPECT_TRUE(LayerRunner(spec, {.kv_format = ops::KvFormat::kF32}, *backend).Run(0, weights, &out).ok());
  std::vector<double> added;
  for (size_t i = 0; i < out.size(); ++i) added.push_back(double{out[i]} - double{hidden[i]});
  return added;
}

void ExpectShardsAddUp(const ModelSpec& spec, const std::vector<RoleTensor>& tensors, int world) {
  HiddenStates hidden(static_cast<size_t>(9 * spec.hidden_size));
  for (size_t i = 0; i < hidden.size(); ++i) hidden[i] = std::sin(static_cast<float>(i * i + 1));
  const std::vector<double> expected = Added(spec, tensors, hidden, {});
  HiddenStates between = hidden;  // after attention
  std::vector<double> sum(hidden.size());
  // Attention alone, then the MLP alone: the ranks are summed after each.
  for (const std::vector<Role>& without : {std::vector{Role::kDown, Role::kExpertDown}, std::vector{Role::kO}}) {
    for (int rank = 0; rank < world; ++rank) {
      const Shard shard{rank, world};
      const ModelSpec part = ShardSpec(spec, shard).value();
      const auto added = Added(part, ShardRoles(tensors, spec, shard).value(), between, without);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += added[i];
    }
    for (size_t i = 0; i < sum.size(); ++i) between[i] = static_cast<float>(hidden[i] + sum[i]);
  }
  double worst = 0, largest = 0;
  for (size_t i = 0; i < sum.size(); ++i) {
    if (!(std::abs(sum[i] - expected[i]) <= worst)) worst = std::abs(sum[i] - expected[i]);
    largest = std::max(largest, std::abs(expected[i]));
  }
  EXPECT_TRUE(worst <= 2e-5 * largest) << worst << " of " << largest;
  EXPECT_GT(largest, 0.1);
}

std::vector<RoleTensor> Layer0(const formats::Checkpoint& checkpoint, const ModelSpec& spec) {
  return ReadLayerRoles(checkpoint, spec, ChooseNames(checkpoint, spec).value(), 0).value();
}

TEST(Shard, SumsOfTheRanksAreTheWholeLayer) {
  ModelSpec spec = SmallSpec();
  spec.qkv_bias = spec.o_bias = spec.mlp_bias = spec.qk_norm = true;
  ExpectShardsAddUp(spec, Layer0(*RandomInMemory(spec), spec), 2);
  ExpectShardsAddUp(spec, Layer0(*RandomInMemory(spec), spec), 4);  // two ranks a KV head
  for (LayerSpec& layer : spec.layers) layer.num_kv_heads = 1;
  ExpectShardsAddUp(spec, Layer0(*RandomInMemory(spec), spec), 2);
}

TEST(Shard, TensorsOfSeveralRolesAreCutRoleByRole) {
  ModelSpec spec = SmallSpec("phi3");
  spec.qkv_bias = spec.mlp_bias = true;
  const auto checkpoint = RandomInMemory(spec);
  const std::string base = "model.layers.0.";
  for (const char* kind : {".weight", ".bias"}) {
    const auto shape = [&](int64_t rows) {
      return kind[1] == 'w' ? std::vector<int64_t>{rows, 32} : std::vector<int64_t>{rows};
    };
    const std::string attention = base + "self_attn.", mlp = base + "mlp.";
    Stack(checkpoint.get(), {attention + "q_proj" + kind, attention + "k_proj" + kind, attention + "v_proj" + kind},
          attention + "qkv_proj" + kind, shape(64));
    Stack(checkpoint.get(), {mlp + "gate_proj" + kind, mlp + "up_proj" + kind}, mlp + "gate_up_proj" + kind,
          shape(128));
  }
  const auto tensors = Layer0(*checkpoint, spec);
  EXPECT_NE(std::ranges::find(tensors, Role::kQkv, &RoleTensor::role), tensors.end());
  ExpectShardsAddUp(spec, tensors, 2);
}

TEST(Shard, ExpertsAreCutByTheirInnerSize) {
  ModelSpec spec = SmallMixtureSpec();
  spec.router_bias = spec.expert_bias = true;
  ExpectShardsAddUp(spec, Layer0(*RandomInMemory(spec), spec), 2);
}

TEST(Shard, SaysWhatEachRankHolds) {
  const ModelSpec spec = SmallSpec();
  const auto share = [&](Role role, int rank) {
    const int layer = role == Role::kLmHead ? -1 : 0;
    const auto sizes = RolesOf(spec, layer);
    return ShareOf(spec, layer, *std::ranges::find(sizes, role, &RoleSize::role), {rank, 2});
  };
  EXPECT_EQ(share(Role::kQ, 1).rows, (std::vector<Extent>{{16, 32}}));
  EXPECT_EQ(share(Role::kK, 1).rows, (std::vector<Extent>{{8, 16}}));
  EXPECT_EQ(share(Role::kK, 1).cols, (Extent{0, 32}));
  EXPECT_EQ(share(Role::kO, 1).rows, (std::vector<Extent>{{0, 32}}));
  EXPECT_EQ(share(Role::kO, 1).cols, (Extent{16, 32}));
  EXPECT_EQ(share(Role::kDown, 0).cols, (Extent{0, 32}));
  EXPECT_EQ(share(Role::kLmHead, 1).rows, (std::vector<Extent>{{0, 64}}));
}

TEST(Shard, RefusesWhatTheRanksDoNotDivide) {
  const auto error = [](const ModelSpec& spec, int world) { return ShardSpec(spec, {0, world}).error().message(); };
  ModelSpec spec = SmallSpec();
  EXPECT_EQ(error(spec, 3), "num_attention_heads 4 is not a multiple of 3, the number of ranks");
  spec.layers[1].num_heads = 12;
  spec.layers[1].num_kv_heads = 3;
  EXPECT_EQ(error(spec, 2), "num_key_value_heads 3 is not a multiple of 2, the number of ranks");
  spec = SmallSpec();
  spec.intermediate_size = 66;
  EXPECT_EQ(error(spec, 4), "intermediate_size 66 is not a multiple of 4, the number of ranks");
}

// Groups of 32 along 64 inputs: two ranks can have one each, four cannot.
TEST(Shard, QuantizedMatricesAreCutBetweenGroups) {
  const auto checkpoint = formats::Checkpoint::Open(INGOT_SOURCE_DIR "/tests/quantized_goldens/awq").value();
  const ModelSpec spec = ReadModelSpec(*checkpoint).value();
  const auto tensors = Layer0(*checkpoint, spec);
  const auto down = std::ranges::find(tensors, Role::kDown, &RoleTensor::role);
  ASSERT_EQ(down->matrix->cols() % 64, 0);
  const auto cut = [&](int world) { return ShardRoles({*down}, spec, {0, world}); };
  EXPECT_EQ(cut(2).value()[0].matrix->cols(), down->matrix->cols() / 2);
  EXPECT_THAT(cut(static_cast<int>(down->matrix->cols() / 16)).error().message(),
              HasSubstr("down_proj: columns 0…15 of"));
}

}  // namespace
}  // namespace ingot::models
