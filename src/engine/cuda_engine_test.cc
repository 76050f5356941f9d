// The engine on CUDA, with every format of the KV cache: what a request answers does not depend on its company, the
// chunks of its prompt, what the cache had of it, or preemption.
#include <gtest/gtest.h>

#include <deque>
#include <filesystem>

#include "base/env.h"
#include "engine/test_support.h"
#include "formats/checkpoint.h"
#include "ops/cuda/counting_driver.h"
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

std::unique_ptr<models::Model> LoadLlama(ops::Backend& backend) {
  const auto folder =
      std::filesystem::path(GetEnv("INGOT_SOURCE_DIR").value_or(INGOT_SOURCE_DIR)) / "tests/goldens/llama";
  return models::Model::Load(formats::Checkpoint::Open(folder.string()).value(), {.session_len = 256}, backend).value();
}

// Submits one request a step, and runs until all have ended.
std::deque<Told> RunAll(Core& core, const std::vector<Request>& requests) {
  std::deque<Told> told(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    Request request = requests[i];
    request.on_event = Record(&told[i]);
    EXPECT_TRUE(core.Check(request).ok()) << core.Check(request).ToString();
    core.Add(i, std::move(request), Clock::now());
    core.Step();
  }
  while (core.num_running() + core.num_waiting() > 0) core.Step();
  EXPECT_EQ(InUse(core), 0);
  return told;
}

ExecutorOptions FourSlots(ops::KvFormat format, int32_t num_blocks) {
  return {.max_batch_size = 4,
          .max_prefill_tokens = 41,
          .max_context = 256,
          .block_len = 32,
          .num_blocks = {num_blocks},
          .kv_format = format};
}

class CudaEngine : public testing::TestWithParam<ops::KvFormat> {};

TEST_P(CudaEngine, AnswersInAnyMixAreThoseGivenAlone) {
  const auto backend = ops::MakeTestBackend(DType::kF16, {.schedule = kernels::emulator::Schedule::kRandom});
  const auto model = LoadLlama(*backend);
  std::mt19937_64 random(3);
  const std::vector<Request> requests = Conversations(random, 8);
  std::vector<Told> alone;
  for (const Request& request : requests) alone.push_back(Alone(*model, request, *backend, GetParam()));
  auto core = MakeCore(*model, FourSlots(GetParam(), 8), *backend, Device::kLazy);
  const std::deque<Told> told = RunAll(*core, requests);
  EXPECT_GT(core->stats().preemptions, 0);
  EXPECT_GT(core->stats().prefix_hits, 0);
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_TRUE(told[i] == alone[i]) << "request " << i;
}

// Of three requests some steps decode one, two, or three and one that only fills up the batch. The device runs late, so
// that what is overwritten before it was read shows. After the start nothing is allocated; a step uploads once, and
// what comes back is what was drawn.
TEST_P(CudaEngine, GraphsAnswerAsTheirLaunchesDo) {
  std::mt19937_64 random(5);
  std::vector<Request> requests = Conversations(random, 3);
  for (Request& request : requests) request.max_tokens = 20 + static_cast<int64_t>(&request - requests.data()) * 14;
  std::deque<Told> expected;
  for (const auto graphs : {ops::CudaBackend::Graphs::kOff, ops::CudaBackend::Graphs::kOn}) {
    ops::CudaCounts counts;
    ops::CudaBackend backend(1,
                             std::make_unique<ops::CountingDriver>(ops::OpenTestDriver({.runs_late = true}), &counts),
                             DType::kF16, graphs);
    const auto model = LoadLlama(backend);
    const auto core = MakeCore(*model, FourSlots(GetParam(), 32), backend);
    counts = {};
    const std::deque<Told> told = RunAll(*core, requests);
    EXPECT_EQ(counts.allocations, 0);
    const int64_t steps = core->stats().steps;
    EXPECT_EQ(counts.uploads, steps);
    EXPECT_LE(counts.downloads, steps);
    EXPECT_LE(counts.downloaded_bytes, steps * 4 * static_cast<int64_t>(sizeof(ops::DrawResult)));
    if (graphs == ops::CudaBackend::Graphs::kOff) {
      EXPECT_EQ(counts.graphs, 0);
      expected = told;
      continue;
    }
    EXPECT_EQ(backend.graphs().made(), 3);  // for one, two, and four sequences
    EXPECT_EQ(counts.graphs, backend.graphs().launched());
    EXPECT_GT(counts.graphs, 30);
    for (size_t i = 0; i < requests.size(); ++i) EXPECT_TRUE(told[i] == expected[i]) << "request " << i;
  }
}

class EvenIds final : public sampling::TokenMask {
 public:
  void FillAllowed(std::span<uint32_t> allowed) const override { std::ranges::fill(allowed, 0x55555555U); }
  bool Accept(int32_t id) override { return id % 2 == 0; }
  void Rollback(int) override {}
};

// A grammar's row is drawn by the host, in the same step as others by the device.
TEST(CudaDraws, OfAGrammarComeFromTheHost) {
  ops::CudaCounts counts;
  ops::CudaBackend backend(1, std::make_unique<ops::CountingDriver>(ops::OpenTestDriver({.runs_late = true}), &counts),
                           DType::kF16);
  const auto model = LoadLlama(backend);
  std::vector<Request> requests(2);
  for (Request& request : requests) {
    request.prompt = {7, 8, 9};
    request.max_tokens = 12;
    request.sampling = {.seed = 5, .num_logprobs = 2};
  }
  const auto run = [&] {
    const auto core = MakeCore(*model, FourSlots(ops::KvFormat::kF16, 8), backend);
    return RunAll(*core, requests);
  };
  const std::deque<Told> free = run();
  EXPECT_TRUE(free[0] == free[1]);
  EXPECT_TRUE(std::ranges::any_of(free[0].tokens, [](int32_t id) { return id % 2 != 0; }));
  requests[1].token_mask = std::make_shared<EvenIds>();
  counts = {};
  const std::deque<Told> told = run();
  EXPECT_TRUE(told[0] == free[0]);
  EXPECT_EQ(told[1].tokens.size(), 12u);
  EXPECT_TRUE(std::ranges::all_of(told[1].tokens, [](int32_t id) { return id % 2 == 0; }));
  EXPECT_GE(counts.downloaded_bytes, 12 * kVocab * int64_t{sizeof(float)});  // its rows
}

std::string NameOf(const testing::TestParamInfo<ops::KvFormat>& info) {
  static constexpr const char* kNames[] = {"f16", "bf16", "f32", "i8", "i4"};
  return kNames[static_cast<int>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(Formats, CudaEngine, testing::Values(ops::KvFormat::kI8, ops::KvFormat::kI4), NameOf);

}  // namespace
}  // namespace ingot::engine
