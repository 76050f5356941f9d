// Every family: scales that are merged change nothing, and what is written is read again as a model that answers alike.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "base/mapped_file.h"
#include "lite/layer.h"
#include "lite/matrices.h"
#include "lite/preparation.h"
#include "lite/quantize.h"
#include "lite/work_folder.h"
#include "models/bind.h"
#include "models/test_runner.h"
#include "ops/cuda/test_device.h"

namespace ingot::lite {
namespace {

namespace fs = std::filesystem;
using models::HiddenStates;
using testing::HasSubstr;

const fs::path kGoldens = fs::path(INGOT_SOURCE_DIR) / "tests/goldens";

std::shared_ptr<const formats::Checkpoint> OpenGolden(const std::string& name) {
  const fs::path gguf = kGoldens / name / "model.gguf";
  return formats::Checkpoint::Open(fs::exists(gguf) ? gguf.string() : (kGoldens / name).string()).value();
}

// rms(a - b) / rms(b); NaN if either holds one.
double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return a.size() == b.size() ? std::sqrt(difference / norm) : NAN;
}

std::vector<std::string> Families() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGoldens)) {
    if (fs::is_directory(entry.path())) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class LiteFamily : public testing::TestWithParam<std::string> {
 protected:
  void ExpectReadAgain(QuantizeOptions options);
  std::unique_ptr<ops::Backend> backend_ = ops::MakeCpuBackend(2);
};

TEST_P(LiteFamily, MergedScalesChangeNothing) {
  const auto checkpoint = OpenGolden(GetParam());
  const convert::Source source = convert::ReadSource(*checkpoint).value();
  std::vector<models::RoleTensor> tensors;
  for (const auto& tensor : source.tensors) {
    if (tensor.layer == 0) tensors.push_back(tensor);
  }
  Layer layer(std::move(tensors), source.spec);
  std::mt19937 random(11);
  HiddenStates hidden(static_cast<size_t>(20 * source.spec.hidden_size));
  for (float& value : hidden) value = std::normal_distribution<float>()(random);
  models::LayerRunner runner(source.spec, {.kv_format = ops::KvFormat::kF32}, *backend_);
  HiddenStates plain = hidden, merged = hidden;
  ASSERT_TRUE(runner.Run(0, PackLayer(*backend_, layer.tensors()).value(), &plain).ok());
  int merges = 0;
  for (const Group& group : layer.groups()) {
    if (!group.can_merge()) continue;
    std::vector<float> rows(static_cast<size_t>(layer.ChannelsOf(group))), scale(rows.size());
    for (float& s : rows) s = std::uniform_real_distribution<float>(0.4f, 2.5f)(random);
    for (size_t c = 0; c < scale.size(); ++c) scale[c] = rows[static_cast<size_t>(group.RowOf(c))];
    layer.Merge(group, scale);
    ++merges;
  }
  EXPECT_GE(merges, 4);  // before Q, K, V; before O; before gate and up; before down
  ASSERT_TRUE(runner.Run(0, PackLayer(*backend_, layer.tensors()).value(), &merged).ok());
  for (size_t i = 0; i < plain.size(); ++i) {
    plain[i] -= hidden[i];
    merged[i] -= hidden[i];
  }
  EXPECT_TRUE(Distance(merged, plain) <= 1e-5) << Distance(merged, plain);
}

// Layer 0 by a recipe, calibrated on `hidden`: how far what it adds to `hidden` is from the original's.
class RecipeError {
 public:
  RecipeError(const convert::Source& source, const HiddenStates& hidden, ops::Backend& backend)
      : source_(source), hidden_(hidden), backend_(backend), runner_(source.spec, {}, backend) {
    for (const auto& tensor : source.tensors) {
      if (tensor.layer == 0) tensors_.push_back(tensor);
    }
  }
  double operator()(const Recipe& recipe) {
    Layer layer(tensors_, source_.spec);
    LayerStats stats;
    const Wanted wanted{.samples = recipe.scales == Scales::kSmoothQuant};
    const models::LinearTap tap = StatisticsTap(backend_.host(), source_.spec, wanted, &stats);
    const HiddenStates plain = Run(layer.tensors(), &tap);
    QuantizedLayer quantized = QuantizeLayer(backend_.host(), recipe, &layer, &stats).value();
    std::vector<models::RoleTensor> tensors = layer.tensors();
    for (auto& [i, weight] : quantized.weights) tensors[i].matrix = CodesMatrix(std::move(weight.rows), weight.order);
    return Distance(Run(tensors, nullptr), plain);
  }

 private:
  HiddenStates Run(const std::vector<models::RoleTensor>& tensors, const models::LinearTap* tap) {
    HiddenStates out = hidden_;
    EXPECT_TRUE(runner_.Run(0, PackLayer(backend_, tensors).value(), &out, tap).ok());
    for (size_t i = 0; i < out.size(); ++i) out[i] -= hidden_[i];
    return out;
  }

  const convert::Source& source_;
  const HiddenStates& hidden_;
  ops::Backend& backend_;
  models::LayerRunner runner_;
  std::vector<models::RoleTensor> tensors_;
};

// Some channels are large.
HiddenStates RandomHidden(int64_t tokens, int64_t width) {
  std::mt19937 random(12);
  HiddenStates hidden(static_cast<size_t>(tokens * width));
  for (size_t i = 0; i < hidden.size(); ++i) {
    const float size = i % static_cast<size_t>(width) % 11 == 3 ? 6.0f : 1.0f;
    hidden[i] = size * std::normal_distribution<float>()(random);
  }
  return hidden;
}

TEST_P(LiteFamily, CalibratedRecipesBeatRoundingToNearest) {
  const auto checkpoint = OpenGolden(GetParam());
  const convert::Source source = convert::ReadSource(*checkpoint).value();
  const HiddenStates hidden = RandomHidden(600, source.spec.hidden_size);
  RecipeError error(source, hidden, *backend_);
  const Format format{.bits = 4, .zero = Format::Zero::kInteger};  // a group a row: no width is divided by more
  const double nearest = error({.format = format});
  const double awq = error({.format = format, .scales = Scales::kAwq, .rounding = Rounding::kClipped});
  const double gptq = error({.format = format, .rounding = Rounding::kGptq, .act_order = true});
  const double both = error({.format = format, .scales = Scales::kAwq, .rounding = Rounding::kClippedGptq});
  EXPECT_TRUE(nearest > 0.01 && nearest < 0.6) << nearest;
  EXPECT_TRUE(awq < nearest) << awq << " " << nearest;
  EXPECT_TRUE(gptq < nearest) << gptq << " " << nearest;
  EXPECT_TRUE(both < nearest) << both << " " << nearest;
}

// A layer goes the same way on another device: what AWQ finds there is as good.
TEST(LiteOnCuda, AwqIsAsGoodAsOnTheCpu) {
  const auto checkpoint = OpenGolden("llama");
  const convert::Source source = convert::ReadSource(*checkpoint).value();
  const HiddenStates hidden = RandomHidden(2 * kFewestTokens, source.spec.hidden_size);
  const Format format{.bits = 4, .zero = Format::Zero::kInteger};
  const Recipe recipe{.format = format, .scales = Scales::kAwq, .rounding = Rounding::kClipped};
  const auto cpu = ops::MakeCpuBackend(2);
  const auto cuda = ops::MakeTestBackend(DType::kF16);
  const double want = RecipeError(source, hidden, *cpu)(recipe);
  RecipeError error(source, hidden, *cuda);
  const double got = error(recipe);
  EXPECT_TRUE(std::abs(got - want) <= 0.02 * want) << got << " " << want;
  EXPECT_TRUE(got < error({.format = format})) << got;
}

std::vector<float> LogitsOf(const std::shared_ptr<const formats::Checkpoint>& checkpoint, ops::Backend& backend) {
  const auto model = models::Model::Load(checkpoint, {.compute = ops::Compute::kExact}, backend).value();
  models::Sequence sequence;
  for (int i = 0; i < 40; ++i) sequence.tokens.push_back(static_cast<int32_t>((i * 31 + 7) % model->spec().vocab_size));
  std::vector<models::Sequence> sequences = {sequence};
  models::TestRunner(*model, backend, {}).Run(&sequences);
  return sequences[0].logits;
}

// Writes and reads GetParam() quantized so, to nearest, unless the format does not take its widths.
void LiteFamily::ExpectReadAgain(QuantizeOptions options) {
  const auto checkpoint = OpenGolden(GetParam());
  if (!CheckMatrices(convert::ReadSource(*checkpoint).value(), options).ok()) return;
  options.output = testing::TempDir() + fmt::format("ingot_lite_{}_{}", GetParam(), getpid());
  options.calibration.samples = 0;
  options.held_out_windows = 0;
  const auto report = Quantize(*checkpoint, options, *backend_);
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_FALSE(fs::exists(options.output + ".partial"));
  const auto written = formats::Checkpoint::Open(options.output);
  ASSERT_TRUE(written) << written.error().ToString();
  const double distance = Distance(LogitsOf(*written, *backend_), LogitsOf(checkpoint, *backend_));
  EXPECT_TRUE(distance <= (options.kind == OutputKind::kInt8 ? 0.05 : 0.6)) << distance;
  EXPECT_THAT(RefuseQuantized(**written).message(), HasSubstr("quantized already"));
  fs::remove_all(options.output);
}

// In the formats whose words this family's widths fill.
TEST_P(LiteFamily, IsReadAgainAndAnswersAlike) {
  constexpr Format kChannel{.bits = 4, .zero = Format::Zero::kInteger, .min_zero = 1};
  for (const OutputKind kind : {OutputKind::kInt8, OutputKind::kAwq, OutputKind::kGptq}) {
    QuantizeOptions options{.kind = kind};
    options.recipe.format = kind == OutputKind::kInt8 ? quant::kInt8PerOutput : kChannel;
    ExpectReadAgain(options);
  }
}

// Readers that convert every linear must know that routers stay as they are.
TEST(LiteConfig, GptqOfAMixtureLeavesTheRouterOut) {
  for (const auto& [name, pattern] :
       {std::pair("mixtral", "-:.*block_sparse_moe.gate$"), {"qwen3_moe", "-:.*mlp.gate$"}}) {
    const auto checkpoint = OpenGolden(name);
    const convert::Source source = convert::ReadSource(*checkpoint).value();
    QuantizeOptions options{.kind = OutputKind::kGptq};
    options.recipe.format = {.bits = 4, .zero = Format::Zero::kInteger, .min_zero = 1};
    const OutputForm form = MakeForm(*checkpoint, source, options);
    EXPECT_EQ(form.quantization.at("dynamic"), boost::json::value({{pattern, boost::json::object()}}));
    EXPECT_EQ(form.dense, Encoding::kBF16);
  }
  const auto llama = OpenGolden("llama");
  EXPECT_FALSE(MakeForm(*llama, convert::ReadSource(*llama).value(), {.kind = OutputKind::kGptq})
                   .quantization.contains("dynamic"));
}

INSTANTIATE_TEST_SUITE_P(All, LiteFamily, testing::ValuesIn(Families()), [](const auto& test) { return test.param; });

TEST(WorkFolder, AnOutputThatCannotBeReplacedStays) {
  const std::string output = testing::TempDir() + fmt::format("ingot_work_{}", getpid());
  fs::create_directories(output);
  ASSERT_TRUE(WriteFile(output + "/old", "mine").ok());
  {
    auto work = WorkFolder::Open(output, {{"a", 1}}, true).value();
    EXPECT_THAT(WorkFolder::Open(output, {{"a", 1}}, true).error().message(), HasSubstr("another run is at work"));
    EXPECT_FALSE(work.Finish(false).ok());  // there is no result
    EXPECT_EQ(ReadFile(output + "/old").value(), "mine");
    fs::rename(output, output + ".partial/replaced");  // killed between the two steps
  }
  auto work = WorkFolder::Open(output, {{"a", 2}}, true).value();
  EXPECT_EQ(ReadFile(output + "/old").value(), "mine");
  fs::create_directories(work.result_path(false));
  EXPECT_TRUE(work.Finish(false).ok());
  EXPECT_TRUE(fs::is_empty(output));
  EXPECT_FALSE(fs::exists(output + ".partial"));
  fs::remove_all(output);
}

TEST(RoomNeeded, CountsWhatIsThere) {
  const auto checkpoint = OpenGolden("llama");
  const convert::Source source = convert::ReadSource(*checkpoint).value();
  const std::string output = testing::TempDir() + fmt::format("ingot_room_{}", getpid());
  const QuantizeOptions options{.output = output, .recipe = {.format = {.bits = 4}}};
  const int64_t all = RoomNeeded(source, options);
  EXPECT_GT(all, 0);
  fs::create_directories(output + ".partial/layer-00000");
  ASSERT_TRUE(WriteFile(output + ".partial/layer-00000/part", std::string(1000, ' ')).ok());
  EXPECT_EQ(RoomNeeded(source, options), all - 1000);
  fs::remove_all(output + ".partial");
}

// The permutation of act-order and the places of codes survive the way through memory.
TEST(CodesMatrix, ReadsSlicesAsTheWhole) {
  WeightRows rows{.format = {.bits = 4, .group_size = 32, .zero = Format::Zero::kInteger}, .rows = 3, .cols = 64};
  for (int i = 0; i < 3 * 64; ++i) rows.codes.push_back(static_cast<uint8_t>(i * 7 % 16));
  for (int i = 0; i < 6; ++i) {
    rows.scale.push_back(0.5f + static_cast<float>(i));
    rows.zero.push_back(static_cast<float>(i));
  }
  std::vector<float> whole(3 * 64), slice(64);
  DequantizeRows(rows, whole.data());
  const WeightSourcePtr matrix = CodesMatrix(rows, nullptr);
  ReadDense(*matrix, 1, 1, slice.data());
  EXPECT_EQ(slice, std::vector<float>(whole.begin() + 64, whole.begin() + 128));
}

}  // namespace
}  // namespace ingot::lite
