// Damaged files of every kind must give an error or a sound load: no crash, no hang. Ten times as many
// where INGOT_NIGHTLY=1.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "base/env.h"
#include "base/test_cpu_time.h"
#include "formats/damage.h"
#include "formats/fuzz_reads.h"

namespace ingot::formats {
namespace {

struct Kind {
  const char* name;
  Sample (*sample)();
  bool (*read)(std::span<const std::byte>);
};

class FormatsDamageTest : public testing::TestWithParam<Kind> {};

// A copy of exactly the file's size on the heap, so that a sanitizer sees a byte too many.
struct Heap {
  explicit Heap(const std::string& text) : size(text.size()), data(new std::byte[text.size()]) {
    std::transform(text.begin(), text.end(), data.get(), [](char c) { return static_cast<std::byte>(c); });
  }
  std::span<const std::byte> span() const { return {data.get(), size}; }
  size_t size;
  std::unique_ptr<std::byte[]> data;
};

TEST_P(FormatsDamageTest, GivesAnErrorOrASoundLoad) {
  const Sample sample = GetParam().sample();
  ASSERT_TRUE(GetParam().read(Heap(sample.bytes).span()));
  const int count = GetEnv("INGOT_NIGHTLY") ? 200'000 : 20'000;
  int accepted = 0;
  double slowest = 0;
  for (int seed = 0; seed < count; ++seed) {
    Random random(static_cast<uint64_t>(seed));
    const Heap damaged(seed % 2 == 0 ? DamageHeader(sample, &random) : DamageBytes(sample, &random));
    const double begin = CpuSeconds();
    accepted += GetParam().read(damaged.span()) ? 1 : 0;
    slowest = std::max(slowest, CpuSeconds() - begin);
  }
  EXPECT_LT(slowest, 1.0);
  // Both ends must be reached, else the damage is too light or too heavy to test anything.
  EXPECT_GT(accepted, count / 500);
  EXPECT_GT(count - accepted, count / 4);
  RecordProperty("accepted", accepted);
}

TEST_P(FormatsDamageTest, RefusesEveryTruncation) {
  const Sample sample = GetParam().sample();
  size_t accepted = 0;
  for (size_t size = 0; size < sample.bytes.size(); ++size) {
    accepted += GetParam().read(Heap(sample.bytes.substr(0, size)).span()) ? 1 : 0;
  }
  // Configurations that end between two of their files, or before any, are sound.
  EXPECT_LE(accepted, sample.header_bytes == sample.bytes.size() ? 5u : 0u);
}

Sample TorchFixture() { return TorchSample(INGOT_SOURCE_DIR "/src/formats/testdata/torch.pt"); }

INSTANTIATE_TEST_SUITE_P(Kinds, FormatsDamageTest,
                         testing::Values(Kind{"safetensors", SafetensorsSample, ReadAllOfSafetensors},
                                         Kind{"gguf", GgufSample, ReadAllOfGguf},
                                         Kind{"torch", TorchFixture, ReadAllOfTorch},
                                         Kind{"config", HfConfigSample, ReadAllOfHfConfig},
                                         Kind{"index", ShardIndexSample, ReadAllOfShardIndex}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace ingot::formats
