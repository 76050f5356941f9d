#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "tensor/dtype.h"
#include "tensor/encoding.h"
#include "tensor/format.h"
#include "tensor/weight_source.h"

namespace ingot {
namespace {

// The value of a half, from its definition.
double HalfValue(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return mantissa ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

TEST(DType, EveryHalfReadsAsItsDefinition) {
  for (int bits = 0; bits < 0x10000; ++bits) {
    const double expected = HalfValue(static_cast<uint16_t>(bits));
    const float value = F16ToF32(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else {
      EXPECT_EQ(value, expected) << bits;
      EXPECT_EQ(std::signbit(value), std::signbit(expected)) << bits;
      EXPECT_EQ(F32ToF16(value), bits);
    }
  }
}

TEST(DType, FloatsRoundToTheNearestHalfTiesToEven) {
  for (uint16_t bits = 0; bits < 0x7bff; ++bits) {
    const double low = HalfValue(bits), high = HalfValue(static_cast<uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact: one bit more than a half has
    EXPECT_EQ(F32ToF16(middle), bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(F32ToF16(std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(F32ToF16(-std::nextafter(middle, 1e9f)), (bits + 1) | 0x8000);
  }
  EXPECT_EQ(F32ToF16(65519.996f), 0x7bff);
  EXPECT_EQ(F32ToF16(65520.0f), 0x7c00);
  EXPECT_EQ(F32ToF16(1e30f), 0x7c00);
  EXPECT_EQ(F32ToF16(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_TRUE(std::isnan(F16ToF32(F32ToF16(std::nanf("")))));
  EXPECT_TRUE(std::isnan(F16ToF32(F32ToF16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(DType, BFloat16RoundsTiesToEven) {
  EXPECT_EQ(F32ToBF16(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(F32ToBF16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(F32ToBF16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(F32ToBF16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_TRUE(std::isnan(BF16ToF32(F32ToBF16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_EQ(BF16ToF32(0xc040), -3.0f);
}

TEST(Format, NamesItself) {
  EXPECT_EQ(FormatOf(Encoding::kQ4_1).ToString(), "4-bit g32 min f16");
  EXPECT_EQ(FormatOf(Encoding::kQ6_K).ToString(), "6-bit g16 midpoint super");
  EXPECT_EQ(FormatOf(Encoding::kBF16).ToString(), "bf16");
  EXPECT_EQ(FormatOf(Encoding::kMXFP4).ToString(), "4-bit g32 fp4 e8m0");
  EXPECT_EQ(FormatOf(Encoding::kIQ2_XS).ToString(), "4-bit g16 iq2 super");
  EXPECT_EQ((Format{.bits = 4, .group_size = 0, .zero = Format::Zero::kInteger}).ToString(), "4-bit channel zero f16");
}

TEST(Tensor, IsZeroedAlignedAndChecked) {
  for (const int64_t cols : {3, 4096, 3'000'000}) {
    const auto tensor = Tensor::Allocate(DType::kF32, {2, cols});
    ASSERT_TRUE(tensor.has_value());
    EXPECT_EQ(tensor->view().bytes(), 8 * cols);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->Data<float>()) % 64, 0u);
    EXPECT_EQ(tensor->Data<float>()[0], 0.0f);
    EXPECT_EQ(tensor->Data<float>()[2 * cols - 1], 0.0f);
    tensor->Data<float>()[2 * cols - 1] = 1;
  }
  EXPECT_EQ((Shape{3, 64}).ToString(), "[3, 64]");
  EXPECT_EQ(Tensor::Allocate(DType::kF32, {int64_t{1} << 40, int64_t{1} << 40}).error().code(), Code::kInvalidArgument);
  EXPECT_FALSE(Buffer::Allocate(-1).has_value());
  ASSERT_TRUE(Buffer::Allocate(0).has_value());
  EXPECT_NE(Buffer::Allocate(0)->data(), nullptr);
}

TEST(Encoding, KnowsItsNumbers) {
  EXPECT_EQ(RowBytes(Encoding::kQ4_K, 512).value(), 288u);
  EXPECT_EQ(RowBytes(Encoding::kF64, 3).value(), 24u);
  EXPECT_EQ(RowBytes(Encoding::kQ8_0, 33).error().code(), Code::kInvalidArgument);
  EXPECT_FALSE(RowBytes(Encoding::kF32, std::numeric_limits<int64_t>::max()).has_value());
  EXPECT_EQ(EncodingOfGgmlType(14), Encoding::kQ6_K);
  EXPECT_EQ(EncodingOfGgmlType(15), std::nullopt);
}

std::vector<std::byte> RandomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 0xff);
  return bytes;
}

TEST(Encoding, KQuantsKeepTheFactorsOfTheirScales) {
  for (int i = 0; IsWeightEncoding(static_cast<Encoding>(i)); ++i) {
    const auto encoding = static_cast<Encoding>(i);
    if (FormatOf(encoding).scale != Format::Scale::kSuper) continue;
    const size_t row_bytes = RowBytes(encoding, 512).value();
    WeightRows rows;
    DecodeRows(encoding, RandomBytes(3 * row_bytes, 7), 3, 512, &rows);
    const int64_t groups = 512 / rows.format.group_size;
    ASSERT_EQ(rows.codes.size(), 3u * 512);
    ASSERT_EQ(rows.super_scale.size(), 3u * 2);
    ASSERT_EQ(rows.scale_code.size(), static_cast<size_t>(3 * groups));
    const bool has_min = rows.format.zero == Format::Zero::kMin,
               coded = rows.format.codebook != Format::Codebook::kNone;
    ASSERT_EQ(rows.min_code.size(), has_min ? rows.scale_code.size() : 0);
    const float unit = coded ? InfoOf(rows.format.codebook).unit : 1;
    for (int64_t g = 0; g < 3 * groups; ++g) {
      const int64_t super = g / (groups / 2);
      if (std::isnan(rows.super_scale[super])) continue;
      EXPECT_EQ(rows.scale[g], rows.super_scale[super] * rows.scale_code[g] * unit);
      if (rows.min_code.empty() || std::isnan(rows.super_min[super])) continue;
      EXPECT_EQ(rows.zero[g], rows.super_min[super] * rows.min_code[g]);
    }
    for (const uint8_t code : rows.codes) EXPECT_LT(code, 1 << rows.format.bits);
  }
}

// A Q4_K block by hand: d = 1, dmin = 0.5, group 5 has scale 33 (0b10'0001) and min 18 (0b01'0010), code 9 everywhere.
TEST(Encoding, UnpacksSixBitScales) {
  uint8_t block[144] = {0x00, 0x3c, 0x00, 0x38};
  block[4 + 1] = 2 << 6;      // top bits of scale 5 above scale 1
  block[4 + 5] = 1 << 6;      // top bits of min 5 above min 1
  block[4 + 9] = 1 | 2 << 4;  // low bits of scale 5 and min 5
  for (int i = 16; i < 144; ++i) block[i] = 0x99;
  WeightRows rows;
  DecodeRows(Encoding::kQ4_K, std::as_bytes(std::span(block)), 1, 256, &rows);
  EXPECT_EQ(rows.scale_code[5], 33);
  EXPECT_EQ(rows.min_code[5], 18);
  EXPECT_EQ(rows.super_min[0], -0.5f);
  std::vector<float> values(256);
  DequantizeRows(rows, values.data());
  EXPECT_EQ(values[5 * 32], 33.0f * 9 - 9);
  EXPECT_EQ(values[4 * 32], 0.0f);
}

TEST(Encoding, EncodedRowsComeBackWithinHalfAStep) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> row(256), back(256);
  for (float& value : row) value = normal(random);
  const std::pair<Encoding, float> cases[] = {{Encoding::kF32, 0},      {Encoding::kF16, 2e-3f},
                                              {Encoding::kBF16, 2e-2f}, {Encoding::kQ8_0, 0.02f},
                                              {Encoding::kQ4_1, 0.25f}, {Encoding::kQ4_0, 0.5f}};
  for (const auto& [encoding, tolerance] : cases) {
    std::vector<std::byte> bytes;
    ASSERT_TRUE(EncodeRow(encoding, row, &bytes).ok());
    ASSERT_EQ(bytes.size(), RowBytes(encoding, 256).value());
    WeightRows rows;
    DecodeRows(encoding, bytes, 1, 256, &rows);
    DequantizeRows(rows, back.data());
    for (int i = 0; i < 256; ++i) {
      EXPECT_TRUE(std::fabs(row[i] - back[i]) <= tolerance) << InfoOf(encoding).name << " " << row[i] << " " << back[i];
    }
  }
}

TEST(Encoding, RefusesWhatItCannotWrite) {
  std::vector<std::byte> bytes;
  std::vector<float> row(32, 1.0f);
  EXPECT_EQ(EncodeRow(Encoding::kQ5_0, row, &bytes).code(), Code::kUnsupported);
  row[7] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(EncodeRow(Encoding::kQ8_0, row, &bytes).message(), "element 7 is inf, which Q8_0 cannot hold");
  EXPECT_EQ(EncodeRow(Encoding::kQ4_0, std::span(row).first(31), &bytes).code(), Code::kInvalidArgument);
  EXPECT_TRUE(EncodeRow(Encoding::kQ4_1, std::vector<float>(32, 1e-42f), &bytes).ok());  // 1 / d would be infinite
}

// Row r of a matrix of `rows` rows holds the value first + r.
class Counting : public WeightSource {
 public:
  Counting(int64_t rows, int first) : rows_(rows), first_(first) {}
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return 2; }
  Format format() const override { return Format::Dense(DType::kF32); }
  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    *out = WeightRows();
    out->format = format();
    out->rows = count;
    out->cols = 2;
    for (int64_t i = 0; i < 2 * count; ++i) out->dense.push_back(static_cast<float>(first_ + row + i / 2));
  }

 private:
  int64_t rows_;
  int first_;
};

std::vector<float> FirstColumn(const WeightSource& source, int64_t row, int64_t count) {
  WeightRows rows;
  rows.dense = {-1, -1};  // what was there goes
  source.Read(row, count, &rows);
  EXPECT_EQ(rows.rows, count);
  EXPECT_EQ(rows.dense.size(), static_cast<size_t>(2 * count));
  std::vector<float> first;
  for (size_t i = 0; i < rows.dense.size(); i += 2) first.push_back(rows.dense[i]);
  return first;
}

TEST(WeightSource, SelectsSlicesAndConcatenates) {
  const WeightSourcePtr a = std::make_shared<Counting>(4, 0), b = std::make_shared<Counting>(3, 10);
  const WeightSourcePtr selected = SelectRows(a, {3, 0, 1, 2, 2});
  EXPECT_EQ(FirstColumn(*selected, 0, 5), (std::vector<float>{3, 0, 1, 2, 2}));
  EXPECT_EQ(FirstColumn(*selected, 1, 3), (std::vector<float>{0, 1, 2}));
  EXPECT_EQ(FirstColumn(*selected, 2, 0), (std::vector<float>{}));
  EXPECT_EQ(FirstColumn(*SliceRows(selected, 1, 3), 1, 2), (std::vector<float>{1, 2}));
  const WeightSourcePtr both = ConcatRows({a, b, a});
  EXPECT_EQ(both->rows(), 11);
  EXPECT_EQ(FirstColumn(*both, 0, 11), (std::vector<float>{0, 1, 2, 3, 10, 11, 12, 0, 1, 2, 3}));
  EXPECT_EQ(FirstColumn(*both, 3, 5), (std::vector<float>{3, 10, 11, 12, 0}));
  EXPECT_EQ(FirstColumn(*both, 5, 1), (std::vector<float>{11}));
  EXPECT_EQ(ConcatRows({}), nullptr);
}

// Two rows in bytes of an encoding.
class Encoded : public WeightSource {
 public:
  Encoded(Encoding encoding, int64_t cols, std::shared_ptr<const InputOrder> order = nullptr)
      : encoding_(encoding), cols_(cols), order_(std::move(order)), bytes_(2 * RowBytes(encoding, cols).value()) {
    const EncodingInfo& info = InfoOf(encoding);
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<std::byte>(i * 37 + i / 11);
    // Finite numbers, and scales and minima of a moderate size.
    const auto block = static_cast<size_t>(info.block_bytes);
    for (size_t i = 0; i < bytes_.size(); i += block) {
      if (info.block_size == 1) bytes_[i + block - 1] &= std::byte{0xbf};
      const size_t scale = encoding == Encoding::kQ6_K ? i + 208 : i;
      for (const size_t at : {scale, scale + 2}) {
        if (info.block_size > 1 && at + 1 < bytes_.size()) bytes_[at + 1] = std::byte{0x2c};
      }
    }
  }
  int64_t rows() const override { return 2; }
  int64_t cols() const override { return cols_; }
  Format format() const override { return FormatOf(encoding_); }
  std::shared_ptr<const InputOrder> input_order() const override { return order_; }
  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    const size_t bytes = bytes_.size() / 2;
    DecodeRows(encoding_,
               std::span(bytes_).subspan(static_cast<size_t>(row) * bytes, static_cast<size_t>(count) * bytes), count,
               cols_, out);
  }

 private:
  const Encoding encoding_;
  const int64_t cols_;
  const std::shared_ptr<const InputOrder> order_;
  std::vector<std::byte> bytes_;
};

void ExpectColumns(const WeightSourcePtr& source, int64_t begin, int64_t count) {
  SCOPED_TRACE(fmt::format("{} {}+{}", source->format().ToString(), begin, count));
  const auto slice = SliceCols(source, begin, count);
  ASSERT_TRUE(slice) << slice.error().ToString();
  ASSERT_EQ((*slice)->cols(), count);
  std::vector<float> all(static_cast<size_t>(2 * source->cols())), some(static_cast<size_t>(2 * count));
  ReadDense(*source, 0, 2, all.data());
  ReadDense(**slice, 0, 2, some.data());
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t c = 0; c < count; ++c) {
      const float expected = all[static_cast<size_t>(row * source->cols() + begin + c)];
      EXPECT_EQ(some[static_cast<size_t>(row * count + c)], expected);
    }
  }
  WeightRows last;
  (*slice)->Read(1, 1, &last);
  std::vector<float> again(static_cast<size_t>(count));
  if (!(*slice)->input_order()) {
    DequantizeRows(last, again.data());
    EXPECT_TRUE(std::equal(again.begin(), again.end(), some.begin() + count));
  }
}

TEST(WeightSource, SlicesColumnsAtTheBordersOfGroups) {
  for (const Encoding encoding : {Encoding::kF16, Encoding::kQ8_0, Encoding::kQ4_1}) {
    const auto source = std::make_shared<Encoded>(encoding, 96);
    for (const auto& [begin, count] : {std::pair(0, 32), std::pair(32, 64), std::pair(0, 96)}) {
      ExpectColumns(source, begin, count);
    }
  }
  for (const Encoding encoding : {Encoding::kQ4_K, Encoding::kQ6_K}) {
    const auto source = std::make_shared<Encoded>(encoding, 768);
    ExpectColumns(source, 256, 256);
    ExpectColumns(source, 256, 512);
    EXPECT_EQ(SliceCols(source, 32, 256).error().message(),
              "columns 32…287 of 768: a cut is possible at multiples of 256, which share a scale");
  }
  ExpectColumns(std::make_shared<Encoded>(Encoding::kBF16, 7), 3, 2);
  EXPECT_EQ(SliceCols(std::make_shared<Encoded>(Encoding::kQ8_0, 96), 32, 16).error().code(), Code::kInvalidArgument);
}

TEST(WeightSource, SlicesColumnsThatAreStoredInAnotherOrder) {
  // Groups of inputs 64…95, 0…31 and 32…63, each backwards.
  auto order = std::make_shared<InputOrder>();
  for (const int begin : {64, 0, 32}) {
    for (int i = 31; i >= 0; --i) order->push_back(begin + i);
  }
  const auto source = std::make_shared<Encoded>(Encoding::kQ4_1, 96, order);
  ExpectColumns(source, 0, 32);
  ExpectColumns(source, 0, 64);
  ExpectColumns(source, 32, 64);
  std::swap((*order)[0], (*order)[40]);  // an input of the first group in the second
  const auto mixed = std::make_shared<Encoded>(Encoding::kQ4_1, 96, order);
  ExpectColumns(mixed, 32, 32);
  EXPECT_EQ(SliceCols(mixed, 0, 32).error().code(), Code::kUnsupported);
  ExpectColumns(std::make_shared<Encoded>(Encoding::kF32, 96, order), 5, 50);  // no groups
}

TEST(Encoding, CodesAreStoredAsTheyAre) {
  std::vector<float> row(96);
  for (size_t i = 0; i < row.size(); ++i) row[i] = std::sin(static_cast<float>(i * i));
  for (const Encoding encoding : {Encoding::kQ8_0, Encoding::kQ4_0, Encoding::kQ4_1}) {
    std::vector<std::byte> bytes, again;
    ASSERT_TRUE(EncodeRow(encoding, row, &bytes).ok());
    WeightRows rows;
    DecodeRows(encoding, bytes, 1, std::ssize(row), &rows);
    ASSERT_TRUE(HoldsCodes(encoding, rows.format));
    EncodeCodes(encoding, rows, &again);
    EXPECT_EQ(again, bytes) << InfoOf(encoding).name;
  }
  EXPECT_FALSE(HoldsCodes(Encoding::kQ4_1, FormatOf(Encoding::kQ4_0)));
  EXPECT_FALSE(HoldsCodes(Encoding::kQ5_0, FormatOf(Encoding::kQ5_0)));
}

}  // namespace
}  // namespace ingot
