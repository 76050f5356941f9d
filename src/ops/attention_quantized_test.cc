// What int8 and int4 caches do beyond what every format does (attention_test.cc).
#include "ops/test_attention.h"

namespace ingot::ops {
namespace {

std::vector<Config> QuantizedConfigs() {
  std::vector<Config> configs;
  for (const KvFormat format : {KvFormat::kI8, KvFormat::kI4}) {
    for (const int head_dim : {13, 64, 80, 128}) {
      configs.push_back({.num_heads = 4, .num_kv_heads = 2, .head_dim = head_dim, .format = format});
    }
  }
  return configs;
}

// Element i of token t's keys and values: [2 · num_kv_heads · head_dim].
float& KeyOrValue(const Config& config, Text& text, int t, int64_t i) {
  return text.qkv[static_cast<size_t>(t * config.QkvWidth() + config.OutWidth() + i)];
}

class QuantizedAttentionTest : public testing::TestWithParam<std::string> {
 protected:
  Runner MakeRunner(const Config& config, int length) const { return Runner({GetParam(), config, 2, 1, length, 1}); }
};

// Not only close: every instruction set rounds alike.
TEST_P(QuantizedAttentionTest, TheCacheHoldsTheBytesOfTheReference) {
  std::vector<Config> configs = QuantizedConfigs();
  for (const int head_dim : {13, 64}) {
    configs.push_back({.num_heads = 4, .num_kv_heads = 2, .head_dim = head_dim, .format = KvFormat::kBF16});
  }
  for (const Config& config : configs) {
    Text text = RandomText(config, 200, 1);
    for (int i = 0; i < 40; ++i) {
      KeyOrValue(config, text, 3, i) = 0;              // constant
      KeyOrValue(config, text, 5, i) = 1e9f;           // beyond fp16
      KeyOrValue(config, text, 7, i % 5) = -INFINITY;  // alike
      KeyOrValue(config, text, 70 + i, 2) = 7;         // a channel that is constant
      KeyOrValue(config, text, 9, i) *= 1e-7f;         // of subnormal scale
      if (i % 10 == 0) KeyOrValue(config, text, 100 + i, i) = NAN;
    }
    Runner runner = MakeRunner(config, 200), reference({"reference", config, 1, 1, 200, 1});
    runner.InChunks(text, 200);
    reference.InChunks(text, 63);
    EXPECT_TRUE(runner.bytes() == reference.bytes()) << config.ToString();
  }
}

TEST_P(QuantizedAttentionTest, CapacityIsAsPromised) {
  const auto bytes = [](KvFormat format) {
    const KvShape shape{.format = format, .num_layers = 30, .num_heads = 9, .num_kv_heads = 3, .head_dim = 64};
    return static_cast<double>(CpuKvLayout(shape).block_bytes);
  };
  EXPECT_GE(bytes(KvFormat::kF16) / bytes(KvFormat::kI8), 1.85);
  EXPECT_GE(bytes(KvFormat::kF16) / bytes(KvFormat::kI4), 3);
}

// Values that are all alike come back as they are: a query's answer is the value.
TEST_P(QuantizedAttentionTest, ConstantsAndZerosStayWhatTheyAre) {
  for (const Config& config : QuantizedConfigs()) {
    for (const float value : {0.0f, 0.5f, -3.0f, 65504.0f, 1e30f, INFINITY}) {
      Text text = RandomText(config, 100, 2);
      for (int t = 0; t < text.length; ++t) {
        for (int64_t i = 0; i < 2 * config.num_kv_heads * config.head_dim; ++i) {
          KeyOrValue(config, text, t, i) = i < config.num_kv_heads * config.head_dim ? std::min(value, 10.0f) : value;
        }
      }
      const float held = std::clamp(value, -65504.0f, 65504.0f);
      const float want = IsOnTiles(GetParam()) ? BF16ToF32(F32ToBF16(held)) : held;
      for (const float x : MakeRunner(config, 100).InChunks(text, 40)) {
        ASSERT_TRUE(std::abs(x - want) <= 1e-5f * std::abs(want)) << config.ToString() << " " << value << ": " << x;
      }
    }
  }
}

TEST_P(QuantizedAttentionTest, HugeNumbersGiveFiniteAnswers) {
  for (const Config& config : QuantizedConfigs()) {
    Text text = RandomText(config, 100, 3);
    for (int t = 0; t < text.length; ++t) {
      for (int64_t i = 0; i < 2 * config.num_kv_heads * config.head_dim; i += 1 + t % 3) {
        KeyOrValue(config, text, t, i) *= 1e20f;
      }
    }
    for (const float x : MakeRunner(config, 100).InChunks(text, 100)) ASSERT_TRUE(std::isfinite(x));
  }
}

// It must not become a number again: the engine ends such an answer with an error.
TEST_P(QuantizedAttentionTest, NotANumberStaysThatAndDoesNotReachEarlierTokens) {
  for (const Config& config : QuantizedConfigs()) {
    for (const bool in_value : {false, true}) {
      Text text = RandomText(config, 100, 4);
      const std::vector<float> want = MakeRunner(config, 100).InChunks(text, 100);
      for (int head = 0; head < config.num_kv_heads; ++head) {
        KeyOrValue(config, text, 50, ((in_value ? config.num_kv_heads : 0) + head) * config.head_dim + 1) = NAN;
      }
      const std::vector<float> got = MakeRunner(config, 100).InChunks(text, 100);
      const int64_t before = 50 * config.OutWidth();
      EXPECT_TRUE(SameBits({want.begin(), want.begin() + before}, {got.begin(), got.begin() + before}));
      for (int t = 50; t < 100; ++t) {
        for (int head = 0; head < config.num_heads; ++head) {
          const int64_t out = t * config.OutWidth() + head * config.head_dim + 1;
          EXPECT_TRUE(std::isnan(got[static_cast<size_t>(out)])) << config.ToString() << " token " << t;
        }
      }
    }
  }
}

// A sequence that begins behind cached blocks (a prefix hit ends on a multiple of 32) needs nothing of the tail, and a
// slot's next sequence nothing of the one before.
TEST_P(QuantizedAttentionTest, TailsHoldNothingAtMultiplesOf32) {
  const Config config{.num_heads = 4, .num_kv_heads = 2, .head_dim = 80, .format = KvFormat::kI4};
  const Text text = RandomText(config, 150, 5), other = RandomText(config, 150, 6);
  const std::vector<float> want = MakeRunner(config, 150).InChunks(text, 150);
  for (const int hit : {32, 64, 96, 128}) {
    Runner runner = MakeRunner(config, 150);
    runner.Step({&other}, {0}, {45});
    runner.Step({&text}, {0}, {hit / 2 + 3});
    std::vector<float> got = runner.Step({&text}, {hit / 2 + 3}, {hit});
    runner.ForgetTails();
    got = runner.Step({&text}, {hit}, {150});
    EXPECT_TRUE(SameBits({want.begin() + hit * config.OutWidth(), want.end()}, got)) << hit;
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, QuantizedAttentionTest, testing::ValuesIn(AttentionIsas()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace ingot::ops
