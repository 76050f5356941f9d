// The table of shapes against what their makers publish, and models of random weights.
#include "models/known_shapes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models/random_checkpoint.h"
#include "models/test_runner.h"

namespace ingot::models {
namespace {

constexpr Format kW4 = {.bits = 4, .group_size = 128, .zero = Format::Zero::kInteger};

// All numbers of a checkpoint.
int64_t CountOf(const formats::Checkpoint& checkpoint) {
  int64_t count = 0;
  for (const formats::TensorEntry* tensor : checkpoint.tensors()) {
    int64_t size = 1;
    for (const int64_t dim : tensor->shape) size *= dim;
    count += size;
  }
  return count;
}

TEST(KnownShapes, HaveTheParametersThatTheirMakersCount) {
  const std::vector<std::pair<const char*, int64_t>> published = {
      {"llama-2-7b", 6'738'415'616},     {"llama-2-70b", 68'976'648'192},  {"llama-3-8b", 8'030'261'248},
      {"llama-3.2-1b", 1'235'814'400},   {"mistral-7b", 7'241'732'096},    {"mixtral-8x7b", 46'702'792'704},
      {"qwen2.5-7b", 7'615'616'512},     {"qwen2.5-0.5b", 494'032'768},    {"qwen3-8b", 8'190'735'360},
      {"qwen3-30b-a3b", 30'532'122'624}, {"gemma-2-9b", 9'241'705'984},    {"gemma-3-1b", 999'885'952},
      {"gemma-3-4b", 3'880'263'168},     {"phi-3-mini", 3'821'079'552},    {"smollm2-135m", 134'515'008},
      {"internlm2-7b", 7'737'708'544},   {"tinyllama-1.1b", 1'100'048'384}};
  for (const auto& [name, count] : published) {
    const auto spec = KnownShape(name);
    ASSERT_TRUE(spec.has_value()) << spec.error().ToString();
    EXPECT_EQ(CountOf(*MakeRandomCheckpoint(*spec, kW4, name)), count) << name;
  }
}

TEST(KnownShapes, AllMakeModels) {
  const auto backend = ops::MakeCpuBackend(1);
  for (const std::string& name : KnownShapeNames()) {
    const auto spec = KnownShape(name);
    ASSERT_TRUE(spec.has_value()) << spec.error().ToString();
    const auto model = Model::Load(MakeRandomCheckpoint(*spec, kW4, name), *spec, {.outline = true}, *backend);
    ASSERT_TRUE(model.has_value()) << model.error().ToString();
    EXPECT_GT((*model)->weight_bytes(), 0);
  }
}

TEST(KnownShapes, AreFoundHoweverTheyAreWritten) {
  EXPECT_EQ(KnownShape("Llama2_7B")->num_layers, 32);
  EXPECT_EQ(KnownShape("QWEN2.5-7B")->hidden_size, 3584);
  EXPECT_EQ(KnownShape("mistral-7b")->layers[0].window, 4096);
  const auto missing = KnownShape("qwen3-7b");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code(), Code::kNotFound);
  EXPECT_THAT(missing.error().message(), testing::HasSubstr("qwen3-8b"));
  EXPECT_THAT(missing.error().message(), testing::Not(testing::HasSubstr("llama")));
  EXPECT_THAT(KnownShape("x").error().message(), testing::HasSubstr("llama-2-7b"));
  EXPECT_FALSE(ReadConfigSpec("{}", "config.json").has_value());
}

// One of each way of naming and fusing, small.
std::vector<std::string> SmallConfigs() {
  const std::string sizes =
      R"("vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":3,"num_attention_heads":4,
         "num_key_value_heads":2,"head_dim":16,"max_position_embeddings":256,)";
  return {
      "{" + sizes + R"("model_type":"llama","attention_bias":true,"mlp_bias":true})",
      "{" + sizes + R"("model_type":"internlm2","bias":false})",
      "{" + sizes + R"("model_type":"gemma3_text","sliding_window":32,"sliding_window_pattern":2})",
      "{" + sizes + R"("model_type":"mixtral","num_local_experts":4,"num_experts_per_tok":2})",
      "{" + sizes + R"("model_type":"qwen3_moe","num_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":32})"};
}

TEST(RandomCheckpoint, RunsInEveryFormat) {
  const auto backend = ops::MakeCpuBackend(2);
  for (const std::string& config : SmallConfigs()) {
    const ModelSpec spec = ReadConfigSpec(config, "config.json").value();
    for (const Format& format : {Format::Dense(DType::kF16), kW4, Format{.bits = 8, .scale = Format::Scale::kF32}}) {
      const auto checkpoint = MakeRandomCheckpoint(spec, format, "small");
      const auto model = Model::Load(checkpoint, spec, {}, *backend);
      ASSERT_TRUE(model.has_value()) << model.error().ToString();
      std::vector<Sequence> sequences = {{.tokens = {1, 2, 3, 4, 5}}};
      TestRunner(**model, *backend, {}).Run(&sequences);
      double squares = 0;
      for (const float logit : sequences[0].logits) squares += double{logit} * double{logit};
      const double rms = std::sqrt(squares / static_cast<double>(sequences[0].logits.size()));
      EXPECT_TRUE(rms > 0.1 && rms < 30.0) << rms << " " << config;
    }
  }
}

TEST(RandomCheckpoint, AnOutlineIsAsLargeAsTheModel) {
  const auto backend = ops::MakeCpuBackend(2);
  for (const std::string& config : SmallConfigs()) {
    const ModelSpec spec = ReadConfigSpec(config, "config.json").value();
    const auto checkpoint = MakeRandomCheckpoint(spec, kW4, "small");
    const auto model = Model::Load(checkpoint, spec, {}, *backend).value();
    const auto outline = Model::Load(checkpoint, spec, {.outline = true}, *backend).value();
    EXPECT_EQ(outline->weight_bytes(), model->weight_bytes());
    const ForwardLimits limits{.step = {.max_tokens = 40, .max_seqs = 3, .max_context = 200}, .max_logits = 40};
    EXPECT_EQ(outline->ScratchBytes(*backend, limits), model->ScratchBytes(*backend, limits));
  }
}

}  // namespace
}  // namespace ingot::models
