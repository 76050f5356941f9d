#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/mapped_file.h"
#include "formats/checkpoint.h"
#include "formats/damage_samples.h"
#include "formats/gguf.h"
#include "formats/hf_config.h"
#include "formats/quantized.h"
#include "formats/safetensors.h"
#include "formats/split_name.h"
#include "formats/torch_file.h"
#include "formats/writers/gguf_writer.h"
#include "formats/writers/safetensors_writer.h"

namespace ingot::formats {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr const char* kTorchFixture = INGOT_SOURCE_DIR "/src/formats/testdata/torch.pt";

// A folder that goes with the test.
class FormatsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "ingot_formats_" + std::to_string(getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Write(const std::string& name, std::string_view content) const {
    const std::string path = folder_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    EXPECT_TRUE(WriteFile(path, content).ok());
    return path;
  }
  std::string folder_;
};

std::string OpenError(const std::string& path) {
  const auto checkpoint = Checkpoint::Open(path);
  return checkpoint ? "opened" : checkpoint.error().ToString();
}

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string Safetensors(std::string json, size_t data_bytes) {
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(json.size() >> 8 * i & 0xff);
  return file + json + std::string(data_bytes, '\0');
}

std::string SafetensorsError(const std::string& json, size_t data_bytes) {
  const std::string file = Safetensors(json, data_bytes);
  const auto tensors = ParseSafetensors(Bytes(file), "m.safetensors");
  return tensors ? "accepted" : tensors.error().ToString();
}

TEST(Safetensors, ChecksEveryField) {
  EXPECT_EQ(SafetensorsError(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), "accepted");
  EXPECT_EQ(SafetensorsError(R"({"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", 8), "accepted");
  EXPECT_EQ(SafetensorsError("{}", 0), "accepted");
  EXPECT_EQ(SafetensorsError(R"({"__metadata__":null})", 0), "accepted");
  const std::pair<const char*, const char*> cases[] = {
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,7]}})",
       "a.data_offsets: [0, 7] are 7 bytes, dtype and shape take 8"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       "must be ordered within the 8 bytes of data at offset"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "must be ordered"},
      {R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", "a.dtype: F33 is no safetensors type"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "-2 is negative"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", "passes 2^63 bits"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "4 bytes at offset"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "the tensor before it ends at"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       "the tensor before it ends at"},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,8]}})", "no whole bytes"},
      {R"({"__metadata__":{"x":1}})", "__metadata__"},
      {R"({"a":7})", "a"},
      {R"([])", "m.safetensors"},
      {R"({"a")", "header at offset 8"},
  };
  for (const auto& [json, message] : cases) EXPECT_THAT(SafetensorsError(json, 8), HasSubstr(message)) << json;
  const std::string huge = std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10);
  EXPECT_THAT(ParseSafetensors(Bytes(huge), "m").error().message(),
              HasSubstr("header length at offset 0 is 9223372036854775807"));
  EXPECT_THAT(ParseSafetensors(Bytes("abc"), "m").error().message(), HasSubstr("takes 8 bytes, 3 are left"));
}

std::string GgufError(const std::string& file) {
  const auto gguf = ParseGguf(Bytes(file), "m.gguf");
  return gguf ? "accepted" : gguf.error().ToString();
}

// The sample with the number at the n-th noted field replaced.
std::string WithField(const Sample& sample, size_t field, uint64_t number) {
  std::string bytes = sample.bytes;
  std::memcpy(bytes.data() + sample.fields[field].offset, &number, sample.fields[field].bytes);
  return bytes;
}

TEST(Gguf, NamesFieldAndOffset) {
  const Sample sample = GgufSample();
  EXPECT_EQ(GgufError(sample.bytes), "accepted");
  EXPECT_THAT(GgufError("GGML" + sample.bytes.substr(4)), HasSubstr("the first four bytes"));
  EXPECT_THAT(GgufError(WithField(sample, 0, 1)), HasSubstr("version at offset 4 is 1"));
  EXPECT_THAT(GgufError(WithField(sample, 0, 3 << 24)), HasSubstr("big-endian"));
  EXPECT_THAT(GgufError(WithField(sample, 1, ~uint64_t{0})),
              HasSubstr("tensor count at offset 8 is 18446744073709551615"));
  EXPECT_THAT(GgufError(WithField(sample, 2, uint64_t{1} << 40)), HasSubstr("metadata count at offset 16"));
  EXPECT_THAT(GgufError(WithField(sample, 3, uint64_t{1} << 62)), HasSubstr("metadata key at offset 24"));
  EXPECT_THAT(GgufError(WithField(sample, 4, 13)), HasSubstr("general.architecture at offset 52 has type 13"));
  EXPECT_THAT(GgufError(WithField(sample, 8, 48)), HasSubstr("general.alignment is 48, must be a power of two"));
  EXPECT_THAT(GgufError(sample.bytes.substr(0, sample.bytes.size() - 1)),
              HasSubstr("tensor nvfp4: 36 bytes at offset 960"));
}

TEST(Gguf, LimitsTheDepthOfArrays) {
  std::string file("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k\x9\0\0\0", 37);
  for (int i = 0; i < 100; ++i) file += std::string("\x9\0\0\0\1\0\0\0\0\0\0\0", 12);
  file += std::string("\0\0\0\0\0\0\0\0\0\0\0\0", 12);
  EXPECT_THAT(GgufError(file), HasSubstr("arrays nest at most"));
}

TEST(Gguf, KnowsTheNamesOfParts) {
  EXPECT_EQ(ParseSplitName("a-00002-of-00010.gguf")->no, 2);
  EXPECT_EQ(ParseSplitName("a-00002-of-00010.gguf")->prefix, "a");
  EXPECT_EQ(ParseSplitName("a-00011-of-00010.gguf"), std::nullopt);
  EXPECT_EQ(ParseSplitName("a-0000x-of-00010.gguf"), std::nullopt);
  EXPECT_EQ(SplitName({"a", 3, 12}), "a-00003-of-00012.gguf");
}

TEST(Torch, ReadsAFileOfTorchItself) {
  const auto checkpoint = Checkpoint::Open(kTorchFixture);
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().ToString();
  const auto a = (*checkpoint)->Floats("a", 24);
  ASSERT_TRUE(a.has_value());
  for (int i = 0; i < 24; ++i) EXPECT_EQ((*a)[i], i);
  EXPECT_EQ((*checkpoint)->Floats("v").value()[0], 6);
  EXPECT_EQ((*checkpoint)->Floats("p").value(), (std::vector<float>{1, 1, 1, 1}));
  EXPECT_EQ((*checkpoint)->Floats("h").value(), (std::vector<float>{1, 1, 1}));
  EXPECT_THAT((*checkpoint)->Floats("t").error().message(), HasSubstr("strides [1, 6]"));
  EXPECT_THAT((*checkpoint)->Floats("i").error().message(), HasSubstr("type I64"));
  EXPECT_THAT((*checkpoint)->Floats("a", 25).error().message(), HasSubstr("has 24 elements, expected 25"));
  EXPECT_EQ((*checkpoint)->Floats("missing").error().code(), Code::kNotFound);
  EXPECT_EQ((*checkpoint)->Weight("v").value()->rows(), 2);
  EXPECT_FALSE((*checkpoint)->Weight("h").has_value());
}

// The fixture's directory rewritten with every number in zip64 fields, as archives above 4 GB have it.
std::string AsZip64(const std::string& file) {
  const auto number = [](uint64_t value, size_t bytes) {
    return std::string(reinterpret_cast<const char*>(&value), bytes);
  };
  const auto load = [&file](size_t at, size_t bytes) {
    uint64_t value = 0;
    std::memcpy(&value, file.data() + at, bytes);
    return value;
  };
  const size_t end = file.rfind("PK\5\6");
  const size_t begin = load(end + 16, 4), entries = load(end + 10, 2);
  std::string out = file.substr(0, begin);
  for (size_t i = 0, at = begin; i < entries; ++i) {
    const size_t name = load(at + 28, 2), extra = load(at + 30, 2), comment = load(at + 32, 2);
    std::string record = file.substr(at, 46 + name);
    const std::string numbers = number(load(at + 24, 4), 8) + number(load(at + 20, 4), 8) + number(load(at + 42, 4), 8);
    record.replace(20, 8, std::string(8, '\xff'));
    record.replace(30, 2, number(4 + numbers.size(), 2));
    record.replace(32, 2, number(0, 2));
    record.replace(42, 4, std::string(4, '\xff'));
    out += record + number(1, 2) + number(numbers.size(), 2) + numbers;
    at += 46 + name + extra + comment;
  }
  const size_t size = out.size() - begin, record_at = out.size();
  out += "PK\6\6" + number(44, 8) + number(45, 2) + number(45, 2) + number(0, 8) + number(entries, 8) +
         number(entries, 8) + number(size, 8) + number(begin, 8);
  out += "PK\6\7" + number(0, 4) + number(record_at, 8) + number(1, 4);
  return out + "PK\5\6" + number(0, 4) + std::string(12, '\xff') + number(0, 2);
}

TEST(Torch, ReadsZip64) {
  const std::string plain = ReadFile(kTorchFixture).value();
  const std::string large = AsZip64(plain);
  const auto expected = ParseTorch(Bytes(plain), "m.pt"), actual = ParseTorch(Bytes(large), "m.pt");
  ASSERT_TRUE(actual.has_value()) << actual.error().ToString();
  ASSERT_EQ(actual->size(), expected->size());
  for (size_t i = 0; i < actual->size(); ++i) {
    EXPECT_EQ((*actual)[i].name, (*expected)[i].name);
    EXPECT_TRUE(std::ranges::equal((*actual)[i].bytes, (*expected)[i].bytes));
  }
}

TEST(HfConfig, UnitesEndTokensAndFindsTheTemplate) {
  HfTexts texts;
  texts.config = R"({"model_type":"llama","eos_token_id":[2,-1,2],"bos_token_id":null})";
  texts.generation_config = R"({"eos_token_id":5,"bos_token_id":1})";
  texts.tokenizer_config = R"({"chat_template":"from config"})";
  EXPECT_EQ(ParseHfConfig(texts, "m")->eos_ids, (std::vector<int64_t>{2, 5}));
  EXPECT_EQ(ParseHfConfig(texts, "m")->bos_id, 1);
  EXPECT_EQ(ParseHfConfig(texts, "m")->model_type, "llama");
  EXPECT_EQ(ParseHfConfig(texts, "m")->chat_template, "from config");
  texts.chat_template_json = R"({"chat_template":"from json"})";
  EXPECT_EQ(ParseHfConfig(texts, "m")->chat_template, "from json");
  texts.chat_template_jinja = "from jinja";
  EXPECT_EQ(ParseHfConfig(texts, "m")->chat_template, "from jinja");
  texts.config = R"({"eos_token_id":"x"})";
  EXPECT_THAT(ParseHfConfig(texts, "m").error().message(), HasSubstr("m/config.json: eos_token_id"));
  texts.config = "[]";
  EXPECT_FALSE(ParseHfConfig(texts, "m").has_value());
}

TEST(HfConfig, KeepsShardsInTheirFolder) {
  EXPECT_EQ(ParseShardIndex(R"({"weight_map":{"a":"m-1.safetensors"}})", "i")->at("a"), "m-1.safetensors");
  for (const char* name : {"../m", "/etc/passwd", "a/b", "", ".hidden", "a\\\\b", "a\\u0000b"}) {
    const auto index = ParseShardIndex(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", name), "i");
    ASSERT_FALSE(index.has_value()) << name;
    EXPECT_THAT(index.error().message(), HasSubstr("is no plain file name"));
  }
  EXPECT_FALSE(ParseShardIndex(R"({"weight_map":{}})", "i").has_value());
  EXPECT_FALSE(ParseShardIndex("{}", "i").has_value());
}

TEST_F(FormatsTest, OpensDirectoriesAndNamesWhatIsWrong) {
  const std::string a = Safetensors(R"({"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})", 8);
  EXPECT_THAT(OpenError(folder_), HasSubstr("neither config.json nor a .gguf file"));
  Write("config.json", R"({"model_type":"llama"})");
  EXPECT_THAT(OpenError(folder_), HasSubstr("no weights; looked for model.safetensors"));
  Write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  EXPECT_THAT(OpenError(folder_), HasSubstr("one.safetensors: no such file"));
  Write("one.safetensors", a);
  Write("two.safetensors", a);
  EXPECT_THAT(OpenError(folder_), HasSubstr("weight_map.b: two.safetensors has no such tensor"));
  Write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors"}})");
  EXPECT_EQ(OpenError(folder_ + "/"), "opened");
  EXPECT_EQ(OpenError(folder_ + "/one.safetensors"), "opened");
  EXPECT_EQ(Checkpoint::Open(folder_).value()->Weight("a").value()->cols(), 2);
  EXPECT_THAT(OpenError(Write("notes.txt", "x")), HasSubstr("not a model"));
  EXPECT_EQ(OpenError(Write("blob", GgufSample().bytes)), "opened");
  EXPECT_THAT(OpenError(folder_ + "/none"), HasSubstr("no such file"));
  Write("generation_config.json", "{");
  EXPECT_THAT(OpenError(folder_), HasSubstr("generation_config.json"));
}

TEST_F(FormatsTest, NamesGitLfs) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4976698672\n";
  Write("config.json", R"({"model_type":"llama"})");
  Write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors"}})");
  for (const char* name : {"one.safetensors", "model.safetensors", "tokenizer.model", "model.gguf"}) {
    const std::string file = Write(name, pointer);
    EXPECT_THAT(OpenError(name == std::string("model.gguf") ? file : folder_),
                HasSubstr(file + ": a pointer of Git LFS in place of the file"));
  }
}

TEST_F(FormatsTest, NamesAWorkspaceOfLmdeploy) {
  std::filesystem::create_directories(folder_ + "/triton_models/weights");
  EXPECT_THAT(OpenError(folder_), HasSubstr("converted by LMDeploy; give the checkpoint that it was made from"));
}

TEST_F(FormatsTest, ATokenizerNeedsNoWeights) {
  Write("tokenizer.json", "{}");
  EXPECT_THAT(OpenError(folder_), HasSubstr("neither config.json nor a .gguf file"));
  const auto bare = Checkpoint::Open(folder_, {.weights = false});
  ASSERT_TRUE(bare.has_value()) << bare.error().ToString();
  EXPECT_EQ((*bare)->vocabulary().tokenizer_json, "{}");
  Write("config.json", R"({"model_type":"llama","eos_token_id":7})");
  EXPECT_THAT(OpenError(folder_), HasSubstr("no weights; looked for"));
  EXPECT_EQ(Checkpoint::Open(folder_, {.weights = false}).value()->vocabulary().eos_ids, (std::vector<int64_t>{7}));
}

TEST_F(FormatsTest, ListsTypesThatItCannotRead) {
  Write("config.json", "{}");
  Write("model.safetensors", Safetensors(R"({"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", 8));
  const auto safetensors = Checkpoint::Open(folder_).value();
  EXPECT_EQ(StoredAs(*safetensors->Find("a")), "F8_E4M3");
  EXPECT_EQ(safetensors->weight_bytes(), 8);
  EXPECT_EQ(StoredFormat(*safetensors->Find("a")), std::nullopt);
  // GGUF: two matrices, the first of a type that no one knows.
  const OutputTensor first{"a", Encoding::kF32, {2, 32}}, second{"b", Encoding::kF32, {2, 32}};
  auto writer = GgufWriter::Create(folder_ + "/m.gguf", {{"general.architecture", "llama"}}, {first, second}).value();
  ASSERT_TRUE(writer->Write(std::vector<std::byte>(512)).ok());
  ASSERT_TRUE(writer->Finish().ok());
  std::string file = ReadFile(folder_ + "/m.gguf").value();
  const size_t name = file.find("a", file.find("general.architecture") + 40);
  const size_t type = name + 1 + 4 + 16;  // behind the rank and two dimensions
  ASSERT_EQ(file.substr(type, 4), std::string(4, '\0'));
  file[type] = 99;
  Write("m.gguf", file);
  const auto checkpoint = Checkpoint::Open(folder_ + "/m.gguf").value();
  EXPECT_EQ(StoredAs(*checkpoint->Find("a")), "GGML type 99");
  EXPECT_EQ(StoredBytes(*checkpoint->Find("a")), 256);
  EXPECT_EQ(checkpoint->weight_bytes(), 512);
  EXPECT_EQ(checkpoint->Floats("a").error().code(), Code::kUnsupported);
}

TEST_F(FormatsTest, OpensTheOnlyGgufOfADirectory) {
  Write("one.gguf", GgufSample().bytes);
  const auto checkpoint = Checkpoint::Open(folder_);
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().ToString();
  EXPECT_EQ((*checkpoint)->path(), folder_ + "/one.gguf");
  EXPECT_EQ((*checkpoint)->Weight("experts").value()->rows(), 4);
  EXPECT_EQ((*checkpoint)->Weight("blk.0.ffn.weight").value()->format().bits, 4);
  Write("config.json", "{}");
  EXPECT_EQ(Checkpoint::Open(folder_).value()->kind(), CheckpointKind::kGguf);
  Write("two.gguf", GgufSample().bytes);
  EXPECT_THAT(OpenError(folder_), HasSubstr("holds 2 GGUF models; name one"));
}

TEST_F(FormatsTest, WritersRefuseWhatDoesNotFit) {
  const auto create = [this](OutputTensor tensor) {
    return GgufWriter::Create(folder_ + "/m.gguf", {}, {std::move(tensor)});
  };
  EXPECT_THAT(create({"t", Encoding::kQ8_0, {2, 33}}).error().message(), HasSubstr("needs a multiple of 32"));
  EXPECT_FALSE(create({"t", Encoding::kU8, {2}}).has_value());
  EXPECT_FALSE(create({"t", Encoding::kF32, {1, 1, 1, 1, 1}}).has_value());
  EXPECT_FALSE(SafetensorsWriter::Create(folder_, {{"t", Encoding::kQ8_0, {32}}}).has_value());
  EXPECT_FALSE(
      SafetensorsWriter::Create(folder_, {{"t", Encoding::kF32, {1}}, {"t", Encoding::kF32, {1}}}).has_value());
  auto writer = create({"t", Encoding::kF32, {2}});
  ASSERT_TRUE(writer.has_value());
  const std::vector<std::byte> four(4);
  EXPECT_TRUE((*writer)->Write(four).ok());
  EXPECT_THAT((*writer)->Finish().message(), HasSubstr("tensor t got 4 of 8 bytes"));
  EXPECT_TRUE((*writer)->Write(four).ok());
  EXPECT_THAT((*writer)->Write(four).message(), HasSubstr("past the last tensor"));
  writer->reset();
  EXPECT_TRUE(fs::is_empty(folder_));  // an unfinished writer leaves nothing
}

class ResolveTest : public FormatsTest {
 protected:
  void SetUp() override {
    FormatsTest::SetUp();
    setenv("HF_HUB_CACHE", folder_.c_str(), 1);
  }
  void TearDown() override {
    unsetenv("HF_HUB_CACHE");
    FormatsTest::TearDown();
  }
  static std::string Resolve(const std::string& name) {
    const auto path = ResolveModel(name);
    return path ? *path : path.error().ToString();
  }
};

TEST_F(ResolveTest, FollowsTheCacheLayout) {
  const std::string repository = "models--Org--Name/";
  EXPECT_THAT(Resolve("Org/Name"), HasSubstr("not in the Hugging Face cache (" + folder_ + "/models--Org--Name)"));
  Write(repository + "blobs/b1", "{}");
  Write(repository + "snapshots/c0ffee/unused", "");
  fs::create_symlink("../../blobs/b1", folder_ + "/" + repository + "snapshots/c0ffee/config.json");
  const std::string first = folder_ + "/" + repository + "snapshots/c0ffee";
  EXPECT_EQ(Resolve("Org/Name"), first);  // no refs/main: the newest snapshot
  Write(repository + "snapshots/beef/model-q4.gguf", "");
  Write(repository + "refs/main", "c0ffee\n");
  Write(repository + "refs/pr/1", "beef");
  EXPECT_EQ(Resolve("Org/Name"), first);
  EXPECT_EQ(Resolve("Org/Name@c0ffee"), first);
  EXPECT_EQ(Resolve("Org/Name@pr/1"), folder_ + "/" + repository + "snapshots/beef/model-q4.gguf");
  EXPECT_THAT(Resolve("Org/Name@v2"), HasSubstr("has no such revision"));
  EXPECT_EQ(Resolve(first + "/config.json"), first + "/config.json");
}

TEST_F(ResolveTest, RefusesNamesThatLeadElsewhere) {
  Write("models--Org--Name/refs/main", "../../../etc");
  EXPECT_THAT(Resolve("Org/Name"), HasSubstr("is no commit"));
  for (const char* name : {"Org/../Name", "Org/Name@../x", "a/b/c", "Org/", "", "nothing"}) {
    EXPECT_FALSE(ResolveModel(name).has_value()) << name;
  }
}

TEST_F(FormatsTest, SaysWhichQuantizationIsNotRead) {
  const std::string weights = Safetensors(R"({"a.qweight":{"dtype":"I32","shape":[4,4],"data_offsets":[0,64]}})", 64);
  const auto error = [&](const std::string& quantization) {
    Write("q/config.json", quantization.empty() ? "{}" : R"({"quantization_config":)" + quantization + "}");
    Write("q/model.safetensors", weights);
    const auto opened = Checkpoint::Open(folder_ + "/q");
    if (!opened) return opened.error().ToString();
    EXPECT_NE((*opened)->Find("a.qweight"), nullptr);  // as it is
    const boost::json::value config((*opened)->config());
    return CheckQuantization(JsonView(config, "config.json")).ToString();
  };
  EXPECT_THAT(error(""), AllOf(HasSubstr("a.qweight"), HasSubstr("no quantization_config")));
  EXPECT_THAT(error(R"({"quant_method":"bitsandbytes"})"), AllOf(HasSubstr("unsupported"), HasSubstr("bitsandbytes")));
  EXPECT_THAT(error(R"({"quant_method":"awq","version":"gemv"})"), AllOf(HasSubstr("gemv"), HasSubstr("\"gemm\"")));
  EXPECT_THAT(error(R"({"quant_method":"awq","bits":8})"), HasSubstr("AWQ with 8 bits"));
  EXPECT_THAT(error(R"({"quant_method":"gptq","bits":3})"), HasSubstr("GPTQ with 3 bits"));
  EXPECT_THAT(error(R"({"quant_method":"gptq","group_size":24})"), HasSubstr("groups of 24"));
  EXPECT_THAT(error(R"({"quant_method":"gptq","checkpoint_format":"marlin"})"), HasSubstr("marlin"));
  EXPECT_THAT(error(R"({"quant_method":"compressed-tensors","format":"float-quantized"})"),
              HasSubstr("float-quantized"));
  EXPECT_THAT(error(R"({"quant_method":"awq","group_size":32})"), HasSubstr("a.scales is missing"));
}

// One matrix of 8 outputs and 32 inputs, whose codes are 9 and whose scales are 1: each weight is 1 if the zero is 8.
TEST_F(FormatsTest, ReadsSymmetricGptqWhicheverWayItsZerosAreStored) {
  const std::string tensors = R"({"a.qweight":{"dtype":"I32","shape":[4,8],"data_offsets":[0,128]},)"
                              R"("a.scales":{"dtype":"F16","shape":[1,8],"data_offsets":[128,144]},)"
                              R"("a.qzeros":{"dtype":"I32","shape":[1,1],"data_offsets":[144,148]}})";
  const auto read = [&](const std::string& label, bool symmetric, char zeros, std::string* said) {
    std::string file = Safetensors(tensors, 148);
    const size_t data = file.size() - 148;
    std::fill_n(file.begin() + data, 128, '\x99');
    for (size_t i = 0; i < 8; ++i) file.replace(data + 128 + 2 * i, 2, std::string("\0\x3c", 2));  // 1 in f16
    std::fill_n(file.begin() + data + 144, 4, zeros);
    Write("z/model.safetensors", file);
    Write("z/config.json",
          fmt::format(R"({{"quantization_config":{{"quant_method":"gptq","bits":4,"group_size":32,"sym":{},)"
                      R"("checkpoint_format":"{}"}}}})",
                      symmetric, label));
    testing::internal::CaptureStderr();
    const auto checkpoint = Checkpoint::Open(folder_ + "/z").value();
    *said = testing::internal::GetCapturedStderr();
    std::vector<float> row(32);
    ReadDense(*checkpoint->Weight("a.weight").value(), 3, 1, row.data());
    return row[5];
  };
  std::string said;
  EXPECT_EQ(read("gptq", true, '\x77', &said), 1.0f);
  EXPECT_EQ(said, "");
  EXPECT_EQ(read("gptq_v2", true, '\x88', &said), 1.0f);
  EXPECT_EQ(said, "");
  EXPECT_EQ(read("gptq", true, '\x88', &said), 1.0f);  // mislabelled
  EXPECT_THAT(said,
              HasSubstr("checkpoint_format says gptq, but the zeros of 1 symmetric matrices are stored as in gptq_v2"));
  EXPECT_EQ(read("gptq_v2", true, '\x77', &said), 1.0f);
  EXPECT_THAT(said, HasSubstr("says gptq_v2, but"));
  // Where zeros differ, the label counts.
  EXPECT_EQ(read("gptq", false, '\x88', &said), 0.0f);
  EXPECT_EQ(read("gptq", true, '\x66', &said), 2.0f);
  EXPECT_EQ(said, "");
}

TEST_F(FormatsTest, ChecksTheShapesOfAQuantizedMatrix) {
  // 32 inputs × 8 outputs of GPTQ: codes [4, 8], zeros [1, 1], scales [1, 8], g_idx [32].
  const auto error = [&](const std::string& scales, const std::string& zeros, const std::string& index) {
    const std::string json = R"({"a.qweight":{"dtype":"I32","shape":[4,8],"data_offsets":[0,128]},"a.scales":)" +
                             scales + R"(,"a.qzeros":)" + zeros + R"(,"a.g_idx":)" + index + "}";
    Write("s/config.json", R"({"quantization_config":{"quant_method":"gptq","group_size":32}})");
    Write("s/model.safetensors", Safetensors(json, 512));
    return OpenError(folder_ + "/s");
  };
  const std::string scales = R"({"dtype":"F16","shape":[1,8],"data_offsets":[128,144]})";
  const std::string zeros = R"({"dtype":"I32","shape":[1,1],"data_offsets":[144,148]})";
  const std::string index = R"({"dtype":"I32","shape":[32],"data_offsets":[148,276]})";
  const std::string rest = R"(,"z":{"dtype":"U8","shape":[236],"data_offsets":[276,512]})";
  EXPECT_EQ(error(scales, zeros, index + rest), "opened");
  EXPECT_THAT(error(R"({"dtype":"F16","shape":[2,4],"data_offsets":[128,144]})", zeros, index + rest),
              AllOf(HasSubstr("a.scales"), HasSubstr("[2, 4]"), HasSubstr("[1, 8]")));
  EXPECT_THAT(error(R"({"dtype":"I16","shape":[1,8],"data_offsets":[128,144]})", zeros, index + rest),
              HasSubstr("a.scales"));
  EXPECT_THAT(error(scales, R"({"dtype":"F32","shape":[1,1],"data_offsets":[144,148]})", index + rest),
              HasSubstr("a.qzeros"));
  EXPECT_THAT(error(scales, zeros, R"({"dtype":"I32","shape":[16,2],"data_offsets":[148,276]})" + rest),
              HasSubstr("a.g_idx"));
}

}  // namespace
}  // namespace ingot::formats
