// A model with and without a weights cache: the same logits, whatever happened to the file.
#include "models/weights_cache.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <thread>

#include "base/hash.h"
#include "base/test_folder.h"
#include "models/packed_file.h"
#include "models/test_runner.h"

namespace ingot::models {
namespace {

namespace fs = std::filesystem;

struct Loaded {
  uint64_t logits;  // their hash
  bool is_mapped;
  std::string log;
};

class WeightsCache : public testing::Test {
 protected:
  WeightsCache() { CopyModel("gguf_llama_q4_1"); }

  // The model's files, so that tests may change them.
  void CopyModel(const std::string& golden) {
    model_ = folder_ / golden;
    fs::copy(fs::path(INGOT_SOURCE_DIR) / "tests/goldens" / golden, model_, fs::copy_options::recursive);
  }
  std::shared_ptr<const formats::Checkpoint> Open() const { return formats::Checkpoint::Open(model_.string()).value(); }
  std::string cache() const { return folder_ / "cache"; }

  Loaded Load(const std::string& cache, ops::Backend& backend) const {
    testing::internal::CaptureStderr();
    const auto model = Model::Load(Open(), {.compute = ops::Compute::kFast, .weights_cache = cache}, backend).value();
    std::vector<Sequence> sequence(1);
    for (int i = 0; i < 40; ++i)
      sequence[0].tokens.push_back(static_cast<int32_t>((i * 37 + 5) % model->spec().vocab_size));
    TestRunner(*model, backend, {.compute = ops::Compute::kFast, .kv = ops::KvFormat::kF16}).Run(&sequence);
    const std::vector<float>& logits = sequence[0].logits;
    EXPECT_TRUE(model->mapped_weight_bytes() == 0 || model->mapped_weight_bytes() == model->weight_bytes());
    return {Hash64({reinterpret_cast<const char*>(logits.data()), logits.size() * sizeof(float)}),
            model->mapped_weight_bytes() > 0, testing::internal::GetCapturedStderr()};
  }
  Loaded Load(const std::string& cache) const { return Load(cache, *backend_); }
  std::string File() const { return PackedFilePath(cache(), *Open(), *backend_, ops::Compute::kFast); }

  // Loads with a file that does not fit: one line of warning, the right logits, and a good file from then on.
  void ExpectReplaced(const std::string& reason) const {
    const uint64_t expected = Load("").logits;
    const Loaded first = Load(cache());
    EXPECT_EQ(first.logits, expected) << reason;
    EXPECT_FALSE(first.is_mapped) << reason;
    EXPECT_NE(first.log.find(reason), std::string::npos) << first.log;
    EXPECT_EQ(std::ranges::count(first.log, '\n'), 1) << first.log;
    const Loaded second = Load(cache());
    EXPECT_EQ(second.logits, expected) << reason;
    EXPECT_TRUE(second.is_mapped) << reason;
    EXPECT_EQ(second.log, "");
  }

  TempFolder folder_;
  fs::path model_;
  const std::unique_ptr<ops::Backend> backend_ = ops::MakeCpuBackend(2);
};

TEST_F(WeightsCache, IsWrittenOnceAndMappedThen) {
  for (const char* golden : {"gguf_llama_k", "gguf_mixtral_q4_0", "llama_bias_tied", "internlm_bin"}) {
    CopyModel(golden);
    const Loaded without = Load("");
    EXPECT_FALSE(without.is_mapped);
    EXPECT_FALSE(fs::exists(File()));
    const Loaded first = Load(cache()), second = Load(cache());
    EXPECT_EQ(first.logits, without.logits) << golden;
    EXPECT_EQ(second.logits, without.logits) << golden;
    EXPECT_FALSE(first.is_mapped) << golden;
    EXPECT_TRUE(second.is_mapped) << golden;
    EXPECT_EQ(first.log + second.log, "");
  }
}

TEST_F(WeightsCache, IsOfOneCheckpointLayoutAndMode) {
  const std::string file = File();
  EXPECT_NE(PackedFilePath(cache(), *Open(), *backend_, ops::Compute::kExact), file);
  EXPECT_NE(PackedFilePath(cache(), *Open(), *ops::MakeCpuBackend(1, "reference"), ops::Compute::kFast), file);
  EXPECT_EQ(PackedFilePath(cache(), *Open(), *ops::MakeCpuBackend(1), ops::Compute::kFast), file);
  fs::rename(model_, folder_ / "elsewhere");  // where it lies does not matter
  model_ = folder_ / "elsewhere";
  EXPECT_EQ(File(), file);
  for (const auto& entry : fs::directory_iterator(model_))
    fs::last_write_time(entry.path(), fs::last_write_time(entry.path()) + std::chrono::seconds(1));
  EXPECT_NE(File(), file);
}

TEST_F(WeightsCache, DamageIsFoundWhereverItIs) {
  Load(cache());
  const std::string good = ReadFile(File()).value();
  const auto write = [&](const std::string& content) { ASSERT_TRUE(WriteFile(File(), content).ok()); };
  const auto flip = [&](size_t at) {
    std::string content = good;
    content[at] = static_cast<char>(content[at] ^ 0x10);
    write(content);
  };
  write("");
  ExpectReplaced("it has only 0 bytes");
  write(
      "A text that someone wrote to a file of this name, by mistake, or to see what happens then. It is long enough.");
  ExpectReplaced("it holds no packed weights");
  write(good.substr(0, good.size() - 1));
  ExpectReplaced(fmt::format("it has {} of {} bytes", good.size() - 1, good.size()));
  flip(7);  // the version
  ExpectReplaced("it holds no packed weights");
  flip(8);  // the key
  ExpectReplaced("it is of another model or version");
  for (const size_t at : {size_t{40}, size_t{47}, size_t{56}, size_t{64}, size_t{72}, size_t{88}}) {
    flip(at);
    ExpectReplaced("its table is damaged");
  }
  ThreadPool& pool = *backend_->host().pool;
  const auto bytes = std::as_bytes(std::span(good));
  const auto matrices = ParsePackedFile(bytes, good.substr(8, 32), pool).value();
  for (const PackedMatrix& matrix : matrices) {
    const auto at = static_cast<size_t>(matrix.data.data() - bytes.data());
    flip(at);
    ExpectReplaced("its weights are damaged");
    flip(at + matrix.data.size() - 1);
    ExpectReplaced("its weights are damaged");
  }
}

// A file that is whole, and was written under this key for other matrices: as after a change that raised no version.
TEST_F(WeightsCache, OtherMatricesUnderTheSameKeyAreFound) {
  Load(cache());
  const std::string key = fs::path(File()).stem().string();
  ThreadPool& pool = *backend_->host().pool;
  const std::string good = ReadFile(File()).value();
  const auto matrices = ParsePackedFile(std::as_bytes(std::span(good)), key, pool).value();
  const auto write = [&](const std::vector<PackedMatrix>& those) {
    ASSERT_TRUE(WritePackedFile(File(), key, those, pool).ok());
  };
  write({matrices.begin(), matrices.end() - 1});
  ExpectReplaced(fmt::format("it has {} matrices, which are too few", matrices.size() - 1));
  std::vector<PackedMatrix> swapped = matrices;
  std::swap(swapped[0], swapped[1]);
  write(swapped);
  ExpectReplaced("its matrix 1 is another one");
  std::vector<PackedMatrix> stale = matrices;
  ++stale[2].head_hash;
  write(stale);
  ExpectReplaced("its matrix 3 is another one");
}

TEST_F(WeightsCache, AFolderThatCannotBeWrittenIsAWarning) {
  const uint64_t expected = Load("").logits;
  ASSERT_TRUE(WriteFile(folder_ / "file", "").ok());
  const Loaded loaded = Load(folder_ / "file/cache");
  EXPECT_EQ(loaded.logits, expected);
  EXPECT_NE(loaded.log.find("the model runs without it"), std::string::npos) << loaded.log;
}

TEST_F(WeightsCache, AFullDiskIsAWarningAndLeavesNothing) {
  const uint64_t expected = Load("").logits;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{.rlim_cur = 20'000, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const Loaded loaded = Load(cache());
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(loaded.logits, expected);
  EXPECT_NE(loaded.log.find("the model runs without it"), std::string::npos) << loaded.log;
  EXPECT_TRUE(fs::is_empty(cache()));
}

TEST_F(WeightsCache, SeveralMayWriteItAtOnce) {
  const uint64_t expected = Load("").logits;
  for (int round = 0; round < 4; ++round) {
    fs::remove_all(cache());
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        const auto backend = ops::MakeCpuBackend(1);
        EXPECT_TRUE(Model::Load(Open(), {.weights_cache = cache()}, *backend).has_value());
      });
    }
    for (std::thread& thread : threads) thread.join();
    const Loaded loaded = Load(cache());
    EXPECT_TRUE(loaded.is_mapped);
    EXPECT_EQ(loaded.log, "");
    EXPECT_EQ(loaded.logits, expected);
    EXPECT_EQ(std::distance(fs::directory_iterator(cache()), fs::directory_iterator()), 1);
  }
}

}  // namespace
}  // namespace ingot::models
