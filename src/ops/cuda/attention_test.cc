// The cache and attention on CUDA against attention in double, and their bits against everything that must not change
// them.
#include "ops/cuda/test_device.h"
#include "ops/test_attention.h"

namespace ingot::ops {
namespace {

constexpr int kLayer = 1;

struct CudaCase {
  Config config;
  DType dtype = DType::kF16;
};

// A step of one layer over some sequences: write K and V, then attend. The cache is full of NaN before.
class CudaRunner {
 public:
  CudaRunner(const CudaCase& c, int num_seqs, int max_length,
             kernels::emulator::Schedule schedule = kernels::emulator::Schedule::kForward)
      : config_(c.config),
        backend_(MakeTestBackend(c.dtype, schedule)),
        blocks_per_seq_((max_length + c.config.block_len - 1) / c.config.block_len) {
    kv_.layout = backend_->LayoutOf(config_.Shape(2));
    kv_.num_blocks = num_seqs * blocks_per_seq_ + 1;
    kv_.num_tails = num_seqs + 2;
    bytes_ = Fill(kv_.num_blocks * kv_.layout.block_bytes);
    tails_ = Fill(kv_.num_tails * kv_.layout.tail_bytes);
    kv_.data = bytes_.data();
    kv_.tails = tails_.data();
    for (int s = 0; s < num_seqs; ++s) tail_slots_.push_back(num_seqs + 1 - s);
    block_tables_.resize(static_cast<size_t>(num_seqs * blocks_per_seq_));
    std::iota(block_tables_.begin(), block_tables_.end(), 1);
    std::shuffle(block_tables_.begin(), block_tables_.end(), std::mt19937(3));
    const StepLimits limits{int64_t{num_seqs} * max_length, num_seqs, max_length};
    scratch_ = *Scratch::Allocate(
        *backend_, backend_->StepBytes(limits, {&kv_.layout, 1}) + backend_->AttentionBytes(limits, kv_.layout));
  }

  // Tokens [begin[s], end[s]) of texts[s], the sequences in one batch. Returns the outputs, one sequence after another.
  std::vector<float> Step(const std::vector<const Text*>& texts, const std::vector<int>& begin,
                          const std::vector<int>& end) {
    std::vector<int32_t> positions, slots, cu_seqlens = {0};
    std::vector<float> qkv;
    for (size_t s = 0; s < texts.size(); ++s) {
      for (int p = begin[s]; p < end[s]; ++p) {
        positions.push_back(p);
        const size_t block = s * static_cast<size_t>(blocks_per_seq_) + static_cast<size_t>(p / config_.block_len);
        slots.push_back(block_tables_[block] * config_.block_len + p % config_.block_len);
      }
      qkv.insert(qkv.end(), texts[s]->qkv.begin() + begin[s] * config_.QkvWidth(),
                 texts[s]->qkv.begin() + end[s] * config_.QkvWidth());
      cu_seqlens.push_back(static_cast<int32_t>(positions.size()));
    }
    const KvGroupBatch group{.block_tables = block_tables_, .block_table_stride = blocks_per_seq_, .slots = slots};
    return WriteAndAttend({.token_ids = positions,
                           .positions = positions,
                           .cu_seqlens = cu_seqlens,
                           .groups = {&group, 1},
                           .tail_slots = std::span(tail_slots_).first(texts.size()),
                           .logits_rows = {},
                           .max_context = *std::max_element(end.begin(), end.end())},
                          qkv);
  }

  std::vector<float> InChunks(const Text& text, int chunk) {
    std::vector<float> all;
    for (int begin = 0; begin < text.length; begin += chunk) {
      const auto out = Step({&text}, {begin}, {std::min(text.length, begin + chunk)});
      all.insert(all.end(), out.begin(), out.end());
    }
    return all;
  }

 private:
  Buffer Fill(int64_t bytes) {
    const std::vector<std::byte> garbage(static_cast<size_t>(bytes), std::byte{0xff});
    Buffer buffer = backend_->Allocate(bytes).value();
    backend_->Upload(buffer.data(), garbage.data(), bytes);
    return buffer;
  }

  std::vector<float> WriteAndAttend(const StepBatch& batch, const std::vector<float>& qkv) {
    const Context context{.backend = backend_.get(), .scratch = &scratch_, .compute = Compute::kFast};
    const Scratch::Mark mark(scratch_);
    const ops::Step step = BeginStep(context, batch, {&kv_, 1});
    const DType dtype = backend_->activation_dtype();
    const Tensor in = Put(*backend_, dtype, {batch.num_tokens(), config_.QkvWidth()}, qkv);
    const Tensor out = Garbage(*backend_, dtype, {batch.num_tokens(), config_.OutWidth()});
    RopeKvWriteParams write;
    write.qkv = in.view();
    write.place.layer = kLayer;
    RopeKvWrite(context, step, write);
    Attention(context, step,
              {.qkv = write.qkv,
               .out = out.view(),
               .place = write.place,
               .scale = 1 / std::sqrt(static_cast<float>(config_.head_dim)),
               .softcap = config_.softcap});
    return Get(*backend_, out.view());
  }

  Config config_;
  std::unique_ptr<Backend> backend_;
  int blocks_per_seq_;
  Buffer bytes_, tails_;
  std::vector<int32_t> tail_slots_;    // [num_seqs]
  std::vector<int32_t> block_tables_;  // [num_seqs, blocks_per_seq]
  KvView kv_;
  Scratch scratch_;
};

Text RoundedText(const CudaCase& c, int length, uint32_t seed) {
  Text text = RandomText(c.config, length, seed);
  for (float& x : text.qkv) x = RoundTo(c.dtype, x);
  return text;
}

// Products and exponentials are of f32, so an output is off by its own rounding and some 1e-5 of the values (of up to
// 5) that it averages.
void ExpectExact(const CudaCase& c, const Text& text, const std::vector<float>& out) {
  const Seen seen = SeenOf(c.config, text);
  for (int p = 0; p < text.length; p += p + 7 < text.length ? 7 : std::max(1, text.length - 1 - p)) {
    const std::vector<double> want = Exact(c.config, seen, p);
    for (size_t i = 0; i < want.size(); ++i) {
      const double got = out[static_cast<size_t>(p * c.config.OutWidth()) + i];
      ASSERT_TRUE(std::abs(got - want[i]) <= EpsOf(c.dtype) * std::abs(want[i]) + 5e-5)
          << c.config.ToString() << " position " << p << " output " << i << ": " << got << " for " << want[i];
    }
  }
}

std::vector<CudaCase> AllCases() {
  std::vector<CudaCase> cases;
  for (const KvFormat format : {KvFormat::kF16, KvFormat::kBF16, KvFormat::kF32, KvFormat::kI8, KvFormat::kI4}) {
    cases.push_back({{.num_heads = 4, .num_kv_heads = 2, .head_dim = 24, .block_len = 32, .format = format}});
    cases.push_back(
        {{.num_heads = 2, .num_kv_heads = 1, .head_dim = 80, .block_len = 64, .format = format, .window = 37}});
  }
  cases.push_back({{.num_heads = 3, .num_kv_heads = 3, .head_dim = 64, .softcap = 1.5f}});
  cases.push_back({{.num_heads = 2, .num_kv_heads = 1, .head_dim = 256, .format = KvFormat::kI4}});
  cases.push_back({{.num_heads = 2, .num_kv_heads = 1, .head_dim = 32, .format = KvFormat::kI8}, DType::kBF16});
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

}  // namespace
}  // namespace ingot::ops
