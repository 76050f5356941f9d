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
  const auto backend = ops::MakeCpuBackend(1);
  const CheckpointNames names = ChooseNames(*checkpoint, spec).value();
  const LayerWeights weights = PackLayer(*backend, ReadLayerRoles(*checkpoint, spec, names, 0).value()).value();
  HiddenStates hidden(2 * 32, 0.25f);
  ASSERT_TRUE(LayerRunner(spec, {}, *backend).Run(0, weights, &hidden).ok());
  const double share = 1 / (1 + std::exp(-0.5));  // of expert 2
  for (const float value : hidden) EXPECT_TRUE(std::abs(value - (0.25 + 1 * (1 - share) + 3 * share)) <= 1e-5) << value;
}

std::string Logged(const std::function<void()>& run) {
  testing::internal::CaptureStderr();
  run();
  return testing::internal::GetCapturedStderr();
}

TEST(Roles, ScalesOfAQuantizedCacheAreNotNeeded) {
  const ModelSpec spec = SmallSpec();
  const auto checkpoint = RandomInMemory(spec);
  for (const char* name : {"self_attn.k_scale", "self_attn.v_scale"}) {
    checkpoint->Add(std::string("model.layers.1.") + name, {1}, {0.25f});
  }
  const std::string said = Logged([&] { EXPECT_TRUE(ReadRoles(*checkpoint, spec)); });
  EXPECT_THAT(said,
              HasSubstr("2 scales of a quantized KV cache are not used (model.layers.1.self_attn.k_scale [1], …)"));
  checkpoint->Add("model.layers.1.self_attn.k_bias", {1}, {0.25f});
  EXPECT_FALSE(ReadRoles(*checkpoint, spec));
}

// Its configuration says that the head is the embedding.
TEST(Roles, AHeadOfItsOwnIsUsedThoughTheConfigurationSaysTied) {
  const auto checkpoint = RandomInMemory(SmallSpec());
  checkpoint->SetConfig(
      R"({"model_type":"llama","vocab_size":64,"hidden_size":32,"intermediate_size":64,"num_hidden_layers":2,)"
      R"("num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64,"tie_word_embeddings":true})");
  const auto is_tied = [&] { return ReadModelSpec(*checkpoint).value().tied_embeddings; };
  std::string said = Logged([&] { EXPECT_FALSE(is_tied()); });
  EXPECT_THAT(said, HasSubstr("tie_word_embeddings is true, but lm_head.weight is not the embedding"));
  const auto tensors = ReadRoles(*checkpoint, ReadModelSpec(*checkpoint).value()).value();
  EXPECT_EQ(Dense(tensors.back()), checkpoint->Floats("lm_head.weight").value());
  // A copy of the embedding, or none, is tied.
  checkpoint->Add("lm_head.weight", {64, 32}, checkpoint->Floats("model.embed_tokens.weight").value());
  EXPECT_EQ(Logged([&] { EXPECT_TRUE(is_tied()); }), "");
  checkpoint->Remove("lm_head.weight");
  EXPECT_EQ(Logged([&] { EXPECT_TRUE(is_tied()); }), "");
}

// All prompts take the table of the session's length.
TEST(Roles, LongRopeSaysWhichFactorsItTakes) {
  ModelSpec spec = SmallSpec();
  spec.ropes[0] = {.kind = RopeSpec::Kind::kLongRope,
                   .original_max_position = 24,
                   .short_factor = {1, 1, 1, 1},
                   .long_factor = {2, 2, 2, 2}};
  const auto backend = ops::MakeCpuBackend(1);
  const auto load = [&](int64_t session_len) {
    return Logged([&] {
      EXPECT_TRUE(Model::Load(RandomInMemory(spec), spec, {.session_len = session_len, .outline = true}, *backend));
    });
  };
  EXPECT_THAT(load(0), HasSubstr("sessions of 64 tokens take the factors for more than 24, in short prompts too; "
                                 "--session-len 24 takes the factors for short ones"));
  EXPECT_EQ(load(24), "");
  spec.ropes[0].long_factor = spec.ropes[0].short_factor;  // of Llama 3.1's GGUF files
  EXPECT_EQ(load(0), "");
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
