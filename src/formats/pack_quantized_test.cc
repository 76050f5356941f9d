// What is packed is read again as it was, through the reader that is tested with the files of other tools.
#include "formats/writers/pack_quantized.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>

#include "base/mapped_file.h"
#include "formats/writers/safetensors_writer.h"

namespace ingot::formats {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

WeightRows RandomRows(const Format& format, int64_t rows, int64_t cols) {
  std::mt19937 random(7);
  WeightRows w{.format = format, .rows = rows, .cols = cols};
  const int64_t groups = format.group_size == 0 ? 1 : cols / format.group_size;
  for (int64_t i = 0; i < rows * cols; ++i) w.codes.push_back(static_cast<uint8_t>(random() % (1u << format.bits)));
  for (int64_t i = 0; i < rows * groups; ++i) {
    w.scale.push_back(F16ToF32(F32ToF16(0.001f * static_cast<float>(random() % 1000 + 1))));
    if (format.zero == Format::Zero::kInteger)
      w.zero.push_back(
          std::max(static_cast<float>(format.min_zero), static_cast<float>(random() % (1u << format.bits))));
  }
  return w;
}

struct PackCase {
  const char* name;
  Packing packing;
  Format format;
  bool ordered = false;
  const char* config;
};

const PackCase kCases[] = {
    {"awq",
     Packing::kAwqGemm,
     {.bits = 4, .group_size = 32, .zero = Format::Zero::kInteger},
     false,
     R"("quant_method":"awq","bits":4,"group_size":32,"zero_point":true,"version":"gemm")"},
    {"awq_symmetric",
     Packing::kAwqGemm,
     {.bits = 4, .group_size = 64},
     false,
     R"("quant_method":"awq","bits":4,"group_size":64,"zero_point":false,"version":"gemm")"},
    {"gptq",
     Packing::kGptq,
     {.bits = 4, .group_size = 32, .zero = Format::Zero::kInteger, .min_zero = 1},
     false,
     R"("quant_method":"gptq","bits":4,"group_size":32,"sym":false,"checkpoint_format":"gptq")"},
    {"gptq_channel_symmetric",
     Packing::kGptq,
     {.bits = 4},
     false,
     R"("quant_method":"gptq","bits":4,"group_size":-1,"sym":true,"checkpoint_format":"gptq")"},
    {"gptq_act_order",
     Packing::kGptq,
     {.bits = 4, .group_size = 32, .zero = Format::Zero::kInteger, .min_zero = 1},
     true,
     R"("quant_method":"gptq","bits":4,"group_size":32,"sym":false,"desc_act":true)"},
    {"int8",
     Packing::kInt8,
     {.bits = 8, .scale = Format::Scale::kF32},
     false,
     R"("quant_method":"compressed-tensors","format":"int-quantized","config_groups":{"group_0":{"weights":)"
     R"({"num_bits":8,"symmetric":true}}})"},
};

class PackQuantizedTest : public testing::TestWithParam<PackCase> {};

TEST_P(PackQuantizedTest, IsReadAsItWas) {
  const PackCase& c = GetParam();
  const int64_t rows = 24, cols = 192;
  const WeightRows written = RandomRows(c.format, rows, cols);
  InputOrder order(static_cast<size_t>(cols));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(3));
  const int64_t group = c.format.group_size == 0 ? cols : c.format.group_size;
  for (int64_t g = 0; g < cols; g += group) std::sort(order.begin() + g, order.begin() + g + group);
  ASSERT_TRUE(CheckPackable("w", c.packing, c.format, rows, cols).ok());
  const std::vector<OutputBytes> tensors =
      PackQuantized("layers.0.w", c.packing, written, c.ordered ? &order : nullptr);

  const fs::path folder = fs::path(testing::TempDir()) / fmt::format("ingot_pack_{}_{}", c.name, getpid());
  fs::create_directories(folder);
  std::vector<OutputTensor> outs;
  for (const OutputBytes& tensor : tensors) outs.push_back(tensor.out);
  auto writer = SafetensorsWriter::Create(folder.string(), outs).value();
  for (const OutputBytes& tensor : tensors) ASSERT_TRUE(writer->Write(tensor.bytes).ok());
  ASSERT_TRUE(writer->Finish().ok());
  ASSERT_TRUE(WriteFile((folder / "config.json").string(),
                        fmt::format(R"({{"model_type":"llama","quantization_config":{{{}}}}})", c.config))
                  .ok());

  const auto checkpoint = Checkpoint::Open(folder.string());
  ASSERT_TRUE(checkpoint) << checkpoint.error().ToString();
  const auto source = (*checkpoint)->Weight("layers.0.w.weight");
  ASSERT_TRUE(source) << source.error().ToString();
  Format format = c.format;
  format.min_zero = 0;
  EXPECT_EQ((*source)->format(), format);
  WeightRows read;
  (*source)->Read(0, rows, &read);
  EXPECT_EQ(read.codes, written.codes);
  EXPECT_EQ(read.scale, written.scale);
  EXPECT_EQ(read.zero, written.zero);
  ASSERT_EQ((*source)->input_order() != nullptr, c.ordered);
  if (c.ordered) EXPECT_EQ(*(*source)->input_order(), order);
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(All, PackQuantizedTest, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(CheckPackable, NamesTheMatrixAndWhatDoesNotFit) {
  const Format g64{.bits = 4, .group_size = 64, .zero = Format::Zero::kInteger};
  EXPECT_THAT(CheckPackable("q_proj", Packing::kAwqGemm, g64, 64, 96).message(), HasSubstr("q_proj has 96 inputs"));
  EXPECT_THAT(CheckPackable("q_proj", Packing::kGptq, g64, 64, 64).message(), HasSubstr("a zero of 0"));
  Format from_one = g64;
  from_one.min_zero = 1;
  EXPECT_THAT(CheckPackable("q_proj", Packing::kGptq, from_one, 60, 64).message(), HasSubstr("60 outputs"));
  EXPECT_THAT(CheckPackable("q_proj", Packing::kAwqGemm, {.bits = 3}, 64, 64).message(), HasSubstr("3 bits"));
  EXPECT_FALSE(CheckPackable("q_proj", Packing::kInt8, {.bits = 8}, 64, 64).ok());  // f16 scales
}

}  // namespace
}  // namespace ingot::formats
