// Files written by gguf, safetensors and pickle, read by us; and the other way round. Needs the Python environment of
// tools/bootstrap.sh; without it the tests are skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/json.h"
#include "base/mapped_file.h"
#include "formats/checkpoint.h"
#include "formats/writers/gguf_writer.h"
#include "formats/writers/safetensors_writer.h"

namespace ingot::formats {
namespace {

namespace fs = std::filesystem;

std::string Python() {
  const char* chosen = std::getenv("INGOT_PYTHON");
  return chosen != nullptr ? chosen : INGOT_SOURCE_DIR "/build/venv/bin/python";
}

int RunPython(const std::string& script, const std::string& argument) {
  const std::string command = fmt::format("PYTHONDONTWRITEBYTECODE=1 '{}' '{}/src/formats/{}' '{}'", Python(),
                                          INGOT_SOURCE_DIR, script, argument);
  return std::system(command.c_str());
}

class FormatsOracleTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = testing::TempDir() + "ingot_oracle_" + std::to_string(getpid());
    fs::remove_all(folder_);
    if (!fs::exists(Python())) return;
    ASSERT_EQ(RunPython("oracle_files.py", folder_), 0);
    const auto text = ReadFile(folder_ + "/expected.json");
    ASSERT_TRUE(text.has_value());
    expected_ = ParseJson(*text, "expected.json").value();
    const auto floats = ReadFile(folder_ + "/expected.f32");
    ASSERT_TRUE(floats.has_value());
    values_.resize(floats->size() / sizeof(float));
    std::memcpy(values_.data(), floats->data(), floats->size());
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }
  void SetUp() override {
    if (!fs::exists(Python())) GTEST_SKIP() << Python() << " is missing; tools/bootstrap.sh makes it";
    ASSERT_FALSE(values_.empty());
  }

  static std::shared_ptr<const Checkpoint> Open(const std::string& name) {
    auto checkpoint = Checkpoint::Open(folder_ + "/" + name);
    EXPECT_TRUE(checkpoint.has_value()) << checkpoint.error().ToString();
    return checkpoint.value_or(nullptr);
  }
  static std::string OpenError(const std::string& name) {
    const auto checkpoint = Checkpoint::Open(folder_ + "/" + name);
    return checkpoint ? "opened" : checkpoint.error().ToString();
  }

  static inline std::string folder_;
  static inline boost::json::value expected_;
  static inline std::vector<float> values_;
};

struct ExpectedTensor {
  std::string name, encoding;
  std::vector<int64_t> shape;
  std::span<const float> values;
};

ExpectedTensor ReadExpected(const JsonView& view, std::span<const float> values) {
  ExpectedTensor tensor = {view.String("name").value(), view.String("encoding").value(), {}, {}};
  const JsonView shape = view.Get("shape").value();
  for (size_t i = 0; i < shape.value().as_array().size(); ++i) tensor.shape.push_back(shape.At(i).AsInt().value());
  tensor.values =
      values.subspan(static_cast<size_t>(view.Int("at").value()), static_cast<size_t>(view.Int("count").value()));
  return tensor;
}

bool SameBits(float a, float b) { return std::memcmp(&a, &b, sizeof(float)) == 0; }

void ExpectValues(std::span<const float> actual, std::span<const float> expected, const std::string& name) {
  ASSERT_EQ(actual.size(), expected.size()) << name;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_TRUE(SameBits(actual[i], expected[i])) << name << "[" << i << "] " << actual[i] << " vs " << expected[i];
  }
}

template <typename T>
std::vector<float> ToFloats(std::span<const std::byte> bytes) {
  std::vector<float> values;
  for (size_t i = 0; i < bytes.size(); i += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + i, sizeof(T));
    values.push_back(static_cast<float>(value));
  }
  return values;
}

std::vector<float> NumbersOf(const Checkpoint& checkpoint, const TensorEntry& entry) {
  switch (entry.encoding) {
    case Encoding::kI64:
      return ToFloats<int64_t>(entry.bytes);
    case Encoding::kI32:
      return ToFloats<int32_t>(entry.bytes);
    case Encoding::kI16:
      return ToFloats<int16_t>(entry.bytes);
    case Encoding::kI8:
      return ToFloats<int8_t>(entry.bytes);
    case Encoding::kU8:
    case Encoding::kBool:
      return ToFloats<uint8_t>(entry.bytes);
    default:
      return checkpoint.Floats(entry.name).value();
  }
}

// The rows of a weight, in pieces of odd sizes.
std::vector<float> RowsOf(const WeightSource& weight) {
  std::vector<float> values(static_cast<size_t>(weight.rows() * weight.cols()));
  WeightRows rows;
  for (int64_t row = 0; row < weight.rows(); row += 2) {
    weight.Read(row, std::min<int64_t>(2, weight.rows() - row), &rows);
    DequantizeRows(rows, values.data() + row * weight.cols());
  }
  return values;
}

void CheckTensor(const Checkpoint& checkpoint, const ExpectedTensor& expected) {
  const TensorEntry* entry = checkpoint.Find(expected.name);
  ASSERT_NE(entry, nullptr) << expected.name;
  EXPECT_STREQ(InfoOf(entry->encoding).name, expected.encoding.c_str());
  EXPECT_EQ(entry->shape, expected.shape) << expected.name;
  ExpectValues(NumbersOf(checkpoint, *entry), expected.values, expected.name);
  if (!IsWeightEncoding(entry->encoding) || entry->shape.size() < 2) {
    EXPECT_FALSE(checkpoint.Weight(expected.name).has_value());
    return;
  }
  const auto weight = checkpoint.Weight(expected.name);
  ASSERT_TRUE(weight.has_value()) << weight.error().ToString();
  EXPECT_EQ((*weight)->cols(), entry->shape.back());
  ExpectValues(RowsOf(**weight), expected.values, expected.name);
  (*weight)->Drop();
  ExpectValues(RowsOf(**weight), expected.values, expected.name);  // dropped pages come back from the file
}

TEST_F(FormatsOracleTest, ReadsEveryFileAndTensor) {
  const JsonView cases = JsonView(expected_, "expected.json").Get("cases").value();
  size_t tensors = 0;
  for (size_t i = 0; i < cases.value().as_array().size(); ++i) {
    const JsonView item = cases.At(i);
    SCOPED_TRACE(item.String("path").value());
    const auto checkpoint = Open(item.String("path").value());
    ASSERT_NE(checkpoint, nullptr);
    EXPECT_EQ(checkpoint->kind() == CheckpointKind::kGguf, item.String("kind").value() == "gguf");
    const JsonView list = item.Get("tensors").value();
    const std::string unsupported = item.String("unsupported", "").value();
    const size_t count = list.value().as_array().size();
    EXPECT_EQ(checkpoint->tensors().size(), count + (unsupported.empty() ? 0 : 1));
    for (size_t k = 0; k < count; ++k) CheckTensor(*checkpoint, ReadExpected(list.At(k), values_));
    if (unsupported.empty()) {
      tensors += count;
      continue;
    }
    EXPECT_EQ(checkpoint->Weight(unsupported).error().code(), Code::kUnsupported);
    tensors += count;
  }
  EXPECT_GE(tensors, 60u);
}

TEST_F(FormatsOracleTest, ReadsGgufMetadata) {
  for (const char* name : {"v2.gguf", "v3.gguf", "aligned.gguf"}) {
    const auto checkpoint = Open(name);
    ASSERT_NE(checkpoint, nullptr);
    const boost::json::object& config = checkpoint->config();
    EXPECT_EQ(config.at("general.architecture").as_string(), "llama");
    EXPECT_EQ(config.at("t.u8").as_int64(), 200);
    EXPECT_EQ(config.at("t.i8").as_int64(), -100);
    EXPECT_EQ(config.at("t.u16").as_int64(), 60000);
    EXPECT_EQ(config.at("t.i16").as_int64(), -30000);
    EXPECT_EQ(config.at("t.u32").as_int64(), 4000000000);
    EXPECT_EQ(config.at("t.i32").as_int64(), -2000000000);
    EXPECT_EQ(config.at("t.u64").as_uint64(), (uint64_t{1} << 63) + 5);
    EXPECT_EQ(config.at("t.i64").as_int64(), -(int64_t{1} << 62));
    EXPECT_EQ(config.at("t.f32").as_double(), 0.5);
    EXPECT_EQ(config.at("t.f64").as_double(), 1e-300);
    EXPECT_EQ(config.at("t.bool").as_bool(), true);
    EXPECT_EQ(config.at("t.string").as_string(), "héllo");
    EXPECT_EQ(config.at("t.strings"), boost::json::value({"a", "bc"}));
    EXPECT_EQ(config.at("t.ints"), boost::json::value({1, 2, 3}));
    EXPECT_EQ(config.at("t.nested"), (boost::json::array{boost::json::array{1, 2}, boost::json::array{3}}));
    EXPECT_EQ(config.at("t.flags"), boost::json::value({true, false}));
    EXPECT_FALSE(config.contains("tokenizer.ggml.tokens"));
    EXPECT_EQ(checkpoint->chat_template(), "{{ bos_token }}");
  }
}

TEST_F(FormatsOracleTest, ReadsGgufVocabulary) {
  const auto checkpoint = Open("v3.gguf");
  ASSERT_NE(checkpoint, nullptr);
  ASSERT_TRUE(checkpoint->vocabulary().gguf.has_value());
  const GgufVocabulary& vocabulary = *checkpoint->vocabulary().gguf;
  EXPECT_EQ(checkpoint->vocabulary().model_type, "llama");
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre, "smollm");
  EXPECT_EQ(vocabulary.tokens, (std::vector<std::string>{"<s>", "</s>", "a", "b", "ab"}));
  EXPECT_EQ(vocabulary.scores, (std::vector<float>{0, 0, -1, -2, -3}));
  EXPECT_EQ(vocabulary.token_types, (std::vector<int32_t>{3, 3, 1, 1, 1}));
  EXPECT_EQ(vocabulary.merges, (std::vector<std::string>{"a b"}));
  EXPECT_EQ(vocabulary.bos_id, 0);
  EXPECT_EQ(vocabulary.eos_id, 1);
  EXPECT_EQ(vocabulary.eot_id, 1);
  EXPECT_EQ(vocabulary.eom_id, std::nullopt);
  EXPECT_EQ(vocabulary.add_bos, true);
  EXPECT_EQ(vocabulary.add_eos, std::nullopt);
  EXPECT_EQ(vocabulary.add_space_prefix, false);
}

TEST_F(FormatsOracleTest, ReadsHuggingFaceDirectories) {
  const auto gemma = Open("sharded");
  ASSERT_NE(gemma, nullptr);
  EXPECT_EQ(gemma->files().size(), 2u);
  EXPECT_EQ(gemma->weight_bytes(), 4 * 6 * 2 + 6 * 4);
  EXPECT_EQ(gemma->vocabulary().model_type, "gemma3_text");
  EXPECT_EQ(gemma->vocabulary().eos_ids, (std::vector<int64_t>{1, 106, 107}));
  EXPECT_EQ(gemma->vocabulary().bos_id, 2);
  EXPECT_EQ(gemma->chat_template(), "{{ messages }}");
  EXPECT_EQ(gemma->config().at("model_type").as_string(), "gemma3");
  EXPECT_EQ(gemma->generation_config().at("top_k").as_int64(), 64);
  const auto internlm = Open("torch_sharded");
  ASSERT_NE(internlm, nullptr);
  EXPECT_EQ(internlm->vocabulary().eos_ids, (std::vector<int64_t>{2}));
}

TEST_F(FormatsOracleTest, RefusesByName) {
  EXPECT_THAT(OpenError("big.gguf"), testing::HasSubstr("big-endian"));
  EXPECT_THAT(OpenError("split-00002-of-00003.gguf"), testing::HasSubstr("part 2 of 3; open the first one"));
  EXPECT_THAT(OpenError("evil.bin"), testing::HasSubstr("print, which no tensor needs"));
  EXPECT_THAT(OpenError("protocol4.bin"), testing::HasSubstr("pickle protocol 4"));
  EXPECT_THAT(OpenError("compressed.bin"), testing::HasSubstr("is compressed (method 8)"));
  EXPECT_THAT(OpenError("list.bin"), testing::HasSubstr("holds a list"));
  EXPECT_THAT(OpenError("legacy.pt"), testing::HasSubstr("before 1.6"));
}

TEST_F(FormatsOracleTest, EncodesRowsAsTheReferenceDoes) {
  const JsonView encodings = JsonView(expected_, "expected.json").Get("encodings").value();
  ASSERT_EQ(encodings.value().as_array().size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    const ExpectedTensor input = ReadExpected(encodings.At(i), values_);
    Encoding encoding{};
    for (int e = 0; e < static_cast<int>(Encoding::kF64); ++e) {
      if (input.encoding == InfoOf(static_cast<Encoding>(e)).name) encoding = static_cast<Encoding>(e);
    }
    const auto cols = static_cast<size_t>(input.shape[1]);
    std::vector<std::byte> bytes;
    for (size_t at = 0; at < input.values.size(); at += cols) {
      ASSERT_TRUE(EncodeRow(encoding, input.values.subspan(at, cols), &bytes).ok());
    }
    std::string hex;
    for (const std::byte byte : bytes) hex += fmt::format("{:02x}", static_cast<int>(byte));
    EXPECT_EQ(hex, encodings.At(i).String("bytes").value()) << input.encoding;
  }
}

// Tensor i holds i + element / 4; check_written.py knows.
std::vector<std::byte> WrittenBytes(const OutputTensor& tensor, size_t index) {
  int64_t count = 1;
  for (const int64_t dim : tensor.shape) count *= dim;
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t k = 0; k < values.size(); ++k) values[k] = static_cast<float>(index) + static_cast<float>(k % 64) / 4;
  std::vector<std::byte> bytes;
  EXPECT_TRUE(EncodeRow(tensor.encoding, values, &bytes).ok());
  return bytes;
}

template <typename Writer>
void WriteAll(Writer& writer, const std::vector<OutputTensor>& tensors) {
  std::vector<std::byte> all;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto bytes = WrittenBytes(tensors[i], i);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  for (size_t at = 0; at < all.size(); at += 37) {  // pieces that end within tensors and across them
    ASSERT_TRUE(writer.Write(std::span(all).subspan(at, std::min<size_t>(37, all.size() - at))).ok());
  }
  const Status status = writer.Finish();
  ASSERT_TRUE(status.ok()) << status.ToString();
}

TEST_F(FormatsOracleTest, OthersReadWhatWeWrite) {
  const std::string folder = folder_ + "/written";
  fs::create_directories(folder + "/sharded");
  const std::vector<OutputTensor> plain = {{"a", Encoding::kF32, {3, 4}},
                                           {"empty", Encoding::kF32, {0, 4}},
                                           {"b \"q\"", Encoding::kF16, {5}},
                                           {"scalar", Encoding::kF32, {}}};
  auto single = SafetensorsWriter::Create(folder, plain);
  ASSERT_TRUE(single.has_value());
  WriteAll(**single, plain);
  auto sharded = SafetensorsWriter::Create(folder + "/sharded", plain, 48);
  ASSERT_TRUE(sharded.has_value());
  WriteAll(**sharded, plain);
  const std::vector<OutputTensor> mixed = {{"q4", Encoding::kQ4_0, {3, 64}},
                                           {"h", Encoding::kF16, {5}},
                                           {"q8", Encoding::kQ8_0, {2, 2, 32}},
                                           {"x", Encoding::kF32, {1}}};
  const GgufMetadata metadata = {{"general.architecture", std::string("llama")},
                                 {"llama.block_count", uint32_t{7}},
                                 {"t.f32", 0.25f},
                                 {"t.flag", true},
                                 {"t.i64", int64_t{-5}},
                                 {"tokenizer.ggml.tokens", std::vector<std::string>{"a", "é", ""}},
                                 {"tokenizer.ggml.scores", std::vector<float>{1, 2, 3}},
                                 {"tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 3}},
                                 {"t.flags", std::vector<bool>{true, false, true}}};
  auto gguf = GgufWriter::Create(folder + "/model.gguf", metadata, mixed);
  ASSERT_TRUE(gguf.has_value());
  WriteAll(**gguf, mixed);
  EXPECT_EQ(RunPython("check_written.py", folder), 0);
  for (const fs::directory_entry& file : fs::recursive_directory_iterator(folder)) {
    EXPECT_NE(file.path().extension(), ".tmp");
  }
}

}  // namespace
}  // namespace ingot::formats
