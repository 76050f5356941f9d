// A layer at a time against the whole model, bit for bit.
#include "models/layer_runner.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "models/bind.h"
#include "models/test_runner.h"

namespace ingot::models {
namespace {

namespace fs = std::filesystem;

struct Packed {
  ModelSpec spec;
  BoundWeights bound;
};

std::unique_ptr<Packed> Pack(const formats::Checkpoint& checkpoint, ops::Backend& backend) {
  auto packed = std::make_unique<Packed>();
  packed->spec = ReadModelSpec(checkpoint).value();
  const auto tensors = ReadRoles(checkpoint, packed->spec).value();
  EXPECT_TRUE(PackWeights({backend, LoadOptions{}}, tensors, &packed->bound).ok());
  return packed;
}

class LayerRunnerGolden : public testing::TestWithParam<std::string> {};

TEST_P(LayerRunnerGolden, ComputesWhatTheDecoderDoes) {
  const auto checkpoint =
      formats::Checkpoint::Open((fs::path(INGOT_SOURCE_DIR) / "tests/goldens" / GetParam()).string()).value();
  const auto backend = ops::MakeCpuBackend(2);
  const auto packed = Pack(*checkpoint, *backend);
  const ModelSpec& spec = packed->spec;
  Sequence sequence;
  for (int i = 0; i < 90; ++i) sequence.tokens.push_back(static_cast<int32_t>((i * 37 + 5) % spec.vocab_size));

  std::vector<Sequence> whole = {sequence};
  const auto model = Model::Load(checkpoint, {.compute = ops::Compute::kExact}, *backend).value();
  TestRunner(*model, *backend, {.kv = ops::KvFormat::kF16}).Run(&whole);

  LayerRunner runner(spec, {}, *backend);
  HiddenStates hidden = runner.Embed(sequence.tokens, packed->bound.weights.embedding).value();
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    ASSERT_TRUE(runner.Run(layer, packed->bound.weights.layers[static_cast<size_t>(layer)], &hidden).ok());
  }
  std::vector<float> logits;
  ASSERT_TRUE(
      runner.Logits(hidden, {packed->bound.weights.final_norm, packed->bound.weights.output()}, {41, 86}, &logits)
          .ok());
  const auto all = whole[0].logits.begin();
  const std::vector<float> expected(all + 41 * spec.vocab_size, all + 86 * spec.vocab_size);
  ASSERT_EQ(logits.size(), expected.size());
  EXPECT_EQ(std::memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)), 0);
}

// The tap sees what is multiplied: every input of every linear, with the widths of its matrix; what it writes there is
// what is multiplied then.
TEST_P(LayerRunnerGolden, TapsSeeAndChangeTheInputsOfLinears) {
  const auto checkpoint =
      formats::Checkpoint::Open((fs::path(INGOT_SOURCE_DIR) / "tests/goldens" / GetParam()).string()).value();
  const auto backend = ops::MakeCpuBackend(1);
  const auto packed = Pack(*checkpoint, *backend);
  const ModelSpec& spec = packed->spec;
  const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6};
  const auto tokens = std::ssize(ids);
  LayerRunner runner(spec, {}, *backend);
  const HiddenStates before = runner.Embed(ids, packed->bound.weights.embedding).value();

  std::map<LinearInput, int64_t> rows;
  const LinearTap count = [&](LinearInput input, int expert, float*, int64_t n) {
    EXPECT_EQ(expert >= 0, spec.layers[0].moe && (input == LinearInput::kGateUp || input == LinearInput::kDown));
    rows[input] += n;
  };
  HiddenStates counted = before;
  ASSERT_TRUE(runner.Run(0, packed->bound.weights.layers[0], &counted, &count).ok());
  const int64_t through_mlp = tokens * (spec.layers[0].moe ? spec.experts_per_token : 1);
  EXPECT_EQ(rows[LinearInput::kQkv], tokens);
  EXPECT_EQ(rows[LinearInput::kO], tokens);
  EXPECT_EQ(rows[LinearInput::kRouter], spec.layers[0].moe ? tokens : 0);
  EXPECT_EQ(rows[LinearInput::kGateUp], through_mlp);
  EXPECT_EQ(rows[LinearInput::kDown], through_mlp);

  if (spec.o_bias || spec.mlp_bias || spec.post_norms) return;
  const LinearTap silence = [&](LinearInput input, int, float* x, int64_t n) {
    const int64_t inner = spec.layers[0].moe ? spec.moe_intermediate_size : spec.intermediate_size;
    if (input == LinearInput::kO) std::fill_n(x, n * spec.heads().attended(), 0.0f);
    if (input == LinearInput::kDown) std::fill_n(x, n * inner, 0.0f);
  };
  HiddenStates silenced = before;
  ASSERT_TRUE(runner.Run(0, packed->bound.weights.layers[0], &silenced, &silence).ok());
  EXPECT_EQ(silenced, before);
}

std::vector<std::string> Families() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(INGOT_SOURCE_DIR) / "tests/goldens")) {
    if (fs::exists(entry.path() / "config.json")) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, LayerRunnerGolden, testing::ValuesIn(Families()), [](const auto& test) {
  std::string name = test.param;
  for (char& c : name) c = static_cast<char>(std::isalnum(static_cast<unsigned char>(c)) ? c : '_');
  return name;
});

}  // namespace
}  // namespace ingot::models
