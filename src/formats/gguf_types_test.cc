// The block types of GGUF: sizes, refusals, and scales next to tensors. Their values: formats_oracle_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "formats/writers/gguf_writer.h"

namespace ingot::formats {
namespace {

using testing::HasSubstr;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string GgufError(const std::string& file) {
  const auto gguf = ParseGguf(Bytes(file), "m.gguf");
  return gguf ? "accepted" : gguf.error().ToString();
}

// A file with one tensor: one row of `cols` elements, without its data.
std::string OneTensorGguf(uint32_t type, uint64_t cols) {
  std::string file("GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0w\1\0\0\0", 37);
  file.append(reinterpret_cast<const char*>(&cols), sizeof(cols));
  file.append(reinterpret_cast<const char*>(&type), sizeof(type));
  return file + std::string(8, '\0');  // the offset
}

TEST(Gguf, RefusesRowsThatAreNoMultipleOfTheirBlock) {
  int types = 0;
  for (int i = 0; IsWeightEncoding(static_cast<Encoding>(i)); ++i) {
    const EncodingInfo& info = InfoOf(static_cast<Encoding>(i));
    if (info.block_size == 1) continue;
    ++types;
    for (const int cols :
         {1, info.block_size / 2, info.block_size - 1, info.block_size + 1, 3 * info.block_size - 16}) {
      EXPECT_THAT(GgufError(OneTensorGguf(*info.ggml_type, static_cast<uint64_t>(cols))),
                  HasSubstr(fmt::format("tensor w at offset 24: a row of {} elements: {} needs a multiple of {}", cols,
                                        info.name, info.block_size)));
    }
    EXPECT_THAT(GgufError(OneTensorGguf(*info.ggml_type, static_cast<uint64_t>(info.block_size))),
                HasSubstr(fmt::format("tensor w: {} bytes at offset 0 of the data, which has 0", info.block_bytes)));
  }
  EXPECT_EQ(types, 23);
}

TEST(Gguf, NamesTypesItDoesNotRead) {
  for (const auto& [type, name] : {std::pair{9U, "Q8_1, which GGML computes with"},
                                   {15U, "Q8_K, which GGML computes with"},
                                   {31U, "Q4_0_4_4, which GGML replaced by Q4_0"},
                                   {41U, "type Q1_0"},
                                   {99U, "GGML type 99"}}) {
    const std::string file = OneTensorGguf(type, 256);
    const auto gguf = ParseGguf(Bytes(file), "m.gguf");
    ASSERT_TRUE(gguf.has_value());
    EXPECT_THAT(gguf->tensors[0].unsupported, HasSubstr(name));
  }
}

class GgufScaleTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  const std::string path_ = testing::TempDir() + "ingot_scale_" + std::to_string(getpid()) + ".gguf";
};

// NVFP4 as converters write it: blocks, a scale for all of a matrix or for each expert, and one of activations.
TEST_F(GgufScaleTest, MultipliesBlocksWithTheScaleBesideThem) {
  const std::vector<OutputTensor> tensors = {
      {"a.weight", Encoding::kNVFP4, {3, 128}}, {"a.scale", Encoding::kF32, {1}},
      {"a.input_scale", Encoding::kF32, {1}},   {"experts.weight", Encoding::kNVFP4, {2, 2, 64}},
      {"experts.scale", Encoding::kF32, {2}},   {"plain.weight", Encoding::kNVFP4, {1, 64}}};
  std::string bytes;
  for (int i = 0; i < 6 * 36; ++i) bytes += static_cast<char>(i * 37 % 120);  // a
  const auto number = [&](float value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof(value)); };
  number(0.3F), number(7);
  for (int i = 0; i < 4 * 36; ++i) bytes += static_cast<char>(i * 53 % 110);  // experts
  number(-2), number(0.1F);
  bytes += std::string(36, '\x3a');
  auto writer = GgufWriter::Create(path_, {{"general.architecture", std::string("llama")}}, tensors);
  ASSERT_TRUE(writer.has_value());
  ASSERT_TRUE((*writer)->Write(Bytes(bytes)).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  const auto checkpoint = Checkpoint::Open(path_).value();
  EXPECT_EQ(checkpoint->tensors().size(), 3u);  // the scales are gone
  EXPECT_EQ(StoredAs(*checkpoint->Find("a.weight")), "NVFP4 scaled");
  EXPECT_EQ(StoredFormat(*checkpoint->Find("a.weight"))->ToString(), "4-bit g16 fp4 f32");
  EXPECT_EQ(StoredFormat(*checkpoint->Find("plain.weight"))->ToString(), "4-bit g16 fp4 f16");

  const auto expect = [&](const char* name, std::string_view blocks, int64_t cols, const std::vector<float>& scales) {
    const auto weight = checkpoint->Weight(name).value();
    WeightRows rows, stored;
    DecodeRows(Encoding::kNVFP4, Bytes(blocks), weight->rows(), cols, &stored);
    std::vector<float> values(static_cast<size_t>(cols)), plain(static_cast<size_t>(weight->rows() * cols));
    DequantizeRows(stored, plain.data());
    for (int64_t row = 0; row < weight->rows(); ++row) {
      weight->Read(row, 1, &rows);
      DequantizeRows(rows, values.data());
      for (int64_t i = 0; i < cols; ++i) {
        const float want = plain[static_cast<size_t>(row * cols + i)] * scales[static_cast<size_t>(row)];
        ASSERT_TRUE(std::fabs(values[static_cast<size_t>(i)] - want) <= 1e-6F * std::fabs(want)) << name << row << i;
      }
    }
  };
  expect("a.weight", bytes.substr(0, 6 * 36), 128, {0.3F, 0.3F, 0.3F});
  expect("experts.weight", bytes.substr(6 * 36 + 8, 4 * 36), 64, {-2, -2, 0.1F, 0.1F});
}

TEST_F(GgufScaleTest, RefusesAScaleThatDoesNotFitItsMatrix) {
  auto writer = GgufWriter::Create(path_, {{"general.architecture", std::string("llama")}},
                                   {{"a.weight", Encoding::kNVFP4, {3, 64}}, {"a.scale", Encoding::kF32, {3}}});
  ASSERT_TRUE((*writer)->Write(Bytes(std::string(3 * 36 + 12, 'x'))).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_THAT(Checkpoint::Open(path_).error().message(),
              HasSubstr("tensor a.scale is F32 [3], next to a.weight [3, 64]"));
}

}  // namespace
}  // namespace ingot::formats
