// The seam to a device: a request runs from prompt to last token on a backend whose memory the host cannot touch.
#include "ops/null_backend.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "engine/test_support.h"
#include "formats/checkpoint.h"

namespace ingot::engine {
namespace {

struct Case {
  const char* golden;
  ops::KvFormat format;
  std::vector<std::string> layer;  // ops of one layer, in order
};

const std::vector<std::string> kDense = {"RmsNorm",    "Linear", "RopeKvWrite", "Attention", "Linear",
                                         "AddRmsNorm", "Linear", "ActMul",      "Linear",    "Add"};
const std::vector<std::string> kSparse = {"RmsNorm",    "Linear",       "RopeKvWrite",    "Attention",  "Linear",
                                          "AddRmsNorm", "Linear",       "Route",          "GatherRows", "ExpertLinear",
                                          "ActMul",     "ExpertLinear", "CombineExperts", "Add"};

class NullBackendTest : public testing::TestWithParam<Case> {};

TEST_P(NullBackendTest, RunsPrefillAndDecodeWithoutALookIntoDeviceMemory) {
  const Case& c = GetParam();
  const auto path = std::filesystem::path(INGOT_SOURCE_DIR) / "tests/goldens" / c.golden;
  const auto checkpoint = formats::Checkpoint::Open(path.string()).value();
  ops::NullBackend backend;
  const auto model = models::Model::Load(checkpoint, {}, backend).value();
  const auto core = MakeCore(*model,
                             {.max_batch_size = 2,
                              .max_prefill_tokens = 40,
                              .max_context = 128,
                              .block_len = 32,
                              .num_blocks = std::vector<int32_t>(model->kv_groups().size(), 8),
                              .kv_format = c.format},
                             backend);
  backend.calls.clear();
  backend.uploads = 0;
  const int64_t allocations = backend.allocations;
  Told told;
  Request request;
  for (int32_t i = 0; i < 70; ++i) request.prompt.push_back(i % 50);  // in two chunks
  request.max_tokens = 3;
  request.on_event = Record(&told);
  core->Add(1, std::move(request), Clock::now());
  int steps = 0;
  while (core->Step()) ++steps;
  EXPECT_EQ(told.tokens.size(), 3u);
  EXPECT_EQ(steps, 4);  // two chunks, the second of which draws, and two tokens
  EXPECT_EQ(backend.allocations, allocations);
  // A step uploads its batch and, where it draws, the drawn tokens of all slots.
  EXPECT_EQ(backend.uploads, 4 + 3);

  std::vector<std::string> want = {"BeginStep"};
  want.insert(want.end(), model->spec().ropes.size(), "RopeAngles");
  want.emplace_back("Embed");
  for (int i = 0; i < model->spec().num_layers; ++i) want.insert(want.end(), c.layer.begin(), c.layer.end());
  EXPECT_TRUE(std::equal(want.begin(), want.end(), backend.calls.begin()));
  for (const char* op : {"GatherRows", "RmsNorm", "Linear"}) want.emplace_back(op);  // the logits
  EXPECT_TRUE(std::equal(want.rbegin(), want.rend(), backend.calls.rbegin()));
}

INSTANTIATE_TEST_SUITE_P(Models, NullBackendTest,
                         testing::Values(Case{"llama", ops::KvFormat::kF16, kDense},
                                         Case{"llama", ops::KvFormat::kI4, kDense},
                                         Case{"mixtral", ops::KvFormat::kF16, kSparse}),
                         [](const auto& test) {
                           return test.param.golden + std::string(test.param.format == ops::KvFormat::kI4 ? "I4" : "");
                         });

}  // namespace
}  // namespace ingot::engine
