// Every golden in both forms: a converted model computes what its source computes.
#include "convert/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/test_folder.h"
#include "models/golden.h"
#include "models/model.h"
#include "models/test_runner.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

const fs::path kGoldens = fs::path(INGOT_SOURCE_DIR) / "tests" / "goldens";

// A vocabulary of 96 tokens, as many as the goldens have, none of which any merge makes.
std::string TinyTokenizerJson() {
  std::string vocab;
  for (int i = 0; i < 96; ++i) vocab += fmt::format(R"({}"t{}":{})", i == 0 ? "" : ",", i, i);
  return R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel",)"
         R"("add_prefix_space":false,"use_regex":true},"post_processor":null,"decoder":{"type":"ByteLevel"},)"
         R"("model":{"type":"BPE","vocab":{)" +
         vocab + R"(},"merges":[]}})";
}

// The golden; where it is a folder, a copy of it with a vocabulary. It says float32: Gemma rounds the scale of its
// embedding to the type that config.json names, which is another one after a conversion.
std::string Prepare(const std::string& name, const TempFolder& temp) {
  const fs::path gguf = kGoldens / name / "model.gguf";
  if (fs::exists(gguf)) return gguf;
  const fs::path copy = temp / "source";
  fs::copy(kGoldens / name, copy);
  std::ofstream(copy / "tokenizer.json") << TinyTokenizerJson();
  std::string config = *ReadFile((copy / "config.json").string());
  if (const size_t at = config.find("bfloat16"); at != std::string::npos) config.replace(at, 8, "float32");
  std::ofstream(copy / "config.json") << config;
  return copy;
}

std::shared_ptr<const formats::Checkpoint> Open(const std::string& path) {
  auto checkpoint = formats::Checkpoint::Open(path);
  if (!checkpoint) ADD_FAILURE() << checkpoint.error().ToString();
  return checkpoint ? *checkpoint : nullptr;
}

std::vector<int32_t> PromptOf(const std::string& golden) {
  const auto text = ReadFile((kGoldens / golden / "reference.json").string());
  const auto json = ParseJson(*text, "reference.json").value();
  std::vector<int32_t> ids;
  for (const auto& id : json.at("cases").at(0).at("prompt").as_array())
    ids.push_back(static_cast<int32_t>(id.as_int64()));
  return ids;
}

// [prompt, vocab_size], at the source's own longest context.
std::vector<float> LogitsOf(const std::string& path, const std::vector<int32_t>& prompt) {
  const auto checkpoint = Open(path);
  if (checkpoint == nullptr) return {};
  const auto backend = ops::MakeCpuBackend(1);
  const auto model = models::Model::Load(checkpoint, {.compute = ops::Compute::kExact}, *backend);
  if (!model) {
    ADD_FAILURE() << model.error().ToString();
    return {};
  }
  std::vector<models::Sequence> sequences = {{.tokens = prompt}};
  models::TestRunner(**model, *backend, {}).Run(&sequences);
  return sequences[0].logits;
}

using models::Distance;
using Converter = decltype(&ToGguf);

Result<ConvertReport> Convert(Converter converter, const std::string& from, const fs::path& to, Encoding encoding) {
  const auto checkpoint = Open(from);
  if (checkpoint == nullptr) return Internal("not opened");
  ThreadPool pool(2);
  return converter(*checkpoint, {.output = to, .encoding = encoding}, pool);
}

// What GGUF has no keys for: such a model is refused, by name.
const std::map<std::string, std::string> kRefusedByGguf = {
    {"llama_dynamic", "dynamic"},
    {"internlm3", "dynamic"},
    {"qwen2_window", "sliding windows"},
    {"qwen3_moe", "layers without experts"},
};

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, ComputesTheSameInEveryForm) {
  const TempFolder temp;
  const std::string source = Prepare(GetParam(), temp);
  const std::vector<int32_t> prompt = PromptOf(GetParam());
  const std::vector<float> reference = LogitsOf(source, prompt);

  const std::string hf = temp / "hf", gguf = temp / "model.gguf", back = temp / "back";
  auto report = Convert(ToHuggingFace, source, hf, Encoding::kF32);
  ASSERT_TRUE(report) << report.error().ToString();
  const double as_hf = Distance(LogitsOf(hf, prompt), reference);
  EXPECT_TRUE(as_hf <= 1e-5) << as_hf;

  report = Convert(ToGguf, source, gguf, Encoding::kF32);
  if (const auto refused = kRefusedByGguf.find(GetParam()); refused != kRefusedByGguf.end()) {
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code(), Code::kUnsupported);
    EXPECT_NE(report.error().ToString().find(refused->second), std::string::npos) << report.error().ToString();
    EXPECT_FALSE(fs::exists(gguf));
    return;
  }
  ASSERT_TRUE(report) << report.error().ToString();
  const double as_gguf = Distance(LogitsOf(gguf, prompt), reference);
  EXPECT_TRUE(as_gguf <= 1e-5) << as_gguf;
  report = Convert(ToHuggingFace, gguf, back, Encoding::kF32);
  ASSERT_TRUE(report) << report.error().ToString();
  const double as_back = Distance(LogitsOf(back, prompt), reference);
  EXPECT_TRUE(as_back <= 1e-5) << as_back;
}

// 16 and 8 bits cost what their rounding costs.
TEST_P(Golden, SmallerTypesAreClose) {
  const TempFolder temp;
  const std::string source = Prepare(GetParam(), temp);
  const std::vector<int32_t> prompt = PromptOf(GetParam());
  const std::vector<float> reference = LogitsOf(source, prompt);
  for (const auto& [converter, encoding, tolerance] : {std::tuple(&ToHuggingFace, Encoding::kF16, 0.01),
                                                       {&ToHuggingFace, Encoding::kBF16, 0.06},
                                                       {&ToGguf, Encoding::kF16, 0.01},
                                                       {&ToGguf, Encoding::kBF16, 0.06},
                                                       {&ToGguf, Encoding::kQ8_0, 0.15}}) {
    if (converter == &ToGguf && kRefusedByGguf.contains(GetParam())) continue;
    const std::string output = temp / (converter == &ToGguf ? "x.gguf" : "x");
    const auto report = Convert(converter, source, output, encoding);
    ASSERT_TRUE(report) << report.error().ToString();
    const double distance = Distance(LogitsOf(output, prompt), reference);
    // A GGUF file in F16 loses nothing on its way into another: its norms stay in F32.
    const bool is_copy = GetParam().ends_with("_f16") && converter == &ToGguf && encoding == Encoding::kF16;
    EXPECT_TRUE(distance <= (is_copy ? 1e-6 : tolerance)) << InfoOf(encoding).name << ": " << distance;
    fs::remove_all(output);
  }
}

std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGoldens)) {
    if (fs::exists(entry.path() / "reference.json")) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Families, Golden, testing::ValuesIn(GoldenNames()),
                         [](const auto& test) { return test.param; });

std::string TypeOfModel(const std::string& folder) {
  const auto checkpoint = Open(folder);
  return checkpoint == nullptr ? "" : std::string(checkpoint->config().at("model_type").as_string());
}

TEST(HuggingFaceFamily, IsOneThatNeedsNoCodeOfTheCheckpoint) {
  const std::pair<const char*, const char*> expected[] = {{"internlm", "llama"},
                                                          {"internlm2", "llama"},
                                                          {"internlm3", "llama"},
                                                          {"gguf_mixtral_q4_0", "mixtral"},
                                                          {"gguf_qwen3moe_q8_0", "qwen3_moe"},
                                                          {"gemma3_multimodal", "gemma3_text"},
                                                          {"mistral", "mistral"}};
  for (const auto& [golden, type] : expected) {
    const TempFolder temp;
    const auto report = Convert(ToHuggingFace, Prepare(golden, temp), temp / "x", Encoding::kF16);
    ASSERT_TRUE(report) << report.error().ToString();
    EXPECT_EQ(TypeOfModel(temp / "x"), type) << golden;
  }
}

// transformers refuses a fraction where it wants a whole number, and fills in ids that config.json leaves out.
TEST(ConfigJson, IsAsTransformersWantsIt) {
  const TempFolder temp;
  ASSERT_TRUE(Convert(ToHuggingFace, Prepare("gguf_gemma2_f16", temp), temp / "gemma", Encoding::kF16));
  const auto gemma = Open(temp / "gemma");
  ASSERT_TRUE(gemma);
  EXPECT_EQ(gemma->config().at("query_pre_attn_scalar"), 16);
  ASSERT_TRUE(Convert(ToHuggingFace, kGoldens / "phi3", temp / "phi3", Encoding::kF16));
  const auto phi3 = Open(temp / "phi3");
  ASSERT_TRUE(phi3);
  EXPECT_TRUE(phi3->config().at("pad_token_id").is_null());
  EXPECT_EQ(phi3->config().at("bos_token_id"), 1);
  EXPECT_EQ(phi3->config().at("eos_token_id"), 2);
}

TEST(ToGguf, AMistralWithWindowsComesBackAsOne) {
  const TempFolder temp;
  const auto report = Convert(ToGguf, Prepare("mistral", temp), temp / "x.gguf", Encoding::kF16);
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_NE(report->notices.back().find("above 11 tokens"), std::string::npos) << report->notices.back();
  ASSERT_TRUE(Convert(ToHuggingFace, temp / "x.gguf", temp / "x", Encoding::kF16));
  EXPECT_EQ(TypeOfModel(temp / "x"), "mistral");
}

TEST(ToHuggingFace, WithoutATokenizerSaysSo) {
  const TempFolder temp;
  const auto report = Convert(ToHuggingFace, kGoldens / "llama", temp / "x", Encoding::kF16);
  ASSERT_TRUE(report) << report.error().ToString();
  ASSERT_EQ(report->notices.size(), 2u);
  EXPECT_NE(report->notices[0].find("no tokenizer"), std::string::npos);
  EXPECT_FALSE(fs::exists(temp / "x/tokenizer.json"));
}

TEST(ToGguf, NeedsAVocabulary) {
  const TempFolder temp;
  const auto report = Convert(ToGguf, kGoldens / "llama", temp / "x.gguf", Encoding::kF16);
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().ToString().find("vocabulary"), std::string::npos) << report.error().ToString();
  EXPECT_FALSE(fs::exists(temp / "x.gguf"));
}

TEST(Output, IsNotWrittenOverUnlessForced) {
  const TempFolder temp;
  const std::string source = Prepare("llama", temp);
  const auto checkpoint = Open(source);
  ThreadPool pool(1);
  for (const Converter converter : {&ToHuggingFace, &ToGguf}) {
    const std::string output = temp / (converter == &ToGguf ? "x.gguf" : "x");
    ConvertOptions options{.output = output, .encoding = Encoding::kF16};
    ASSERT_TRUE(converter(*checkpoint, options, pool));
    const auto again = converter(*checkpoint, options, pool);
    ASSERT_FALSE(again);
    EXPECT_NE(again.error().ToString().find("--force"), std::string::npos) << again.error().ToString();
    options.force = true;
    const auto forced = converter(*checkpoint, options, pool);
    EXPECT_TRUE(forced) << forced.error().ToString();
  }
}

TEST(Output, IsNeverTheSource) {
  const TempFolder temp;
  const std::string source = Prepare("llama", temp);
  const auto checkpoint = Open(source);
  ThreadPool pool(1);
  const auto folder = ToHuggingFace(*checkpoint, {.output = source, .force = true}, pool);
  ASSERT_FALSE(folder);
  EXPECT_NE(folder.error().ToString().find("is the model"), std::string::npos) << folder.error().ToString();
  const auto file = ToGguf(*checkpoint, {.output = source + "/model.safetensors", .force = true}, pool);
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().ToString().find("is the model"), std::string::npos) << file.error().ToString();
}

TEST(ChatTemplate, GoesAlong) {
  const TempFolder temp;
  const std::string source = Prepare("llama", temp);
  const std::string text = "{% for message in messages %}<|{{ message.role }}|>é\n{% endfor %}";
  std::ofstream(source + "/chat_template.jinja") << text;
  const auto report = Convert(ToGguf, source, temp / "x.gguf", Encoding::kF16);
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_TRUE(report->notices.empty());
  ASSERT_TRUE(Convert(ToHuggingFace, temp / "x.gguf", temp / "x", Encoding::kF16));
  for (const char* name : {"x.gguf", "x"}) {
    const auto checkpoint = Open(temp / name);
    ASSERT_TRUE(checkpoint);
    EXPECT_EQ(checkpoint->chat_template(), text) << name;
  }
}

// A file where a folder should be, the other way round, a parent that is missing, and weights that would be mixed.
TEST(Output, OfTheWrongKindIsRefused) {
  const TempFolder temp;
  const std::string source = Prepare("llama", temp);
  const auto checkpoint = Open(source);
  ThreadPool pool(1);
  const std::string file = temp / "file", folder = temp / "folder";
  std::ofstream(file) << "x";
  fs::create_directory(folder);
  std::ofstream(folder + "/pytorch_model.bin") << "x";
  const auto expect = [](const Result<ConvertReport>& result, const char* part) {
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().ToString().find(part), std::string::npos) << result.error().ToString();
  };
  expect(ToHuggingFace(*checkpoint, {.output = file, .force = true}, pool), "is a file");
  expect(ToHuggingFace(*checkpoint, {.output = file + "/x"}, pool), "cannot create");
  expect(ToHuggingFace(*checkpoint, {.output = folder, .force = true}, pool), "pytorch_model.bin");
  expect(ToGguf(*checkpoint, {.output = folder, .force = true}, pool), "is a directory");
  expect(ToGguf(*checkpoint, {.output = temp / "missing/x.gguf"}, pool), "missing");
  expect(ToHuggingFace(*checkpoint, {.output = temp / "q8", .encoding = Encoding::kQ8_0}, pool), "Q8_0");
  EXPECT_FALSE(fs::exists(temp / "q8"));
}

// The folder cannot take the weights: what was put there goes again, and what was there stays.
TEST(Output, LeavesNothingHalfWritten) {
  const TempFolder temp;
  const auto checkpoint = Open(Prepare("llama", temp));
  ThreadPool pool(1);
  const std::string output = temp / "x";
  fs::create_directories(output + "/model.safetensors/in the way");
  std::ofstream(output + "/notes.txt") << "mine";
  const auto result = ToHuggingFace(*checkpoint, {.output = output, .force = true}, pool);
  ASSERT_FALSE(result);
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(output)) left.push_back(entry.path().filename());
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"model.safetensors", "notes.txt"}));
}

// float16 does not reach as far: such a weight is named, and nothing is left behind.
TEST(Output, RefusesWeightsThatDoNotFitTheType) {
  const TempFolder temp;
  const std::string source = temp / "f32";
  ASSERT_TRUE(Convert(ToHuggingFace, Prepare("llama", temp), source, Encoding::kF32));
  std::string bytes = *ReadFile(source + "/model.safetensors");
  const float large = 70000.0f;  // as the last weight of the file
  std::memcpy(bytes.data() + bytes.size() - sizeof large, &large, sizeof large);
  ASSERT_TRUE(WriteFile(source + "/model.safetensors", bytes).ok());
  const auto refused = Convert(ToHuggingFace, source, temp / "x", Encoding::kF16);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().ToString().find("holds 70000"), std::string::npos) << refused.error().ToString();
  EXPECT_FALSE(fs::exists(temp / "x"));
  EXPECT_TRUE(Convert(ToHuggingFace, source, temp / "x", Encoding::kBF16));
}

TEST(Progress, EndsAtTheTotal) {
  const TempFolder temp;
  const auto checkpoint = Open(Prepare("llama", temp));
  ThreadPool pool(2);
  int64_t last = -1, last_total = 0;
  ConvertOptions options{.output = temp / "x"};
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_GE(done, last);
    last = done;
    last_total = total;
  };
  const auto report = ToHuggingFace(*checkpoint, options, pool);
  ASSERT_TRUE(report);
  EXPECT_EQ(last, last_total);
  EXPECT_EQ(report->bytes, last_total);
  EXPECT_EQ(report->files.back(), "model.safetensors");
}

}  // namespace
}  // namespace ingot::convert
