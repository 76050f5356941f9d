// The cache and attention on CUDA against attention in double, and their bits against everything that must not change
// them.
#include "ops/cuda/test_device.h"
#include "ops/test_attention.h"

namespace ingot::ops {
namespace {

struct CudaCase {
  Config config;
  DType dtype = DType::kF16;
};

class CudaRunner : public AttentionRunner {
 public:
  CudaRunner(const CudaCase& c, int num_seqs, int max_length,
             kernels::emulator::Schedule schedule = kernels::emulator::Schedule::kForward)
      : AttentionRunner(c.config, MakeTestBackend(c.dtype, {.schedule = schedule}),
                        {num_seqs, max_length, /*block_seed=*/3}),
        bytes_(Fill(block_bytes())),
        tails_(Fill(tail_bytes())) {
    SetCache(bytes_.data(), tails_.data());
  }

 private:
  Buffer Fill(int64_t bytes) {
    const std::vector<std::byte> garbage(static_cast<size_t>(bytes), std::byte{0xff});
    Buffer buffer = backend().Allocate(bytes).value();
    backend().Upload(buffer.data(), garbage.data(), bytes);
    return buffer;
  }

  std::vector<float> WriteAndAttend(const StepBatch& batch, std::vector<float>* qkv) override {
    const DType dtype = backend().activation_dtype();
    const Tensor in = Put(backend(), dtype, {batch.num_tokens(), config().QkvWidth()}, *qkv);
    const Tensor out = Garbage(backend(), dtype, {batch.num_tokens(), config().OutWidth()});
    RunLayer(batch, Compute::kFast, in.view(), out.view());
    return Get(backend(), out.view());
  }

  Buffer bytes_, tails_;
};

Text RoundedText(const CudaCase& c, int length, uint32_t seed) {
  Text text = RandomText(c.config, length, seed);
  for (float& x : text.qkv) x = RoundTo(c.dtype, x);
  return text;
}

// An output is a mean of values of up to 5, and is off by
//   half an ulp of its own;
//   half an ulp of each probability, which is rounded to the activations' type;
//   of a cache that is quantized: half an ulp of each value, and of each key, by which a score is off by
//   Σ q·k·ε / √head_dim, of the order of one ε (up to 4 seen), and its probability as much, relatively, twice where
//   the sum of all moves the other way;
//   some 1e-5 of f32.
double ToleranceOf(const CudaCase& c, double want) {
  const bool quantized = c.config.format == KvFormat::kI8 || c.config.format == KvFormat::kI4;
  return EpsOf(c.dtype) * (std::abs(want) + 5 * (quantized ? 1 + 1 + 2 * 4 : 1)) + 5e-5;
}
void ExpectExact(const CudaCase& c, const Text& text, const std::vector<float>& out) {
  const Seen seen = SeenOf(c.config, text);
  for (int p = 0; p < text.length; p += p + 7 < text.length ? 7 : std::max(1, text.length - 1 - p)) {
    const std::vector<double> want = Exact(c.config, seen, p);
    for (size_t i = 0; i < want.size(); ++i) {
      const double got = out[static_cast<size_t>(p * c.config.OutWidth()) + i];
      ASSERT_TRUE(std::abs(got - want[i]) <= ToleranceOf(c, want[i]))
          << c.config.ToString() << " position " << p << " output " << i << ": " << got << " for " << want[i];
    }
  }
}

std::vector<CudaCase> AllCases() {
  std::vector<CudaCase> cases;
  for (const KvFormat format : {KvFormat::kF16, KvFormat::kBF16, KvFormat::kI8, KvFormat::kI4}) {
    cases.push_back({{.num_heads = 4, .num_kv_heads = 2, .head_dim = 24, .block_len = 32, .format = format}});
    cases.push_back(
        {{.num_heads = 2, .num_kv_heads = 1, .head_dim = 80, .block_len = 64, .format = format, .window = 37}});
    cases.push_back({{.num_heads = 1, .num_kv_heads = 1, .head_dim = 10, .format = format}});  // rows are not aligned
  }
  cases.push_back({{.num_heads = 3, .num_kv_heads = 3, .head_dim = 64, .softcap = 1.5f}});
  cases.push_back({{.num_heads = 19, .num_kv_heads = 1, .head_dim = 96}});  // more heads than 16 rows
  cases.push_back({{.num_heads = 7, .num_kv_heads = 1, .head_dim = 128, .format = KvFormat::kI8}});
  cases.push_back({{.num_heads = 2, .num_kv_heads = 1, .head_dim = 256, .format = KvFormat::kI4}});
  cases.push_back({{.num_heads = 2, .num_kv_heads = 1, .head_dim = 32, .format = KvFormat::kI8}, DType::kBF16});
  cases.push_back({{.num_heads = 2, .num_kv_heads = 1, .head_dim = 32, .format = KvFormat::kI4}, DType::kBF16});
  return cases;
}

TEST(CudaAttention, IsExactInEveryFormat) {
  for (const CudaCase& c : AllCases()) {
    for (const int length : {1, 45, 70}) {
      const Text text = RoundedText(c, length, 11);
      ExpectExact(c, text, CudaRunner(c, 1, length).InChunks(text, length));
    }
  }
}

TEST(CudaAttention, BitsDependOnTheSequenceAlone) {
  for (const CudaCase& c : AllCases()) {
    const Text text = RoundedText(c, 70, 1), other = RoundedText(c, 41, 2);
    const std::vector<float> alone = CudaRunner(c, 1, 70).InChunks(text, 70);
    for (const int chunk : {33, 1}) {
      EXPECT_TRUE(SameBits(CudaRunner(c, 1, 70).InChunks(text, chunk), alone)) << c.config.ToString() << " " << chunk;
    }
    CudaRunner batch(c, 2, 70, kernels::emulator::Schedule::kRandom);
    std::vector<float> together = batch.Step({&other, &text}, {0, 0}, {41, 60});
    together.erase(together.begin(), together.begin() + 41 * c.config.OutWidth());
    const std::vector<float> rest = batch.Step({&other, &text}, {41, 60}, {41, 70});
    together.insert(together.end(), rest.begin(), rest.end());
    EXPECT_TRUE(SameBits(together, alone)) << c.config.ToString() << " in a batch";
  }
}

// Over more than one split: rows computed whole, and by one block a split.
TEST(CudaAttention, SplitsAreMergedToTheSameBits) {
  const CudaCase c{{.num_heads = 1, .num_kv_heads = 1, .head_dim = 16, .format = KvFormat::kF16}};
  const Text text = RoundedText(c, 1030, 5);
  CudaRunner runner(c, 1, 1030);
  const std::vector<float> written = runner.Step({&text}, {0}, {1026});
  const std::vector<float> last = runner.Step({&text}, {1026}, {1030});
  ExpectExact(c, text, [&] {
    std::vector<float> all = written;
    all.insert(all.end(), last.begin(), last.end());
    return all;
  }());
  // The same tokens, decoded one by one.
  for (int p = 1026; p < 1030; ++p) {
    const std::vector<float> one = runner.Step({&text}, {p}, {p + 1});
    const auto* const want = last.data() + (p - 1026) * c.config.OutWidth();
    EXPECT_TRUE(std::equal(one.begin(), one.end(), want)) << p;
  }
}

// A value that is not finite reaches the rows that see it, whichever of them are beside it, and no others.
TEST(CudaAttention, InfinitiesReachTheRowsThatSeeThem) {
  for (const KvFormat format : {KvFormat::kF16, KvFormat::kI8}) {
    const CudaCase c{{.num_heads = 2, .num_kv_heads = 1, .head_dim = 16, .format = format, .window = 8}};
    constexpr int kLength = 40, kBad = 12;
    Text text = RoundedText(c, kLength, 3);
    const std::vector<float> good = CudaRunner(c, 1, kLength).InChunks(text, kLength);
    text.qkv[static_cast<size_t>((kBad + 1) * c.config.QkvWidth() - 1)] = NAN;  // of its value
    const std::vector<float> out = CudaRunner(c, 1, kLength).InChunks(text, kLength);
    for (int p = 0; p < kLength; ++p) {
      const auto row = [&](const std::vector<float>& all) {
        const auto begin = all.begin() + p * c.config.OutWidth();
        return std::vector<float>(begin, begin + c.config.OutWidth());
      };
      if (p < kBad || p >= kBad + c.config.window) {
        EXPECT_TRUE(SameBits(row(out), row(good))) << p;
      } else {
        for (const float x : row(out)) EXPECT_TRUE(std::isnan(x)) << p;
      }
    }
  }
}

}  // namespace
}  // namespace ingot::ops
