// Every family against logits of transformers (tests/goldens), and the bits of an answer against everything that must
// not change them.
#include <gtest/gtest.h>

#include "models/golden.h"
#include "models/model.h"
#include "models/test_runner.h"
#include "ops/isa_info.h"

namespace ingot::models {
namespace {

const std::vector<std::string> kIsas = ops::GetIsaInfo().available;

struct Loaded {
  std::unique_ptr<ops::Backend> backend;
  std::unique_ptr<Model> model;  // null: a failure was added
  Model* operator->() const { return model.get(); }
  explicit operator bool() const { return model != nullptr; }
};

struct LoadGoldenOptions {
  int64_t session_len = 0;
  ops::Compute compute = ops::Compute::kExact;
  std::string isa;
  int threads = 1;
};
Loaded LoadGolden(const fs::path& folder, const LoadGoldenOptions& options) {
  const fs::path gguf = folder / "model.gguf";
  auto checkpoint = formats::Checkpoint::Open(fs::exists(gguf) ? gguf.string() : folder.string());
  if (!checkpoint) {
    ADD_FAILURE() << checkpoint.error().ToString();
    return {};
  }
  auto backend = ops::MakeCpuBackend(options.threads, options.isa);
  auto model = Model::Load(*checkpoint, {.compute = options.compute, .session_len = options.session_len}, *backend);
  if (!model) ADD_FAILURE() << model.error().ToString();
  return {std::move(backend), model ? *std::move(model) : nullptr};
}

std::vector<float> LogitsOf(const Loaded& loaded, const std::vector<int32_t>& prompt, const RunOptions& options) {
  std::vector<Sequence> sequences = {{.tokens = prompt}};
  TestRunner(*loaded.model, *loaded.backend, options).Run(&sequences);
  return sequences[0].logits;
}

// Whole, in chunks that no tile or block divides, and token by token. Plain loops take too long for all of them.
std::vector<int64_t> ChunksFor(const std::string& isa) {
  if (isa == "reference") return {1000, 7};
  return {1000, 16, 7, 1};
}

class Golden : public testing::TestWithParam<std::string> {
 protected:
  fs::path folder() const {
    const fs::path folder = kGoldens / GetParam();
    return fs::exists(folder) ? folder : kQuantizedGoldens / GetParam();
  }
};

// The tolerance is what exact mode promises with either kind of cache. With an fp32 cache only the order of sums
// differs, so a tenth of it would show a formula that is slightly wrong.
TEST_P(Golden, LogitsAreThoseOfTransformers) {
  for (const Case& c : ReadCases(folder())) {
    for (const std::string& isa : kIsas) {
      const Loaded model = LoadGolden(folder(), {.session_len = c.session_len, .isa = isa});
      ASSERT_TRUE(model);
      ASSERT_EQ(c.logits.size(), c.prompt.size() * static_cast<size_t>(model->spec().vocab_size));
      for (int64_t chunk : ChunksFor(isa)) {
        const double f32 = Distance(LogitsOf(model, c.prompt, {.chunk = chunk}), c.logits);
        EXPECT_TRUE(f32 <= 2e-4) << isa << " chunk " << chunk << ": " << f32;
        const RunOptions half{.kv = ops::KvFormat::kF16, .chunk = chunk};
        const double f16 = Distance(LogitsOf(model, c.prompt, half), c.logits);
        EXPECT_TRUE(f16 <= 2e-3) << isa << " chunk " << chunk << " fp16 KV: " << f16;
      }
    }
  }
}

// int8 activations may cost little: more than this is a mistake, not rounding. Weights of 16 and 32 bits keep their
// activations, but for bf16 products.
TEST_P(Golden, FastModeIsClose) {
  const Case c = ReadCases(folder())[0];
  for (const std::string& isa : kIsas) {
    const Loaded model =
        LoadGolden(folder(), {.session_len = c.session_len, .compute = ops::Compute::kFast, .isa = isa});
    ASSERT_TRUE(model);
    const double distance = Distance(LogitsOf(model, c.prompt, {.compute = ops::Compute::kFast}), c.logits);
    EXPECT_TRUE(distance <= 0.12) << isa << ": " << distance;
  }
}

TEST_P(Golden, BitsDependOnTheSequenceAlone) {
  const Case c = ReadCases(folder())[0];
  std::vector<int32_t> other(c.prompt.rbegin(), c.prompt.rend());
  for (ops::Compute compute : {ops::Compute::kExact, ops::Compute::kFast}) {
    for (const std::string& isa : kIsas) {
      SCOPED_TRACE(isa + (compute == ops::Compute::kFast ? " fast" : " exact"));
      RunOptions options{.compute = compute, .kv = ops::KvFormat::kF16};
      std::vector<float> alone;
      for (int threads : {1, 2}) {
        const LoadGoldenOptions load{c.session_len, compute, isa, threads};
        const Loaded model = LoadGolden(folder(), load);
        ASSERT_TRUE(model);
        options.chunk = RunOptions().chunk;
        if (threads == 1) alone = LogitsOf(model, c.prompt, options);
        for (int64_t chunk : ChunksFor(isa)) {
          options.chunk = chunk;
          EXPECT_TRUE(SameBits(LogitsOf(model, c.prompt, options), alone)) << threads << " threads, chunk " << chunk;
        }
        options.chunk = 5;
        std::vector<Sequence> batch = {{.tokens = other}, {.tokens = c.prompt}, {.tokens = {5, 4, 3}}};
        TestRunner(*model.model, *model.backend, options).Run(&batch);
        EXPECT_TRUE(SameBits(batch[1].logits, alone)) << threads << " threads, in a batch";
      }
    }
  }
}

// Over more than two tiles of 32 positions, each query of which but for its own tile's reads what was quantized.
TEST_P(Golden, QuantizedCachesAreCloseAndTheirBitsDependOnTheSequenceAlone) {
  const Case c = ReadCases(folder())[0];
  std::vector<int32_t> text;
  while (text.size() < 75) text.insert(text.end(), c.prompt.begin(), c.prompt.end());
  text.resize(75);
  const std::vector<int32_t> other(text.rbegin(), text.rend());
  for (const std::string& isa : kIsas) {
    const Loaded one = LoadGolden(folder(), {.session_len = c.session_len, .isa = isa});
    const Loaded two = LoadGolden(folder(), {.session_len = c.session_len, .isa = isa, .threads = 2});
    ASSERT_TRUE(one && two);
    const std::vector<float> f16 = LogitsOf(one, text, {.kv = ops::KvFormat::kF16});
    for (const auto [format, tolerance] : {std::pair(ops::KvFormat::kI8, 0.012), std::pair(ops::KvFormat::kI4, 0.12)}) {
      SCOPED_TRACE(isa + (format == ops::KvFormat::kI8 ? " int8" : " int4"));
      RunOptions options{.kv = format};
      const std::vector<float> alone = LogitsOf(one, text, options);
      const double distance = MeanDistance(alone, f16);
      EXPECT_TRUE(distance <= tolerance && distance > 0) << distance;
      for (int64_t chunk : ChunksFor(isa)) {
        options.chunk = chunk;
        EXPECT_TRUE(SameBits(LogitsOf(chunk == 7 ? two : one, text, options), alone)) << "chunk " << chunk;
      }
      options.chunk = 20;
      std::vector<Sequence> batch = {{.tokens = other}, {.tokens = text}, {.tokens = {5, 4, 3}}};
      TestRunner(*one.model, *one.backend, options).Run(&batch);
      EXPECT_TRUE(SameBits(batch[1].logits, alone)) << "in a batch";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Golden, testing::ValuesIn(NamesIn(kGoldens)),
                         [](const auto& test) { return test.param; });
INSTANTIATE_TEST_SUITE_P(Quantized, Golden, testing::ValuesIn(NamesIn(kQuantizedGoldens)),
                         [](const auto& test) { return test.param; });

TEST(Goldens, AreThere) {
  EXPECT_GE(NamesIn(kGoldens).size(), 30u);
  EXPECT_GE(NamesIn(kQuantizedGoldens).size(), 10u);
}

TEST(Goldens, FingerprintsTellModelsApart) {
  const auto print = [](const char* name) { return LoadGolden(kGoldens / name, {})->fingerprint(); };
  EXPECT_EQ(print("llama"), print("llama"));
  EXPECT_NE(print("llama"), print("gemma3"));
}

TEST(Goldens, QuantizedMatricesAreHeldAsTheyAre) {
  const auto held = [](const char* name) {
    const Loaded model = LoadGolden(kQuantizedGoldens / name, {});
    for (const WeightInfo& info : model->weights()) {
      if (info.name.find("down_proj") != std::string::npos) return info.held.ToString();
    }
    return std::string("missing");
  };
  EXPECT_EQ(held("awq"), "4-bit g32 zero f16");
  EXPECT_EQ(held("gptq_sym"), "4-bit g32 midpoint f16");
  EXPECT_EQ(held("gptq_act_order"), "4-bit g32 zero f16");
  EXPECT_EQ(held("gptq_v2_channel"), "4-bit channel midpoint f16");
  EXPECT_EQ(held("gptq_8bit"), "8-bit g32 midpoint f16");
  EXPECT_EQ(held("ct_w4a16"), "4-bit g32 midpoint f32");
  EXPECT_EQ(held("ct_w8a8"), "8-bit channel midpoint f32");
}

TEST(LayerTap, SeesTheEmbeddingEachLayerAndTheFinalNorm) {
  const fs::path folder = kGoldens / "llama";
  const Loaded model = LoadGolden(folder, {});
  ASSERT_TRUE(model);
  ops::Backend& backend = *model.backend;
  const ForwardLimits limits{.step = {.max_tokens = 2, .max_context = 2}};
  auto scratch = ops::Scratch::Allocate(backend, model->ScratchBytes(backend, limits)).value();
  const ops::Context context{.backend = &backend, .scratch = &scratch, .compute = ops::Compute::kExact};
  ops::KvView kv{.layout = model->KvLayoutFor(backend, model->kv_groups()[0], 32, ops::KvFormat::kF32),
                 .num_blocks = 1};
  std::vector<std::byte> cache(static_cast<size_t>(kv.layout.block_bytes));
  kv.data = cache.data();
  const std::vector<int32_t> ids = {7, 8}, positions = {0, 1}, cu = {0, 2}, table = {0}, kv_slots = {0, 1}, rows = {1};
  const ops::KvGroupBatch group{.block_tables = table, .block_table_stride = 1, .kv_slots = kv_slots};
  const ops::StepBatch batch{.token_ids = ids,
                             .positions = positions,
                             .cu_seqlens = cu,
                             .groups = {&group, 1},
                             .logits_rows = rows,
                             .max_context = 2};
  std::vector<int> seen;
  const LayerTap tap = [&](int layer, const float* hidden, int64_t tokens) {
    seen.push_back(layer);
    EXPECT_EQ(tokens, 2);
    EXPECT_TRUE(std::isfinite(hidden[2 * model->spec().hidden_size - 1]));
  };
  std::vector<float> tapped(96), plain(96);
  const auto view = [](std::vector<float>& logits) { return TensorView{logits.data(), DType::kF32, {1, 96}, {}}; };
  ASSERT_TRUE(model->Forward(context, batch, {&kv, 1}, view(tapped), &tap).ok());
  ASSERT_TRUE(model->Forward(context, batch, {&kv, 1}, view(plain)).ok());
  EXPECT_EQ(seen, (std::vector<int>{-1, 0, 1, 2}));
  EXPECT_TRUE(SameBits(tapped, plain));
  EXPECT_EQ(scratch.used(), 0);
}

}  // namespace
}  // namespace ingot::models
