// What a CUDA device draws is what the host's sampler draws from the same logits, to the bit of a logprob.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "ops/cuda/test_device.h"
#include "ops/transformer.h"
#include "sampling/device_draw.h"

namespace ingot::sampling {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Draw {
  Params params;
  std::vector<int32_t> prompt, answer;  // for the penalties
  std::vector<LogitBias> bias;
  std::vector<int32_t> masked;
  uint64_t position = 0;
};
struct Drawn {
  Outcome outcome;
  Sampled token;
};

void ExpectSame(const Drawn& got, const Drawn& want) {
  ASSERT_EQ(got.outcome, want.outcome);
  if (want.outcome != Outcome::kOk) return;
  EXPECT_EQ(got.token.id, want.token.id);
  EXPECT_EQ(got.token.logprob, want.token.logprob);
  ASSERT_EQ(got.token.num_top, want.token.num_top);
  for (size_t i = 0; i < static_cast<size_t>(want.token.num_top); ++i) {
    EXPECT_EQ(got.token.top[i].id, want.token.top[i].id) << i;
    EXPECT_EQ(got.token.top[i].value, want.token.top[i].value) << i;
  }
}

// A batch of one token, and draws from as many rows of logits as are given.
class CudaSampling : public testing::Test {
 protected:
  std::vector<ops::DrawResult> Run(const std::vector<std::vector<float>>& rows, std::span<const ops::DrawRow> draws,
                                   std::span<const ops::LogitEdit> edits) {
    std::vector<float> all;
    for (const std::vector<float>& row : rows) all.insert(all.end(), row.begin(), row.end());
    const Shape shape{std::ssize(rows), std::ssize(rows[0])};
    const Tensor logits = ops::Put(*backend_, DType::kF32, shape, all);
    const ops::KvLayout layout =
        backend_->LayoutOf({.num_layers = 1, .num_heads = 1, .num_kv_heads = 1, .head_dim = 8});
    ops::KvView kv{.layout = layout, .num_blocks = 1};
    const std::vector<int32_t> zero = {0}, cu_seqlens = {0, 1};
    const ops::KvGroupBatch group{.block_tables = zero, .block_table_stride = 1, .kv_slots = zero};
    const ops::StepBatch batch{.token_ids = zero,
                               .positions = zero,
                               .cu_seqlens = cu_seqlens,
                               .groups = {&group, 1},
                               .logits_rows = zero,
                               .max_context = 1,
                               .draws = draws,
                               .edits = edits};
    const ops::StepLimits limits{.max_draws = std::ssize(draws)};
    ops::Scratch scratch = ops::Scratch::Allocate(*backend_, backend_->StepBytes(limits, {&layout, 1})).value();
    const ops::Context context{.backend = backend_.get(), .scratch = &scratch, .compute = ops::Compute::kFast};
    ops::BeginStep(context, batch, {&kv, 1});
    const auto bytes = std::ssize(draws) * static_cast<int64_t>(sizeof(ops::DrawResult));
    const Buffer results = backend_->Allocate(bytes).value();
    drawn_tokens_ = ops::PutIds(*backend_, {std::ssize(draws)}, std::vector<int32_t>(draws.size(), -7));
    backend_->Draw(context, {.logits = logits.view(), .drawn_tokens = drawn_tokens_.view(), .results = results.data()});
    std::vector<ops::DrawResult> out(draws.size());
    backend_->Download(out.data(), results.data(), bytes);
    return out;
  }

  // Each draw from its own row, all at once, and on the host.
  void Compare(const std::vector<std::vector<float>>& rows, const std::vector<Draw>& draws) {
    const auto vocab_size = std::ssize(rows[0]);
    std::vector<ops::DrawRow> told(rows.size());
    std::vector<ops::LogitEdit> edits;
    std::vector<Drawn> want;
    Workspace workspace(vocab_size);
    for (size_t i = 0; i < rows.size(); ++i) {
      const Draw& draw = draws[i];
      History history(draw.prompt, std::ssize(draw.answer));
      for (const int32_t id : draw.answer) history.AddAnswerToken(id);
      const SampleInputs inputs{.params = &draw.params,
                                .history = draw.params.penalizes() ? &history : nullptr,
                                .bias = draw.bias,
                                .masked = draw.masked,
                                .position = draw.position};
      told[i].row = told[i].slot = static_cast<int32_t>(i);
      ASSERT_TRUE(DescribeDraw(inputs, vocab_size, &edits, &told[i]));
      std::vector<float> logits = rows[i];
      Drawn& expected = want.emplace_back();
      expected.outcome = Sample(logits, inputs, workspace, &expected.token);
    }
    const std::vector<ops::DrawResult> results = Run(rows, told, edits);
    const std::vector<int32_t> drawn = ops::GetIds(*backend_, drawn_tokens_.view());
    for (size_t i = 0; i < rows.size(); ++i) {
      SCOPED_TRACE(i);
      Drawn got{};
      got.outcome = ReadDraw(results[i], &got.token);
      ExpectSame(got, want[i]);
      if (got.outcome == Outcome::kOk && draws[i].params.num_logprobs >= 0) {
        EXPECT_EQ(results[i].sum, SumOfExps(rows[i], results[i].max));
      }
      EXPECT_EQ(drawn[i], want[i].outcome == Outcome::kOk ? want[i].token.id : -7);
    }
  }

  const std::unique_ptr<ops::CudaBackend> backend_ =
      ops::MakeTestBackend(DType::kF16, {.schedule = kernels::emulator::Schedule::kRandom});
  Tensor drawn_tokens_;
};

// `levels` > 0: so many different logits, so that there are ties.
std::vector<float> RandomRow(std::mt19937_64& random, size_t size, double spread, int levels) {
  std::normal_distribution<double> normal(0, spread);
  std::vector<float> row(size);
  for (float& x : row) {
    x = static_cast<float>(levels > 0 ? std::round(normal(random) * levels) / levels : normal(random));
  }
  return row;
}

Draw RandomDraw(std::mt19937_64& random, int32_t vocab_size) {
  const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint64_t>(n)); };
  const auto ids = [&](int32_t most) {
    std::vector<int32_t> some(static_cast<size_t>(below(most)));
    for (int32_t& id : some) id = below(vocab_size);
    return some;
  };
  Draw draw{.position = random()};
  Params& p = draw.params;
  p.seed = static_cast<int64_t>(random());
  p.temperature = std::array{0.0, 0.3, 1.0, 2.5}[static_cast<size_t>(below(4))];
  p.top_k = std::array{0, 1, 7, 50, 700, 100'000}[static_cast<size_t>(below(6))];
  p.top_p = std::array{1.0, 0.9, 0.3, 0.999}[static_cast<size_t>(below(4))];
  p.min_p = std::array{0.0, 0.05, 1.0}[static_cast<size_t>(below(3))];
  if (below(2) == 0) p.repetition_penalty = 1.3;
  if (below(2) == 0) p.presence_penalty = -0.7;
  if (below(2) == 0) p.frequency_penalty = 0.4;
  p.num_logprobs = std::array{-1, 0, 3, kMaxLogprobs}[static_cast<size_t>(below(4))];
  draw.prompt = ids(600);
  draw.answer = ids(40);
  draw.masked = ids(5);
  for (int32_t id = below(vocab_size); id < vocab_size && draw.bias.size() < 600; id += 1 + below(3)) {
    if (below(2) == 0) draw.bias.push_back({id, static_cast<float>(below(9) - 4)});
  }
  return draw;
}

TEST_F(CudaSampling, DrawsAsTheHostDoes) {
  std::mt19937_64 random(1);
  for (const size_t vocab_size : {size_t{1}, size_t{33}, size_t{512}, size_t{1500}, size_t{5000}}) {
    SCOPED_TRACE(vocab_size);
    std::vector<std::vector<float>> rows;
    std::vector<Draw> draws;
    for (int i = 0; i < 24; ++i) {
      rows.push_back(RandomRow(random, vocab_size, i % 3 == 0 ? 0.01 : 3.0, i % 4 == 0 ? 4 : 0));
      draws.push_back(RandomDraw(random, static_cast<int32_t>(vocab_size)));
    }
    Compare(rows, draws);
  }
}

// Flat rows, of which top_p keeps many windows of candidates; ties, which go by ids; zeros of both signs.
TEST_F(CudaSampling, SortsAsFarAsItMust) {
  std::vector<std::vector<float>> rows(4, std::vector<float>(2500, 0.5f));
  std::mt19937_64 random(2);
  rows[1] = RandomRow(random, 2500, 0.1, 0);
  for (size_t i = 0; i < 2500; i += 3) rows[2][i] = i % 2 == 0 ? 0.0f : -0.0f;
  rows[3].assign(2500, -kInfinity);
  rows[3][1234] = -5;
  std::vector<Draw> draws(4);
  for (uint64_t position = 0; position < 4; ++position) {
    for (Draw& draw : draws) {
      draw.params = {.top_k = position % 2 == 0 ? 2000 : 0, .top_p = 0.9, .seed = 3, .num_logprobs = 5};
      draw.position = position;
    }
    Compare(rows, draws);
  }
}

TEST_F(CudaSampling, SaysWhatCannotBeDrawn) {
  std::vector<std::vector<float>> rows(4, std::vector<float>(600, 1.0f));
  rows[0][599] = std::nanf("");
  rows[1][0] = kInfinity;
  rows[2].assign(600, -kInfinity);
  std::vector<Draw> draws(4);
  for (int32_t id = 0; id < 600; ++id) draws[3].masked.push_back(id);
  Compare(rows, draws);
}

TEST_F(CudaSampling, TellsOfATokenAndLeavesOtherRowsAlone) {
  std::mt19937_64 random(4);
  const std::vector<std::vector<float>> rows(2, RandomRow(random, 700, 2.0, 0));
  const ops::DrawRow draws[] = {{}, {.row = 1, .told = 650, .num_top = 4}};
  const std::vector<ops::DrawResult> results = Run(rows, draws, {});
  Workspace workspace(700);
  Drawn want{}, got{};
  want.outcome = Describe(rows[1], 650, 4, workspace, &want.token);
  got.outcome = ReadDraw(results[1], &got.token);
  ExpectSame(got, want);
  EXPECT_EQ(ops::GetIds(*backend_, drawn_tokens_.view()), std::vector<int32_t>({-7, -7}));
}

TEST(DescribeDraw, LeavesToTheHostWhatTheDeviceHasNoRoomFor) {
  const Params params;
  std::vector<LogitBias> bias(10);
  std::vector<ops::LogitEdit> edits(ops::kMaxLogitEdits - 9);
  ops::DrawRow row;
  EXPECT_FALSE(DescribeDraw({.params = &params, .bias = bias}, 100, &edits, &row));
  EXPECT_EQ(std::ssize(edits), ops::kMaxLogitEdits - 9);
  edits.pop_back();
  EXPECT_TRUE(DescribeDraw({.params = &params, .bias = bias}, 100, &edits, &row));
}

}  // namespace
}  // namespace ingot::sampling
