// The engine on CUDA, with every format of the KV cache: what a request answers does not depend on its company, the
// chunks of its prompt, what the cache had of it, or preemption.
#include <gtest/gtest.h>

#include <deque>
#include <filesystem>

#include "base/env.h"
#include "engine/test_support.h"
#include "formats/checkpoint.h"
#include "ops/cuda/test_device.h"

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 96;

std::vector<Request> Conversations(std::mt19937_64& random, size_t count) {
  std::vector<Request> requests;
  while (requests.size() < count) {
    Request request = RandomRequest(random, kVocab, 70);
    request.end_ids.clear();
    request.max_tokens += 40;        // so that some sequence will be preempted
    if (requests.size() % 2 == 1) {  // the same beginning as the one before
      const std::vector<int32_t>& earlier = requests.back().prompt;
      request.prompt.insert(request.prompt.begin(), earlier.begin(), earlier.end());
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

class CudaEngine : public testing::TestWithParam<ops::KvFormat> {};

TEST_P(CudaEngine, AnswersInAnyMixAreThoseGivenAlone) {
  const auto backend = ops::MakeTestBackend(DType::kF16, kernels::emulator::Schedule::kRandom);
  const auto folder =
      std::filesystem::path(GetEnv("INGOT_SOURCE_DIR").value_or(INGOT_SOURCE_DIR)) / "tests/goldens/llama";
  const auto checkpoint = formats::Checkpoint::Open(folder.string()).value();
  const auto model = models::Model::Load(checkpoint, {.session_len = 256}, *backend).value();
  std::mt19937_64 random(3);
  const std::vector<Request> requests = Conversations(random, 8);
  std::vector<Told> alone;
  for (const Request& request : requests) alone.push_back(Alone(*model, request, *backend, GetParam()));
  auto core = MakeCore(*model,
                       {.max_batch_size = 4,
                        .max_prefill_tokens = 41,
                        .max_context = 256,
                        .block_len = 32,
                        .num_blocks = {8},
                        .kv_format = GetParam()},
                       *backend, Device::kLazy);
  std::deque<Told> told(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    Request request = requests[i];
    request.on_event = Record(&told[i]);
    ASSERT_TRUE(core->Check(request).ok()) << core->Check(request).ToString();
    core->Add(i, std::move(request), Clock::now());
    core->Step();
  }
  while (core->num_running() + core->num_waiting() > 0) core->Step();
  EXPECT_EQ(InUse(*core), 0);
  EXPECT_GT(core->stats().preemptions, 0);
  EXPECT_GT(core->stats().prefix_hits, 0);
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_TRUE(told[i] == alone[i]) << "request " << i;
}

std::string NameOf(const testing::TestParamInfo<ops::KvFormat>& info) {
  static constexpr const char* kNames[] = {"f16", "bf16", "f32", "i8", "i4"};
  return kNames[static_cast<int>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(Formats, CudaEngine, testing::Values(ops::KvFormat::kI8, ops::KvFormat::kI4), NameOf);

}  // namespace
}  // namespace ingot::engine
