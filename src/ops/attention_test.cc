#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ops/transformer.h"

namespace ingot::ops {
namespace {

using kernels::Isa;

struct Config {
  int num_heads = 4;
  int num_kv_heads = 1;
  int head_dim = 64;
  int block_len = 64;
  KvFormat format = KvFormat::kF16;
  int window = 0;
  float softcap = 0;

  std::string ToString() const {
    return "heads " + std::to_string(num_heads) + "/" + std::to_string(num_kv_heads) + " dim " +
           std::to_string(head_dim) + " block " + std::to_string(block_len) + " window " + std::to_string(window) +
           " cap " + std::to_string(softcap) + (format == KvFormat::kF16 ? " f16" : " f32");
  }
  int64_t QkvWidth() const { return int64_t{num_heads + 2 * num_kv_heads} * head_dim; }
  int64_t OutWidth() const { return int64_t{num_heads} * head_dim; }
};

float ThroughHalf(const Config& config, float x) { return config.format == KvFormat::kF16 ? F16ToF32(F32ToF16(x)) : x; }

// A sequence as the model gives it: q, k, v of every token, not rotated (cos = 1, sin = 0) unless a test says so.
struct Text {
  std::vector<float> qkv;  // [length, QkvWidth]
  int length;
};

Text RandomText(const Config& config, int length, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> draw(0, 1);
  Text text{std::vector<float>(static_cast<size_t>(length * config.QkvWidth())), length};
  for (float& x : text.qkv) x = draw(rng);
  return text;
}

struct RunnerParams {
  Isa isa;
  Config config;
  int num_threads;
  int num_seqs;
  int max_length;
  uint32_t block_seed;
};

// A step of one layer over some sequences: write K and V, then attend. The cache is full of NaN before.
class Runner {
 public:
  static constexpr int kLayer = 1;

  explicit Runner(const RunnerParams& params)
      : config_(params.config),
        pool_(params.num_threads),
        blocks_per_seq_((params.max_length + config_.block_len - 1) / config_.block_len) {
    const Config& config = config_;
    const int num_seqs = params.num_seqs, max_length = params.max_length;
    kv_.layout = {config.format, 2, config.num_kv_heads, config.head_dim, config.block_len};
    kv_.num_blocks = num_seqs * blocks_per_seq_ + 1;
    bytes_.assign(static_cast<size_t>(kv_.num_blocks * kv_.layout.block_bytes()), std::byte{0xff});
    kv_.data = bytes_.data();
    block_tables_.resize(static_cast<size_t>(num_seqs * blocks_per_seq_));
    std::iota(block_tables_.begin(), block_tables_.end(), 1);
    std::shuffle(block_tables_.begin(), block_tables_.end(), std::mt19937(params.block_seed));
    context_ = {.pool = &pool_, .scratch = &scratch_, .kernels = &kernels::TableFor(params.isa)};
    const int64_t bytes =
        AttentionScratchBytes(context_, int64_t{num_seqs} * max_length, config.num_heads, config.head_dim, max_length);
    scratch_ = *Scratch::Allocate(bytes);
  }

  // Tokens [begin[s], end[s]) of texts[s], the sequences in one batch. Returns the outputs, one sequence after another.
  std::vector<float> Step(const std::vector<const Text*>& texts, const std::vector<int>& begin,
                          const std::vector<int>& end) {
    std::vector<int32_t> positions, slots, cu_seqlens = {0};
    std::vector<float> qkv;
    for (size_t s = 0; s < texts.size(); ++s) {
      for (int p = begin[s]; p < end[s]; ++p) {
        positions.push_back(p);
        slots.push_back(BlockOf(s, p) * config_.block_len + p % config_.block_len);
      }
      qkv.insert(qkv.end(), texts[s]->qkv.begin() + begin[s] * config_.QkvWidth(),
                 texts[s]->qkv.begin() + end[s] * config_.QkvWidth());
      cu_seqlens.push_back(static_cast<int32_t>(positions.size()));
    }
    const std::vector<float> none;
    RopeKvWrite(context_, {.q = qkv.data(),
                           .k = qkv.data() + config_.OutWidth(),
                           .v = qkv.data() + config_.OutWidth() + config_.num_kv_heads * config_.head_dim,
                           .qkv_stride = config_.QkvWidth(),
                           .num_tokens = static_cast<int64_t>(positions.size()),
                           .num_heads = config_.num_heads,
                           .cos = none.data(),
                           .sin = none.data(),
                           .rotary_dim = 0,
                           .q_norm = nullptr,
                           .k_norm = nullptr,
                           .norm_eps = 0,
                           .slots = slots.data(),
                           .kv = kv_,
                           .layer = kLayer});
    std::vector<float> out(positions.size() * static_cast<size_t>(config_.OutWidth()), NAN);
    Attention(context_, {.q = qkv.data(),
                         .q_stride = config_.QkvWidth(),
                         .out = out.data(),
                         .num_heads = config_.num_heads,
                         .positions = positions.data(),
                         .cu_seqlens = cu_seqlens.data(),
                         .num_seqs = static_cast<int>(texts.size()),
                         .block_tables = block_tables_.data(),
                         .block_table_stride = blocks_per_seq_,
                         .kv = kv_,
                         .layer = kLayer,
                         .scale = 1 / std::sqrt(static_cast<float>(config_.head_dim)),
                         .softcap = config_.softcap,
                         .window = config_.window});
    EXPECT_EQ(scratch_.used(), 0);
    return out;
  }

  // One sequence in pieces of `chunk` tokens.
  std::vector<float> InChunks(const Text& text, int chunk) {
    std::vector<float> all;
    for (int begin = 0; begin < text.length; begin += chunk) {
      const auto out = Step({&text}, {begin}, {std::min(text.length, begin + chunk)});
      all.insert(all.end(), out.begin(), out.end());
    }
    return all;
  }

  // Blocks that no later query of sequence 0 may look into, as the engine frees them behind a window.
  void ForgetBlocksBefore(int position) {
    for (int b = 0; b < position / config_.block_len; ++b) block_tables_[static_cast<size_t>(b)] = 0;
  }

 private:
  int32_t BlockOf(size_t seq, int position) const {
    return block_tables_[seq * static_cast<size_t>(blocks_per_seq_) +
                         static_cast<size_t>(position / config_.block_len)];
  }

  Config config_;
  ThreadPool pool_;
  int blocks_per_seq_;
  std::vector<std::byte> bytes_;
  std::vector<int32_t> block_tables_;  // [num_seqs, blocks_per_seq]
  KvView kv_;
  Scratch scratch_;
  Context context_;
};

// Attention of token p in double.   out: [num_heads, head_dim]
std::vector<double> Exact(const Config& c, const Text& text, int p) {
  std::vector<double> out(static_cast<size_t>(c.OutWidth()), 0.0);
  const auto at = [&](int token, int64_t i) { return text.qkv[static_cast<size_t>(token * c.QkvWidth() + i)]; };
  const int begin = c.window > 0 ? std::max(0, p - c.window + 1) : 0;
  for (int h = 0; h < c.num_heads; ++h) {
    const int64_t k = (c.num_heads + h / (c.num_heads / c.num_kv_heads)) * c.head_dim;
    const int64_t v = k + c.num_kv_heads * c.head_dim;
    std::vector<double> scores;
    for (int j = begin; j <= p; ++j) {
      double score = 0;
      for (int d = 0; d < c.head_dim; ++d) score += double{at(p, h * c.head_dim + d)} * ThroughHalf(c, at(j, k + d));
      score /= std::sqrt(c.head_dim);
      scores.push_back(c.softcap > 0 ? c.softcap * std::tanh(score / c.softcap) : score);
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& s : scores) sum += s = std::exp(s - max);
    for (int j = begin; j <= p; ++j) {
      for (int d = 0; d < c.head_dim; ++d) {
        out[static_cast<size_t>(h * c.head_dim + d)] +=
            scores[static_cast<size_t>(j - begin)] / sum * ThroughHalf(c, at(j, v + d));
      }
    }
  }
  return out;
}

void ExpectCloseToExact(const Config& config, const Text& text, const std::vector<float>& out, int stride) {
  for (int p = 0; p < text.length;
       p += p + 1 < text.length && p + stride >= text.length ? text.length - 1 - p : stride) {
    const std::vector<double> want = Exact(config, text, p);
    double worst = 0;
    for (int64_t i = 0; i < config.OutWidth(); ++i) {
      const double error = std::abs(out[static_cast<size_t>(p * config.OutWidth() + i)] - want[static_cast<size_t>(i)]);
      if (!(error <= worst)) worst = error;
    }
    ASSERT_TRUE(worst <= 5e-6) << config.ToString() << " length " << text.length << " position " << p << ": " << worst;
    if (p == text.length - 1) break;
  }
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<Config> Configs() {
  std::vector<Config> configs;
  for (const int head_dim : {8, 24, 64, 80, 96, 128, 256}) {
    configs.push_back({.num_heads = 9, .num_kv_heads = 3, .head_dim = head_dim});
  }
  configs.push_back({.num_heads = 4, .num_kv_heads = 1, .head_dim = 64, .block_len = 32});
  configs.push_back({.num_heads = 1, .num_kv_heads = 1, .head_dim = 64, .format = KvFormat::kF32});
  configs.push_back({.num_heads = 3, .num_kv_heads = 1, .head_dim = 20, .block_len = 32, .format = KvFormat::kF32});
  configs.push_back({.num_heads = 3, .num_kv_heads = 1, .head_dim = 13, .block_len = 96});
  configs.push_back({.num_heads = 50, .num_kv_heads = 1, .head_dim = 16});  // more heads than a tile has rows
  configs.push_back({.num_heads = 2, .num_kv_heads = 2, .head_dim = 64, .softcap = 3});
  for (const int window : {1, 7, 40, 300, 513, 2000}) {
    configs.push_back({.num_heads = 3, .num_kv_heads = 1, .head_dim = 24, .block_len = 32, .window = window});
    configs.push_back({.num_heads = 2, .num_kv_heads = 2, .head_dim = 32, .window = window, .softcap = 20});
  }
  return configs;
}

class AttentionTest : public testing::TestWithParam<Isa> {
 protected:
  bool IsReference() const { return GetParam() == Isa::kReference; }
};

TEST_P(AttentionTest, EqualsDoublePrecision) {
  for (const Config& config : Configs()) {
    for (const int length : {1, 2, 33, 65, 511, 512, 513, 1100}) {
      const bool slow = IsReference() || config.head_dim > 80;
      if (slow && length > 65 && (length != 513 || (IsReference() && config.head_dim != 24))) continue;
      const Text text = RandomText(config, length, 1);
      Runner runner({GetParam(), config, 2, 1, length, 1});
      ExpectCloseToExact(config, text, runner.InChunks(text, length), length > 65 ? 149 : 7);
    }
  }
}

// Contract 1: however a token comes to be computed, its bits are the same. Unwritten slots are NaN throughout.
TEST_P(AttentionTest, ChunksDoNotChangeABit) {
  for (const Config& config : Configs()) {
    const int length = IsReference() ? 70 : config.head_dim > 80 ? 520 : 1100;
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
  Config config{.num_heads = 3, .num_kv_heads = 1, .head_dim = 64};
  const int length = IsReference() ? 70 : 600;
  const Text text = RandomText(config, length, 3);
  const std::vector<float> want = Runner({GetParam(), config, 1, 1, length, 1}).InChunks(text, length);
  for (const int block_len : {32, 96, 128, 1024}) {
    config.block_len = block_len;
    EXPECT_TRUE(SameBits(want, Runner({GetParam(), config, 1, 1, length, 3}).InChunks(text, length))) << block_len;
  }
}

TEST_P(AttentionTest, CompanyAndThreadsDoNotChangeABit) {
  for (const Config& config : {Config{.num_heads = 9, .num_kv_heads = 3, .head_dim = 64},
                               Config{.num_heads = 2, .num_kv_heads = 2, .head_dim = 24, .window = 100}}) {
    const std::vector<int> lengths = IsReference() ? std::vector<int>{40, 3} : std::vector<int>{1030, 1, 77, 520, 900};
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

TEST_P(AttentionTest, BlocksBehindTheWindowAreNotRead) {
  const Config config{.num_heads = 2, .num_kv_heads = 1, .head_dim = 32, .block_len = 32, .window = 50};
  const int length = IsReference() ? 200 : 1100;
  const Text text = RandomText(config, length, 5);
  const std::vector<float> whole = Runner({GetParam(), config, 1, 1, length, 1}).InChunks(text, length);
  Runner runner({GetParam(), config, 2, 1, length, 1});
  std::vector<float> out;
  for (int p = 0; p < length; p += 10) {
    const int end = std::min(length, p + 10);
    runner.ForgetBlocksBefore(p - config.window + 1 < 0 ? 0 : p - config.window + 1);  // block 0 is all NaN
    const auto piece = runner.Step({&text}, {p}, {end});
    out.insert(out.end(), piece.begin(), piece.end());
  }
  EXPECT_TRUE(SameBits(whole, out));
}

// A later token whose value overflowed to inf must not reach an earlier one, though they are computed together.
TEST_P(AttentionTest, LaterInfinitiesDoNotReachEarlierTokens) {
  const Config config{.num_heads = 3, .num_kv_heads = 1, .head_dim = 24};
  Text text = RandomText(config, 40, 6);
  const std::vector<float> want = Runner({GetParam(), config, 1, 1, 40, 1}).InChunks(text, 40);
  for (int64_t i = 0; i < 2 * config.head_dim; ++i) {
    text.qkv[static_cast<size_t>(35 * config.QkvWidth() + config.OutWidth() + i)] = INFINITY;
  }
  const std::vector<float> got = Runner({GetParam(), config, 1, 1, 40, 1}).InChunks(text, 40);
  const int64_t before = 35 * config.OutWidth();
  EXPECT_TRUE(SameBits({want.begin(), want.begin() + before}, {got.begin(), got.begin() + before}));
  EXPECT_FALSE(std::isfinite(got.back()));
}

TEST_P(AttentionTest, HugeScoresDoNotOverflow) {
  const Config config{.num_heads = 2, .num_kv_heads = 2, .head_dim = 64};
  Text text = RandomText(config, 100, 8);
  for (float& x : text.qkv) x *= 50;
  const std::vector<float> out = Runner({GetParam(), config, 1, 1, 100, 1}).InChunks(text, 100);
  for (const float x : out) EXPECT_TRUE(std::isfinite(x));
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
  std::vector<int32_t> slots;
  KvView kv;
  std::vector<std::byte> bytes;

  explicit Rope(const RopeCase& c)
      : config{.num_heads = c.num_heads, .num_kv_heads = c.num_kv_heads, .head_dim = c.head_dim},
        text(RandomText(config, c.tokens, 9)),
        got(text.qkv) {
    for (int d = 0; c.norm && d < c.head_dim; ++d) {
      q_norm.push_back(0.5f + 0.01f * static_cast<float>(d));
      k_norm.push_back(1.5f - 0.01f * static_cast<float>(d));
    }
    for (int t = 0; t < c.tokens; ++t) {
      slots.push_back(t * 37 % 256);
      for (int i = 0; i < c.rotary_dim / 2; ++i) {
        cos.push_back(static_cast<float>(std::cos(0.3 * t + i)));
        sin.push_back(static_cast<float>(std::sin(0.3 * t + i)));
      }
    }
    kv.layout = {KvFormat::kF16, 1, c.num_kv_heads, c.head_dim, 32};
    kv.num_blocks = 8;
    bytes.resize(static_cast<size_t>(kv.num_blocks * kv.layout.block_bytes()));
    kv.data = bytes.data();
  }

  void Write(Isa isa, const RopeCase& c) {
    ThreadPool pool(2);
    const Context context{.pool = &pool, .scratch = nullptr, .kernels = &kernels::TableFor(isa)};
    RopeKvWrite(context, {.q = got.data(),
                          .k = got.data() + config.OutWidth(),
                          .v = got.data() + config.OutWidth() + c.num_kv_heads * c.head_dim,
                          .qkv_stride = config.QkvWidth(),
                          .num_tokens = c.tokens,
                          .num_heads = c.num_heads,
                          .cos = cos.data(),
                          .sin = sin.data(),
                          .rotary_dim = c.rotary_dim,
                          .q_norm = c.norm ? q_norm.data() : nullptr,
                          .k_norm = c.norm ? k_norm.data() : nullptr,
                          .norm_eps = 1e-6f,
                          .slots = slots.data(),
                          .kv = kv,
                          .layer = 0});
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
    const int slot = slots[static_cast<size_t>(t)], offset = slot % 32;
    const auto* plane = reinterpret_cast<const uint16_t*>(bytes.data() + slot / 32 * kv.layout.block_bytes() +
                                                          2 * kv_head * kv.layout.plane_bytes());
    return {plane[d * 32 + offset], plane[(32 + offset) * c.head_dim + d]};
  }
};

void CheckRope(Isa isa, const RopeCase& c) {
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

INSTANTIATE_TEST_SUITE_P(Isas, AttentionTest, testing::ValuesIn(kernels::AvailableIsas()),
                         [](const auto& info) { return std::string(kernels::IsaName(info.param)); });

}  // namespace
}  // namespace ingot::ops
