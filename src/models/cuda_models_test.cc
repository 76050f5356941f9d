// Every family on CUDA against logits of transformers, and the bits of an answer against everything that must not
// change them. On the emulator, or a GPU (ops/cuda/test_device.h).
#include <gtest/gtest.h>

#include "models/golden.h"
#include "models/known_shapes.h"
#include "models/model.h"
#include "models/random_checkpoint.h"
#include "models/test_runner.h"
#include "ops/cuda/test_device.h"

namespace ingot::models {
namespace {

struct Loaded {
  std::unique_ptr<ops::Backend> backend;
  std::unique_ptr<Model> model;
};

Loaded Load(const fs::path& path, int64_t session_len, DType activation_dtype) {
  const fs::path gguf = path / "model.gguf";
  const auto checkpoint = formats::Checkpoint::Open(fs::exists(gguf) ? gguf.string() : path.string()).value();
  auto backend = ops::MakeTestBackend(activation_dtype);
  auto model = Model::Load(checkpoint, {.session_len = session_len}, *backend).value();
  return {std::move(backend), std::move(model)};
}

std::vector<float> LogitsOf(const Loaded& loaded, const std::vector<int32_t>& prompt, const RunOptions& options) {
  std::vector<Sequence> sequences = {{.tokens = prompt}};
  TestRunner(*loaded.model, *loaded.backend, options).Run(&sequences);
  return sequences[0].logits;
}

class CudaGolden : public testing::TestWithParam<std::string> {
 protected:
  fs::path folder() const {
    const fs::path folder = kGoldens / GetParam();
    return fs::exists(folder) ? folder : kQuantizedGoldens / GetParam();
  }
};

// Activations are rounded to 11 bits (f16) or 8 (bf16) some ten times a layer, each time by up to half an ulp:
// rms(Δ) / rms grows as the square root of how often. These models have random weights, whose logits are small beside
// the hidden states that they are differences of, so that errors weigh more than in trained ones.
TEST_P(CudaGolden, LogitsAreThoseOfTransformers) {
  for (const Case& c : ReadCases(folder())) {
    const Loaded half = Load(folder(), c.session_len, DType::kF16);
    const std::vector<float> f16 = LogitsOf(half, c.prompt, {.kv = ops::KvFormat::kF16});
    const double distance = MeanDistance(f16, c.logits);
    EXPECT_TRUE(distance <= 3e-3) << "f16: " << distance;
    RecordProperty("f16", std::to_string(distance));
    std::vector<int32_t> other(c.prompt.rbegin(), c.prompt.rend());
    std::vector<Sequence> batch = {{.tokens = other}, {.tokens = c.prompt}, {.tokens = {5, 4, 3}}};
    TestRunner(*half.model, *half.backend, {.kv = ops::KvFormat::kF16, .chunk = 13}).Run(&batch);
    EXPECT_TRUE(SameBits(batch[1].logits, f16)) << "in chunks of 13, in a batch";
  }
}

INSTANTIATE_TEST_SUITE_P(Families, CudaGolden, testing::ValuesIn(NamesIn(kGoldens)),
                         [](const auto& test) { return test.param; });
INSTANTIATE_TEST_SUITE_P(Quantized, CudaGolden, testing::ValuesIn(NamesIn(kQuantizedGoldens)),
                         [](const auto& test) { return test.param; });

class CudaCaches : public testing::TestWithParam<std::string> {};

// Over more than two tiles of 32 positions, each query of which but for its own tile's reads what was quantized.
TEST_P(CudaCaches, AreCloseAndTheirBitsDependOnTheSequenceAlone) {
  const Case c = ReadCases(kGoldens / GetParam())[0];
  std::vector<int32_t> text;
  while (text.size() < 75) text.insert(text.end(), c.prompt.begin(), c.prompt.end());
  text.resize(75);
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const Loaded loaded = Load(kGoldens / GetParam(), c.session_len, dtype);
    const std::vector<float> f16 = LogitsOf(loaded, text, {.kv = ops::KvFormat::kF16});
    struct Expected {
      ops::KvFormat format;
      double tolerance;
    };
    for (const auto [format, tolerance] : {Expected{ops::KvFormat::kBF16, 0.02}, Expected{ops::KvFormat::kI8, 0.02},
                                           Expected{ops::KvFormat::kI4, 0.12}}) {
      SCOPED_TRACE(static_cast<int>(format));
      const std::vector<float> alone = LogitsOf(loaded, text, {.kv = format});
      const double distance = MeanDistance(alone, f16);
      EXPECT_TRUE(distance <= tolerance && distance > 0) << distance;
      EXPECT_TRUE(SameBits(LogitsOf(loaded, text, {.kv = format, .chunk = 20}), alone)) << "in chunks of 20";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, CudaCaches, testing::Values("llama", "gemma3", "mixtral", "qwen2_window"),
                         [](const auto& test) { return test.param; });

// bf16 keeps 3 bits less than f16: errors are 8 times as large.
TEST(CudaModels, RunWithBfloat16Activations) {
  for (const char* name : {"llama", "gemma3", "mixtral"}) {
    const Case c = ReadCases(kGoldens / name)[0];
    const Loaded loaded = Load(kGoldens / name, c.session_len, DType::kBF16);
    const double distance = MeanDistance(LogitsOf(loaded, c.prompt, {.kv = ops::KvFormat::kF16}), c.logits);
    EXPECT_TRUE(distance <= 8 * 3e-3) << name << ": " << distance;
  }
}

// Refused before a weight is read, and by `ingot plan`.
TEST(CudaModels, HeadsThatNoKernelHoldsAreRefused) {
  ModelSpec spec = KnownShape("qwen3-8b").value();
  for (LayerSpec& layer : spec.layers) layer.head_dim = layer.value_head_dim = 320;
  const auto backend = ops::MakeTestBackend();
  const auto checkpoint = MakeRandomCheckpoint(spec, Format::Dense(DType::kF16), "wide");
  const auto refused = Model::Load(checkpoint, spec, {.outline = true}, *backend);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kUnsupported);
  EXPECT_EQ(refused.error().message(),
            "head_dim 320: on CUDA there are kernels for heads of up to 256; --device cpu runs this model");
}

// A real model: the same token comes first as on the CPU with fp32 activations, at each position of a text.
TEST(CudaModels, SmolLM2AgreesWithTheCpu) {
  const fs::path path = kSource / "build/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(path)) GTEST_SKIP() << path << " is missing";
  const std::vector<int32_t> text = {504, 3575, 282, 4649, 314};  // "The capital of France is"
  const auto run = [&](std::unique_ptr<ops::Backend> backend, ops::Compute compute) {
    const auto checkpoint = formats::Checkpoint::Open(path.string()).value();
    auto model = Model::Load(checkpoint, {.compute = compute, .session_len = 64}, *backend).value();
    const Loaded loaded{std::move(backend), std::move(model)};
    return LogitsOf(loaded, text, {.compute = compute, .kv = ops::KvFormat::kF16, .chunk = 4});
  };
  const std::vector<float> cpu = run(ops::MakeCpuBackend(2), ops::Compute::kExact);
  const std::vector<float> cuda = run(ops::MakeTestBackend(), ops::Compute::kFast);
  const double distance = MeanDistance(cuda, cpu);
  EXPECT_TRUE(distance <= 5e-3) << distance;
  const auto vocab = std::ssize(cpu) / std::ssize(text);
  for (int64_t i = 0; i < std::ssize(text); ++i) {
    const auto best = [&](const std::vector<float>& logits) {
      const auto* const row = logits.data() + i * vocab;
      return std::max_element(row, row + vocab) - row;
    };
    EXPECT_EQ(best(cuda), best(cpu)) << "position " << i;
  }
}

}  // namespace
}  // namespace ingot::models
