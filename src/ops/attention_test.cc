#include "ops/cpu/kv_tiles.h"
#include "ops/test_attention.h"

namespace ingot::ops {
namespace {

std::vector<Config> Configs() {
  std::vector<Config> configs;
  for (const int head_dim : {8, 24, 64, 80, 96, 128, 256}) {
    configs.push_back({.num_heads = 9, .num_kv_heads = 3, .head_dim = head_dim});
  }
  configs.push_back({.num_heads = 4, .num_kv_heads = 1, .head_dim = 64, .block_len = 32});
  configs.push_back({.num_heads = 1, .num_kv_heads = 1, .head_dim = 64, .format = KvFormat::kF32});
  configs.push_back({.num_heads = 3, .num_kv_heads = 1, .head_dim = 20, .block_len = 32, .format = KvFormat::kF32});
  configs.push_back({.num_heads = 3, .num_kv_heads = 1, .head_dim = 13, .block_len = 96});
  for (const int head_dim : {13, 24, 64, 80, 256}) {
    configs.push_back({.num_heads = 6, .num_kv_heads = 2, .head_dim = head_dim, .format = KvFormat::kBF16});
  }
  configs.push_back({.num_heads = 50, .num_kv_heads = 1, .head_dim = 16});  // more heads than a tile has rows
  configs.push_back({.num_heads = 2, .num_kv_heads = 2, .head_dim = 64, .softcap = 3});
  for (const KvFormat format : {KvFormat::kI8, KvFormat::kI4}) {
    for (const int head_dim : {13, 24, 64, 80, 96, 128, 256}) {
      configs.push_back({.num_heads = 8, .num_kv_heads = 2, .head_dim = head_dim, .format = format});
    }
    configs.push_back({.num_heads = 3, .num_kv_heads = 3, .head_dim = 64, .block_len = 32, .format = format});
    configs.push_back({.num_heads = 50, .num_kv_heads = 1, .head_dim = 16, .block_len = 96, .format = format});
    for (const int window : {1, 33, 300}) {
      configs.push_back({.num_heads = 3, .num_kv_heads = 1, .head_dim = 40, .format = format, .window = window});
    }
  }
  for (const int window : {1, 7, 40, 300, 513, 2000}) {
    configs.push_back({.num_heads = 3, .num_kv_heads = 1, .head_dim = 24, .block_len = 32, .window = window});
    configs.push_back({.num_heads = 2, .num_kv_heads = 2, .head_dim = 32, .window = window, .softcap = 20});
  }
  return configs;
}

class AttentionTest : public testing::TestWithParam<std::string> {
 protected:
  bool IsSlow() const { return GetParam() == "reference" || GetParam() == "amx_emulated"; }
};

TEST_P(AttentionTest, EqualsDoublePrecision) {
  for (const Config& config : Configs()) {
    for (const int length : {1, 2, 31, 32, 33, 65, 511, 512, 513, 1100}) {
      const bool slow = IsSlow() || config.head_dim > 80;
      if (slow && length > 65 && (length != 513 || (IsSlow() && config.head_dim != 24))) continue;
      const Text text = RandomText(config, length, 1);
      Runner runner({GetParam(), config, 2, 1, length, 1});
      ExpectCloseToExact(config, text, runner.InChunks(text, length), length > 65 ? 149 : 7, IsOnTiles(GetParam()));
    }
  }
}

// Contract 1: however a token comes to be computed, its bits are the same. Unwritten slots are NaN throughout.
TEST_P(AttentionTest, ChunksDoNotChangeABit) {
  for (const Config& config : Configs()) {
    const bool wide = config.head_dim > 80;
    const int length = IsSlow() ? (wide ? 40 : 70) : wide ? 520 : config.head_dim > 60 ? 700 : 1100;
    const Text text = RandomText(config, length, 2);
    const std::vector<float> whole = Runner({GetParam(), config, 1, 1, length, 1}).InChunks(text, length);
    for (const int chunk : {1, 5, 48, 333}) {
      if (chunk == 1 && length > 70 && config.head_dim > 64) continue;
      EXPECT_TRUE(SameBits(whole, Runner({GetParam(), config, 2, 1, length, 7}).InChunks(text, chunk)))
          << config.ToString() << " chunk " << chunk;
    }
  }
}

TEST_P(AttentionTest, BlockLengthDoesNotChangeABit) {
  for (const KvFormat format : {KvFormat::kF16, KvFormat::kBF16, KvFormat::kI8, KvFormat::kI4}) {
    Config config{.num_heads = 3, .num_kv_heads = 1, .head_dim = 64, .format = format};
    const int length = IsSlow() ? 70 : 600;
    const Text text = RandomText(config, length, 3);
    const std::vector<float> want = Runner({GetParam(), config, 1, 1, length, 1}).InChunks(text, length);
    for (const int block_len : {32, 96, 128, 1024}) {
      config.block_len = block_len;
      EXPECT_TRUE(SameBits(want, Runner({GetParam(), config, 1, 1, length, 3}).InChunks(text, length)))
          << config.ToString();
    }
  }
}

TEST_P(AttentionTest, CompanyAndThreadsDoNotChangeABit) {
  for (const Config& config : {Config{.num_heads = 9, .num_kv_heads = 3, .head_dim = 64},
                               Config{.num_heads = 2, .num_kv_heads = 2, .head_dim = 24, .window = 100},
                               Config{.num_heads = 6, .num_kv_heads = 2, .head_dim = 80, .format = KvFormat::kF32},
                               Config{.num_heads = 6, .num_kv_heads = 2, .head_dim = 80, .format = KvFormat::kBF16},
                               Config{.num_heads = 6, .num_kv_heads = 2, .head_dim = 80, .format = KvFormat::kI8},
                               Config{.num_heads = 6, .num_kv_heads = 2, .head_dim = 80, .format = KvFormat::kI4}}) {
    const std::vector<int> lengths = IsSlow() ? std::vector<int>{40, 3} : std::vector<int>{1030, 1, 77, 520, 900};
    std::vector<Text> texts;
    std::vector<const Text*> pointers;
    for (size_t s = 0; s < lengths.size(); ++s)
      texts.push_back(RandomText(config, lengths[s], static_cast<uint32_t>(s)));
    for (const Text& text : texts) pointers.push_back(&text);
    const int longest = *std::max_element(lengths.begin(), lengths.end());
    // Some sequences decode their last token, the others prefill a rest, all in one step.
    std::vector<int> begin;
    for (size_t s = 0; s < lengths.size(); ++s) begin.push_back(s % 2 == 0 ? lengths[s] - 1 : lengths[s] / 3);
    for (const int threads : {1, 2, 5}) {
      Runner together({GetParam(), config, threads, static_cast<int>(lengths.size()), longest, 11});
      together.Step(pointers, std::vector<int>(lengths.size(), 0), begin);
      const std::vector<float> out = together.Step(pointers, begin, lengths);
      size_t offset = 0;
      for (size_t s = 0; s < lengths.size(); ++s) {
        const std::vector<float> alone = Runner({GetParam(), config, 1, 1, longest, 1}).InChunks(texts[s], lengths[s]);
        const size_t count = static_cast<size_t>((lengths[s] - begin[s]) * config.OutWidth());
        EXPECT_TRUE(
            SameBits({out.begin() + static_cast<int64_t>(offset), out.begin() + static_cast<int64_t>(offset + count)},
                     {alone.end() - static_cast<int64_t>(count), alone.end()}))
            << config.ToString() << " sequence " << s << " threads " << threads;
        offset += count;
      }
    }
  }
}

void CheckBlocksBehindTheWindow(const std::string& isa, const Config& config) {
  const int length = isa == "reference" ? 200 : 1100;
  const Text text = RandomText(config, length, 5);
  const std::vector<float> whole = Runner({isa, config, 1, 1, length, 1}).InChunks(text, length);
  Runner runner({isa, config, 2, 1, length, 1});
  std::vector<float> out;
  for (int p = 0; p < length; p += 10) {
    const int end = std::min(length, p + 10);
    runner.ForgetBlocksBefore(p - config.window + 1 < 0 ? 0 : p - config.window + 1);  // block 0 is all NaN
    const auto piece = runner.Step({&text}, {p}, {end});
    out.insert(out.end(), piece.begin(), piece.end());
  }
  EXPECT_TRUE(SameBits(whole, out)) << config.ToString();
}

TEST_P(AttentionTest, BlocksBehindTheWindowAreNotRead) {
  for (const KvFormat format : {KvFormat::kF16, KvFormat::kBF16, KvFormat::kI8, KvFormat::kI4}) {
    CheckBlocksBehindTheWindow(
        GetParam(),
        {.num_heads = 2, .num_kv_heads = 1, .head_dim = 32, .block_len = 32, .format = format, .window = 50});
  }
}

// A later token whose value overflowed to inf must not reach an earlier one, though they are computed together.
TEST_P(AttentionTest, LaterInfinitiesDoNotReachEarlierTokens) {
  for (const KvFormat format : {KvFormat::kF16, KvFormat::kBF16}) {
    for (const int head_dim : {24, 80}) {
      const Config config{.num_heads = 3, .num_kv_heads = 1, .head_dim = head_dim, .format = format};
      Text text = RandomText(config, 40, 6);
      const std::vector<float> want = Runner({GetParam(), config, 1, 1, 40, 1}).InChunks(text, 40);
      for (int64_t i = 0; i < 2 * config.head_dim; ++i) {
        text.qkv[static_cast<size_t>(35 * config.QkvWidth() + config.OutWidth() + i)] = INFINITY;
      }
      for (const int chunk : {40, 4}) {
        const std::vector<float> got = Runner({GetParam(), config, 1, 1, 40, 1}).InChunks(text, chunk);
        const int64_t before = 35 * config.OutWidth();
        EXPECT_TRUE(SameBits({want.begin(), want.begin() + before}, {got.begin(), got.begin() + before}))
            << config.ToString() << " chunk " << chunk;
        EXPECT_FALSE(std::isfinite(got.back()));
      }
    }
  }
}

TEST_P(AttentionTest, HugeScoresDoNotOverflow) {
  const Config config{.num_heads = 2, .num_kv_heads = 2, .head_dim = 64};
  Text text = RandomText(config, 100, 8);
  for (float& x : text.qkv) x *= 50;
  const std::vector<float> out = Runner({GetParam(), config, 1, 1, 100, 1}).InChunks(text, 100);
  for (const float x : out) EXPECT_TRUE(std::isfinite(x));
}

// Beyond fp16's 65504; of a text of one token the answer is its value.
TEST_P(AttentionTest, Bf16HoldsWhatExceedsFp16) {
  const Config config{.num_heads = 2, .num_kv_heads = 2, .head_dim = 24, .format = KvFormat::kBF16};
  Text text = RandomText(config, 1, 10);
  float* value = text.qkv.data() + config.OutWidth() * 2;
  for (int i = 0; i < config.OutWidth(); ++i) value[i] *= 1e30f;
  const std::vector<float> out = Runner({GetParam(), config, 1, 1, 1, 1}).InChunks(text, 1);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], BF16ToF32(F32ToBF16(value[i])));
}

TEST(AttentionTilesTest, EmulatedOnesAgreeBitForBit) {
  const std::vector<std::string> isas = GetIsaInfo().available;
  if (std::ranges::find(isas, "amx") == isas.end()) GTEST_SKIP() << "this machine has no AMX";
  for (const Config& config : Configs()) {
    const Text text = RandomText(config, 150, 12);
    const std::vector<float> want = Runner({"amx_emulated", config, 1, 1, 150, 1}).InChunks(text, 70);
    EXPECT_TRUE(SameBits(want, Runner({"amx", config, 1, 1, 150, 1}).InChunks(text, 70))) << config.ToString();
  }
}

struct RopeCase {
  int num_heads, num_kv_heads, head_dim, rotary_dim;
  bool norm;
  int tokens;
};

// What one RopeKvWrite is given and what it leaves.
struct Rope {
  Config config;
  Text text;
  std::vector<float> got, q_norm, k_norm, cos, sin;
  std::vector<int32_t> kv_slots;
  KvView kv;
  std::vector<std::byte> bytes;

  explicit Rope(const RopeCase& c)
      : config{.num_heads = c.num_heads, .num_kv_heads = c.num_kv_heads, .head_dim = c.head_dim, .block_len = 32},
        text(RandomText(config, c.tokens, 9)),
        got(text.qkv) {
    for (int d = 0; c.norm && d < c.head_dim; ++d) {
      q_norm.push_back(0.5f + 0.01f * static_cast<float>(d));
      k_norm.push_back(1.5f - 0.01f * static_cast<float>(d));
    }
    for (int t = 0; t < c.tokens; ++t) {
      kv_slots.push_back(t * 37 % 256);
      for (int i = 0; i < c.rotary_dim / 2; ++i) {
        cos.push_back(static_cast<float>(std::cos(0.3 * t + i)));
        sin.push_back(static_cast<float>(std::sin(0.3 * t + i)));
      }
    }
    kv.layout = CpuKvLayout(config.Shape(1));
    kv.num_blocks = 8;
    bytes.resize(static_cast<size_t>(kv.num_blocks * kv.layout.block_bytes));
    kv.data = bytes.data();
  }

  void Write(const std::string& isa, const RopeCase& c) {
    const auto backend = MakeCpuBackend(2, isa);
    const StepLimits limits{c.tokens, 1, c.tokens};
    Scratch scratch = *Scratch::Allocate(*backend, backend->StepBytes(limits, {&kv.layout, 1}));
    const Context context{.backend = backend.get(), .scratch = &scratch, .compute = Compute::kExact};
    std::vector<int32_t> positions(static_cast<size_t>(c.tokens)), tables(1), cu_seqlens = {0, c.tokens};
    std::iota(positions.begin(), positions.end(), 0);
    const KvGroupBatch group{.block_tables = tables, .block_table_stride = 1, .kv_slots = kv_slots};
    const StepBatch batch{.token_ids = positions,
                          .positions = positions,
                          .cu_seqlens = cu_seqlens,
                          .groups = {&group, 1},
                          .tail_slots = {},
                          .logits_rows = {},
                          .max_context = c.tokens};
    const Step step = BeginStep(context, batch, {&kv, 1});
    const auto view = [](std::vector<float>& x, Shape shape) { return TensorView{x.data(), DType::kF32, shape, {}}; };
    RopeKvWriteParams params{.qkv = view(got, {c.tokens, config.QkvWidth()}),
                             .cos = view(cos, {c.tokens, c.rotary_dim / 2}),
                             .sin = view(sin, {c.tokens, c.rotary_dim / 2}),
                             .q_norm = {},
                             .k_norm = {},
                             .norm_eps = 1e-6f,
                             .place = {}};
    if (c.rotary_dim == 0) params.cos = params.sin = {};
    if (c.norm) params.q_norm = view(q_norm, {c.head_dim}), params.k_norm = view(k_norm, {c.head_dim});
    RopeKvWrite(context, step, params);
  }

  // Head h of token t after norm and rotation, in double; heads from num_heads on are keys.
  std::vector<double> Want(const RopeCase& c, int t, int h) const {
    const auto begin = text.qkv.begin() + t * config.QkvWidth() + h * c.head_dim;
    std::vector<double> x(begin, begin + c.head_dim);
    double sum = 0;
    for (const double value : x) sum += value * value;
    for (size_t d = 0; c.norm && d < x.size(); ++d) {
      x[d] *= double{h < c.num_heads ? q_norm[d] : k_norm[d]} / std::sqrt(sum / c.head_dim + 1e-6);
    }
    const size_t half = static_cast<size_t>(c.rotary_dim) / 2, angles = static_cast<size_t>(t) * half;
    for (size_t i = 0; i < half; ++i) {
      const double a = x[i], b = x[i + half];
      x[i] = a * cos[angles + i] - b * sin[angles + i];
      x[i + half] = b * cos[angles + i] + a * sin[angles + i];
    }
    return x;
  }

  // Element d of the key and of the value that the cache holds for token t.
  std::pair<uint16_t, uint16_t> Cached(const RopeCase& c, int t, int kv_head, int d) const {
    const int slot = kv_slots[static_cast<size_t>(t)], offset = slot % 32;
    const auto* plane = reinterpret_cast<const uint16_t*>(bytes.data() + slot / 32 * kv.layout.block_bytes +
                                                          2 * kv_head * KvTiles(kv.layout).key_bytes);
    return {plane[d * 32 + offset], plane[(32 + offset) * c.head_dim + d]};
  }
};

void CheckRope(const std::string& isa, const RopeCase& c) {
  Rope rope(c);
  rope.Write(isa, c);
  for (int t = 0; t < c.tokens; ++t) {
    const float* got = rope.got.data() + t * rope.config.QkvWidth();  // [num_heads + 2 · num_kv_heads, head_dim]
    for (int h = 0; h < c.num_heads + c.num_kv_heads; ++h) {
      const std::vector<double> want = rope.Want(c, t, h);
      for (int d = 0; d < c.head_dim; ++d) {
        const float y = got[h * c.head_dim + d];
        ASSERT_TRUE(std::abs(y - want[static_cast<size_t>(d)]) <= 2e-6) << "dim " << c.head_dim << " head " << h;
        if (h < c.num_heads) continue;
        const auto [key, value] = rope.Cached(c, t, h - c.num_heads, d);
        EXPECT_EQ(key, F32ToF16(y));
        EXPECT_EQ(value, F32ToF16(got[(h + c.num_kv_heads) * c.head_dim + d]));
      }
    }
  }
}

TEST_P(AttentionTest, RopeKvWrite) {
  CheckRope(GetParam(), {1, 1, 64, 64, true, 1});
  CheckRope(GetParam(), {9, 3, 64, 64, false, 40});
  CheckRope(GetParam(), {9, 3, 64, 64, true, 40});
  CheckRope(GetParam(), {4, 1, 8, 8, true, 40});
  CheckRope(GetParam(), {3, 3, 24, 8, false, 40});
  CheckRope(GetParam(), {9, 3, 80, 32, true, 200});
  CheckRope(GetParam(), {2, 1, 96, 96, true, 40});
  CheckRope(GetParam(), {3, 1, 13, 6, true, 40});
  CheckRope(GetParam(), {3, 1, 128, 0, true, 40});
}

INSTANTIATE_TEST_SUITE_P(Isas, AttentionTest, testing::ValuesIn(AttentionIsas()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace ingot::ops
