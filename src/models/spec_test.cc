#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "base/json.h"
#include "models/model.h"
#include "models/roles.h"
#include "models/spec_internal.h"

namespace ingot::models {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const fs::path kGoldens = fs::path(INGOT_SOURCE_DIR) / "tests" / "goldens";

Result<ModelSpec> Read(const std::string& json) { return ReadHuggingFaceSpec(ParseJson(json, "test").value()); }

LayerSpec Heads(int num_heads, int num_kv_heads, int head_dim, int window = 0, int rope = 0) {
  return {.num_heads = num_heads,
          .num_kv_heads = num_kv_heads,
          .head_dim = head_dim,
          .value_head_dim = head_dim,
          .window = window,
          .rope = rope};
}

std::string Llama(const std::string& more) {
  return R"({"model_type": "llama", "vocab_size": 100, "hidden_size": 48, "intermediate_size": 64,
             "num_hidden_layers": 2, "num_attention_heads": 6, "max_position_embeddings": 64)" +
         (more.empty() ? "" : ", " + more) + "}";
}

std::string MessageOf(const Result<ModelSpec>& spec) { return spec ? "no error" : spec.error().ToString(); }

TEST(Spec, ReadsDefaultsThatAConfigurationLeavesOut) {
  const auto spec = Read(Llama(""));
  ASSERT_TRUE(spec) << MessageOf(spec);
  EXPECT_EQ(spec->rotary_dim, 8);
  EXPECT_FALSE(spec->tied_embeddings);
  EXPECT_FLOAT_EQ(spec->attention_scale, 1.0f / std::sqrt(8.0f));
  EXPECT_EQ(spec->layers, std::vector<LayerSpec>(2, Heads(6, 6, 8)));
}

TEST(Spec, Gemma3TextConfigMayBeAlmostEmpty) {
  const auto spec = Read(R"({"model_type": "gemma3", "torch_dtype": "bfloat16", "text_config": {"hidden_size": 2560,
      "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
      "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}})");
  ASSERT_TRUE(spec) << MessageOf(spec);
  EXPECT_EQ(spec->heads().num_heads, 8);
  EXPECT_EQ(spec->heads().num_kv_heads, 4);
  EXPECT_EQ(spec->heads().head_dim, 256);
  EXPECT_EQ(spec->vocab_size, 262208);
  EXPECT_EQ(spec->embedding_scale, 50.5f);  // sqrt(2560) = 50.596 in bfloat16
  ASSERT_EQ(spec->ropes.size(), 2u);
  EXPECT_EQ(spec->ropes[0].kind, RopeSpec::Kind::kLinear);
  EXPECT_EQ(spec->ropes[0].theta, 1e6);
  EXPECT_EQ(spec->ropes[1].kind, RopeSpec::Kind::kDefault);
  EXPECT_EQ(spec->ropes[1].theta, 1e4);
  EXPECT_EQ(spec->layers[4], Heads(8, 4, 256, 1024, 1));
  EXPECT_EQ(spec->layers[5], Heads(8, 4, 256));
}

TEST(Spec, ErrorsNameKeyValueAndRange) {
  const auto expect = [](const std::string& more, auto matcher) {
    EXPECT_THAT(MessageOf(Read(Llama(more))), matcher) << more;
  };
  expect(R"("num_key_value_heads": 4)", HasSubstr("num_attention_heads 6 is not a multiple of num_key_value_heads 4"));
  expect(R"("num_key_value_heads": 0)", HasSubstr("num_key_value_heads 0 is outside 1…4096"));
  expect(R"("head_dim": 7)", HasSubstr("head_dim 7 is odd"));
  expect(R"("head_dim": 1000000000000)", HasSubstr("head_dim 1000000000000 is outside 2…1024"));
  expect(R"("rope_theta": -1)", HasSubstr("rope_theta -1 is outside"));
  expect(R"("rope_theta": 1)", HasSubstr("rope_theta 1 is not above 1"));
  expect(R"("rope_scaling": {"type": "linear", "factor": 0})", HasSubstr("factor 0 is outside"));
  expect(R"("rope_scaling": {"type": "spiral", "factor": 2})", AllOf(HasSubstr("spiral"), HasSubstr("longrope")));
  expect(R"("rope_scaling": {"type": "linear"})", HasSubstr("factor"));
  expect(R"("rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]})", HasSubstr("1 factors"));
  expect(R"("hidden_act": "relu2")", AllOf(HasSubstr("unsupported"), HasSubstr("relu2")));
  expect(R"("layer_types": ["full_attention"])", HasSubstr("layer_types has 1 entries, num_hidden_layers is 2"));
  expect(R"("layer_types": ["full_attention", "mamba"])", HasSubstr("mamba"));
}

TEST(Spec, UnknownArchitecturesAreNamedWithThoseThatAreKnown) {
  EXPECT_THAT(MessageOf(Read(R"({"model_type": "mamba"})")),
              AllOf(HasSubstr("unsupported"), HasSubstr("mamba"), HasSubstr("qwen3_moe")));
  const boost::json::value metadata = {{"general.architecture", "rwkv6"}};
  EXPECT_THAT(MessageOf(ReadGgufSpec(metadata, {})),
              AllOf(HasSubstr("unsupported"), HasSubstr("rwkv6"), HasSubstr("qwen3moe")));
}

TEST(Spec, Qwen2SlidesOnlyWhenEnabledAndOnlyAboveTheFirstLayers) {
  const auto read = [](const std::string& more) {
    return Read(R"({"model_type": "qwen2", "vocab_size": 100, "hidden_size": 48, "intermediate_size": 64,
      "num_hidden_layers": 3, "num_attention_heads": 6, "max_position_embeddings": 64, "sliding_window": 9)" +
                more + "}");
  };
  const auto full = read(R"(, "use_sliding_window": false)");
  ASSERT_TRUE(full) << MessageOf(full);
  for (const LayerSpec& layer : full->layers) EXPECT_EQ(layer.window, 0);
  const auto spec = read(R"(, "use_sliding_window": true, "max_window_layers": 2)");
  EXPECT_EQ(spec->layers[1].window, 0);
  EXPECT_EQ(spec->layers[2].window, 9);
  EXPECT_TRUE(spec->qkv_bias);
  EXPECT_FALSE(spec->o_bias);
}

TEST(Spec, MistralWindowMayBeNullOrLeftOut) {
  const auto read = [](const std::string& more) {
    return Read(R"({"model_type": "mistral", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 64,
      "num_hidden_layers": 1, "num_attention_heads": 8, "max_position_embeddings": 64)" +
                more + "}");
  };
  EXPECT_EQ(read("")->layers[0].window, 4096);
  EXPECT_EQ(read(R"(, "sliding_window": null)")->layers[0].window, 0);
  EXPECT_EQ(read(R"(, "sliding_window": 5)")->layers[0].window, 5);
}

// A configuration with members dropped, retyped or set to odd numbers is an error or a spec that holds together.
TEST(Spec, DamagedConfigurationsAreErrors) {
  std::mt19937 random(1);
  int errors = 0;
  const std::vector<boost::json::value> odd = {
      nullptr,          -1,    0,  1, 7, 1e300, -0.5, "x", true, boost::json::array(), boost::json::object(),
      int64_t{1} << 62, 65536, 3.5};
  for (const auto& entry : fs::directory_iterator(kGoldens)) {
    std::ifstream file(entry.path() / "config.json");
    if (!file) continue;
    std::ostringstream text;
    text << file.rdbuf();
    const boost::json::value original = ParseJson(text.str(), "config.json").value();
    for (int i = 0; i < 300; ++i) {
      boost::json::value config = original;
      boost::json::object* object = &config.as_object();
      if (auto* inner = object->if_contains("rope_parameters"); inner && inner->is_object() && random() % 3 == 0) {
        object = &inner->as_object();
      }
      auto member = object->begin() + static_cast<ptrdiff_t>(random() % object->size());
      member->value() = odd[random() % odd.size()];
      const auto spec = ReadHuggingFaceSpec(config);
      errors += spec ? 0 : 1;
      if (spec) EXPECT_TRUE(CheckSpec(*spec).ok());
    }
  }
  EXPECT_GT(errors, 500);
}

// Copies a golden, changes its configuration, and returns what loading says.
std::string LoadChanged(const std::string& golden, const std::string& key, const boost::json::value& value) {
  const fs::path folder = fs::path(testing::TempDir()) / ("ingot_models_" + golden + "_" + key);
  fs::remove_all(folder);
  fs::copy(kGoldens / golden, folder);
  std::ostringstream text;
  text << std::ifstream(folder / "config.json").rdbuf();
  boost::json::value config = ParseJson(text.str(), "config.json").value();
  config.as_object()[key] = value;
  std::ofstream(folder / "config.json") << boost::json::serialize(config);
  const auto backend = ops::MakeCpuBackend(1);
  auto checkpoint = formats::Checkpoint::Open(folder.string());
  if (!checkpoint) return checkpoint.error().ToString();
  const auto model = Model::Load(*checkpoint, {}, *backend);
  fs::remove_all(folder);
  return model ? "no error" : model.error().ToString();
}

TEST(Load, TensorsThatDoNotFitTheConfigurationAreNamedWithBothShapes) {
  EXPECT_EQ(LoadChanged("llama", "max_position_embeddings", 128), "no error");
  EXPECT_THAT(LoadChanged("llama", "intermediate_size", 80),
              AllOf(HasSubstr("mlp.gate_proj.weight is [72, 48]"), HasSubstr("asks for [80, 48]")));
  EXPECT_THAT(LoadChanged("llama", "num_hidden_layers", 3),
              AllOf(HasSubstr("layers.2.input_layernorm.weight is missing"), HasSubstr("[48]")));
  EXPECT_THAT(LoadChanged("llama", "num_hidden_layers", 1),
              AllOf(HasSubstr("9 tensors are no part"), HasSubstr("model.layers.1.")));
  EXPECT_THAT(LoadChanged("llama", "attention_bias", true), HasSubstr("q_proj.bias is missing"));
  EXPECT_THAT(LoadChanged("llama", "vocab_size", 16000000), HasSubstr("embed_tokens.weight is [96, 48]"));
  EXPECT_THAT(LoadChanged("llama", "model_type", "gemma2"), HasSubstr("pre_feedforward_layernorm"));
  EXPECT_THAT(LoadChanged("llama", "model_type", "internlm2"), HasSubstr("looked for model.tok_embeddings.weight"));
}

TEST(RowOrder, PairsOfNeighboursBecomeHalves) {
  // A head of 6 dimensions of which 4 rotate: stored (a0 b0 a1 b1 p q), used (a0 a1 b0 b1 p q).
  EXPECT_EQ(SplitHalvesRows(2, 6, 4), (std::vector<int32_t>{0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11}));
}

TEST(RowOrder, GroupsOfInternLm2BecomeQKV) {
  // Two KV heads with two query heads each, head_dim 1: stored q q k v q q k v.
  EXPECT_EQ(UngroupedQkvRows({.num_heads = 4, .num_kv_heads = 2, .head_dim = 1}),
            (std::vector<int32_t>{0, 1, 4, 5, 2, 6, 3, 7}));
}

// What the layers of a model are made of, and what is refused until a kernel computes it.
ModelSpec TwoLayers() {
  ModelSpec spec{.family = "llama", .hidden_size = 32, .num_layers = 2, .rotary_dim = 8};
  spec.ropes.resize(1);
  spec.layers.assign(2, {.num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .value_head_dim = 8});
  return spec;
}

TEST(LayerSpec, WhatNoKernelComputesIsRefusedByItsName) {
  const auto error = [](const std::function<void(LayerSpec*)>& change) {
    ModelSpec spec = TwoLayers();
    change(&spec.layers[1]);
    return CheckSpec(spec).ToString();
  };
  EXPECT_EQ(error([](LayerSpec*) {}), "ok");
  EXPECT_THAT(error([](LayerSpec* layer) { layer->attention = LayerSpec::Attention::kLatent; }),
              HasSubstr("unsupported: latent attention (MLA)"));
  EXPECT_THAT(error([](LayerSpec* layer) { layer->attention = LayerSpec::Attention::kLinear; }),
              HasSubstr("unsupported: linear attention"));
  EXPECT_THAT(error([](LayerSpec* layer) { layer->sinks = true; }), HasSubstr("unsupported: attention sinks"));
  EXPECT_THAT(error([](LayerSpec* layer) { layer->value_head_dim = 4; }),
              HasSubstr("heads of 8 numbers for keys and 4 for values"));
  EXPECT_THAT(error([](LayerSpec* layer) { layer->num_kv_heads = 4; }),
              HasSubstr("layer 1 has 4 heads / 4 KV heads of 8, others 4 / 2 of 8"));
}

TEST(LayerSpec, RolesAndCacheFollowFromEachLayer) {
  ModelSpec spec = TwoLayers();
  using Size = std::pair<int64_t, int64_t>;
  spec.layers[1] = {.num_heads = 6, .num_kv_heads = 3, .head_dim = 16, .value_head_dim = 4};
  const auto size = [&](int layer, Role role) {
    const auto roles = RolesOf(spec, layer);
    const RoleSize found = *std::ranges::find(roles, role, &RoleSize::role);
    return Size(found.rows, found.cols);
  };
  EXPECT_EQ(size(0, Role::kQ), Size(32, 32));
  EXPECT_EQ(size(1, Role::kQ), Size(96, 32));
  EXPECT_EQ(size(1, Role::kK), Size(48, 32));
  EXPECT_EQ(size(1, Role::kV), Size(12, 32));
  EXPECT_EQ(size(1, Role::kO), Size(32, 24));
  spec.layers.push_back(spec.layers[0]);
  spec.layers.push_back(spec.layers[0]);
  spec.layers[3].window = 7;
  spec.num_layers = 4;
  EXPECT_EQ(KvGroupsOf(spec), (std::vector<KvGroup>{{0, 2, 8, 8, {0, 2}}, {0, 3, 16, 4, {1}}, {7, 2, 8, 8, {3}}}));
}

TEST(LayerSpec, LayersWithStatesOfOneSizeShareAGroup) {
  ModelSpec spec = TwoLayers();
  LayerSpec linear{.attention = LayerSpec::Attention::kLinear,
                   .num_heads = 6,
                   .num_kv_heads = 3,
                   .head_dim = 16,
                   .value_head_dim = 8};
  EXPECT_EQ(linear.state_bytes(), 4 * 6 * 16 * 8);
  linear.conv_kernel = 4;
  EXPECT_EQ(linear.state_bytes(), 4 * (6 * 16 * 8 + 3 * (6 * 16 + 3 * 16 + 3 * 8)));
  EXPECT_EQ(spec.layers[0].state_bytes(), 0);
  spec.layers = {linear, spec.layers[0], linear};
  spec.num_layers = 3;
  const std::vector<KvGroup> groups = KvGroupsOf(spec);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0], (KvGroup{.layers = {0, 2}, .state_bytes = linear.state_bytes()}));
  EXPECT_EQ(groups[1], (KvGroup{0, 2, 8, 8, {1}}));
  EXPECT_EQ(CheckSpec(spec).message(), "linear attention is not supported");
}

}  // namespace
}  // namespace ingot::models
