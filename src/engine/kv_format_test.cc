// The engine on real models of a few thousand weights, with every format of the KV cache: what a request answers does
// not depend on its company, the chunks of its prompt, what the cache had of it, preemption, or who had its slot
// before.
#include <gtest/gtest.h>

#include <deque>
#include <filesystem>

#include "base/env.h"
#include "engine/test_support.h"
#include "formats/checkpoint.h"

namespace ingot::engine {
namespace {

constexpr int64_t kVocab = 96;

struct Case {
  const char* golden;
  ops::KvFormat format;
};
std::string NameOf(const testing::TestParamInfo<Case>& info) {
  static constexpr const char* kFormats[] = {"f16", "bf16", "f32", "i8", "i4"};
  return std::string(info.param.golden) + "_" + kFormats[static_cast<int>(info.param.format)];
}

class KvFormatTest : public testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<models::Model> Load(ops::Backend& backend) const {
    const auto folder = std::filesystem::path(INGOT_SOURCE_DIR) / "tests" / "goldens" / GetParam().golden;
    auto checkpoint = formats::Checkpoint::Open(folder.string());
    INGOT_CHECK(checkpoint.has_value());
    auto model = models::Model::Load(*checkpoint, {.session_len = 400}, backend);
    INGOT_CHECK(model.has_value() && (*model)->spec().vocab_size == kVocab);
    return *std::move(model);
  }
};

std::vector<Request> Conversations(std::mt19937_64& random, size_t count) {
  std::vector<Request> requests;
  while (requests.size() < count) {
    Request request = RandomRequest(random, kVocab, 90);
    request.max_tokens *= 3;
    if (random() % 2 == 0) request.end_ids.clear();  // long answers: some sequence will be preempted
    if (random() % 3 > 0 && !requests.empty()) {
      const std::vector<int32_t>& earlier = requests[random() % requests.size()].prompt;
      request.prompt.insert(request.prompt.begin(), earlier.begin(), earlier.begin() + std::ssize(earlier) / 2);
    }
    if (request.prompt.size() <= 200) requests.push_back(std::move(request));
  }
  return requests;
}

TEST_P(KvFormatTest, AnswersInAnyMixAreThoseGivenAlone) {
  const auto backend = ops::MakeCpuBackend(2);
  const auto model = Load(*backend);
  std::mt19937_64 random(3);
  const std::vector<Request> requests = Conversations(random, GetEnv("INGOT_NIGHTLY") ? 1200 : 60);
  std::vector<Told> alone;
  for (const Request& request : requests) alone.push_back(Alone(*model, request, *backend, GetParam().format));
  int64_t preemptions = 0, hits = 0, drafts = 0, accepted_drafts = 0;
  for (const int64_t max_prefill_tokens : {200, 21}) {
    const int block_len = max_prefill_tokens == 21 ? 32 : 64;
    auto core = MakeCore(*model,
                         {.max_batch_size = 8,
                          .max_prefill_tokens = max_prefill_tokens,
                          .max_context = 400,
                          .max_drafts = max_prefill_tokens == 21 ? 0 : 4,
                          .block_len = block_len,
                          .num_blocks = std::vector<int32_t>(model->kv_groups().size(), 384 / block_len),
                          .kv_format = GetParam().format},
                         *backend, max_prefill_tokens == 21 ? Device::kLazy : Device::kInline,
                         std::make_unique<OracleDrafter>(requests, alone, /*wrong_of=*/3));
    std::deque<Told> told(requests.size());
    size_t added = 0;
    while (added < requests.size() || core->num_running() + core->num_waiting() > 0) {
      for (uint64_t n = random() % 3; n > 0 && added < requests.size(); --n, ++added) {
        Request request = requests[added];
        request.on_event = Record(&told[added]);
        ASSERT_TRUE(core->Check(request).ok()) << core->Check(request).ToString();
        core->Add(added, std::move(request), Clock::now());
      }
      // Some go away in the middle and leave their slots as they are.
      if (added > 0 && random() % 12 == 0) core->Cancel(random() % added / 5 * 5);
      core->Step();
    }
    EXPECT_EQ(InUse(*core), 0);
    preemptions += core->stats().preemptions;
    hits += core->stats().prefix_hits;
    drafts += core->stats().draft_tokens;
    accepted_drafts += core->stats().accepted_draft_tokens;
    for (size_t i = 0; i < requests.size(); ++i) {
      if (told[i].finish == FinishReason::kCancelled) continue;
      EXPECT_TRUE(told[i] == alone[i]) << "request " << i << ", chunks of " << max_prefill_tokens;
    }
  }
  EXPECT_GT(preemptions, 0);
  EXPECT_GT(hits, 0);
  EXPECT_GT(accepted_drafts, 100);
  EXPECT_GT(drafts - accepted_drafts, 100);
}

INSTANTIATE_TEST_SUITE_P(Models, KvFormatTest,
                         testing::Values(Case{"llama", ops::KvFormat::kF16}, Case{"llama", ops::KvFormat::kBF16},
                                         Case{"llama", ops::KvFormat::kI8}, Case{"llama", ops::KvFormat::kI4},
                                         Case{"gemma3", ops::KvFormat::kI8}, Case{"gemma3", ops::KvFormat::kI4},
                                         Case{"qwen2_window", ops::KvFormat::kI4}),
                         NameOf);

}  // namespace
}  // namespace ingot::engine
