#include "tensor/encoding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "tensor/ggml_blocks.h"

namespace ingot {
namespace {

using Zero = Format::Zero;
using Scale = Format::Scale;
using Codebook = Format::Codebook;

constexpr Format Blocks(int bits, int group_size, Zero zero, Scale scale) {
  return {.bits = bits, .group_size = group_size, .zero = zero, .scale = scale};
}
constexpr Format Coded(int group_size, Codebook codebook, Scale scale) {
  return {.bits = 4, .group_size = group_size, .scale = scale, .codebook = codebook};
}

struct EncodingRow {
  EncodingInfo info;
  Format format;  // of weight encodings
};
constexpr EncodingRow kRows[] = {
    {{"F32", 1, 4, 0}, Format::Dense(DType::kF32)},
    {{"F16", 1, 2, 1}, Format::Dense(DType::kF16)},
    {{"BF16", 1, 2, 30}, Format::Dense(DType::kBF16)},
    {{"Q4_0", 32, 18, 2}, Blocks(4, 32, Zero::kMidpoint, Scale::kF16)},
    {{"Q4_1", 32, 20, 3}, Blocks(4, 32, Zero::kMin, Scale::kF16)},
    {{"Q5_0", 32, 22, 6}, Blocks(5, 32, Zero::kMidpoint, Scale::kF16)},
    {{"Q5_1", 32, 24, 7}, Blocks(5, 32, Zero::kMin, Scale::kF16)},
    {{"Q8_0", 32, 34, 8}, Blocks(8, 32, Zero::kMidpoint, Scale::kF16)},
    {{"Q2_K", 256, 84, 10}, Blocks(2, 16, Zero::kMin, Scale::kSuper)},
    {{"Q3_K", 256, 110, 11}, Blocks(3, 16, Zero::kMidpoint, Scale::kSuper)},
    {{"Q4_K", 256, 144, 12}, Blocks(4, 32, Zero::kMin, Scale::kSuper)},
    {{"Q5_K", 256, 176, 13}, Blocks(5, 32, Zero::kMin, Scale::kSuper)},
    {{"Q6_K", 256, 210, 14}, Blocks(6, 16, Zero::kMidpoint, Scale::kSuper)},
    {{"TQ1_0", 256, 54, 34}, Blocks(2, 256, Zero::kMidpoint, Scale::kF16)},
    {{"TQ2_0", 256, 66, 35}, Blocks(3, 256, Zero::kMidpoint, Scale::kF16)},  // its two bits reach from -1 to 2
    {{"IQ1_S", 256, 50, 19}, Coded(32, Codebook::kIq1, Scale::kSuper)},
    {{"IQ1_M", 256, 56, 29}, Coded(16, Codebook::kIq1, Scale::kSuper)},
    {{"IQ2_XXS", 256, 66, 16}, Coded(32, Codebook::kIq2, Scale::kSuper)},
    {{"IQ2_XS", 256, 74, 17}, Coded(16, Codebook::kIq2, Scale::kSuper)},
    {{"IQ2_S", 256, 82, 22}, Coded(16, Codebook::kIq2, Scale::kSuper)},
    {{"IQ3_XXS", 256, 98, 18}, Coded(32, Codebook::kIq3Xxs, Scale::kSuper)},
    {{"IQ3_S", 256, 110, 21}, Coded(32, Codebook::kIq3S, Scale::kSuper)},
    {{"IQ4_NL", 32, 18, 20}, Coded(32, Codebook::kIq4, Scale::kF16)},
    {{"IQ4_XS", 256, 136, 23}, Coded(32, Codebook::kIq4, Scale::kSuper)},
    {{"MXFP4", 32, 17, 39}, Coded(32, Codebook::kFp4, Scale::kE8M0)},
    {{"NVFP4", 64, 36, 40}, Coded(16, Codebook::kFp4, Scale::kF16)},  // f16 holds its scales, E4M3
    {{"F64", 1, 8, 28}, {}},
    {{"I64", 1, 8, 27}, {}},
    {{"I32", 1, 4, 26}, {}},
    {{"I16", 1, 2, 25}, {}},
    {{"I8", 1, 1, 24}, {}},
    {{"U8", 1, 1, {}}, {}},
    {{"BOOL", 1, 1, {}}, {}},
};
static_assert(std::size(kRows) == static_cast<size_t>(Encoding::kBool) + 1);

void DecodeDense(Encoding encoding, const uint8_t* data, int64_t count, float* out) {
  if (count == 0) return;  // data may be null
  if (encoding == Encoding::kF32) {
    std::memcpy(out, data, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = static_cast<uint16_t>(data[2 * i] | data[2 * i + 1] << 8);
    out[i] = encoding == Encoding::kF16 ? F16ToF32(bits) : BF16ToF32(bits);
  }
}

void Append16(uint16_t value, std::vector<std::byte>* out) {
  out->push_back(static_cast<std::byte>(value & 0xff));
  out->push_back(static_cast<std::byte>(value >> 8));
}

float InverseOrZero(float d) { return d == 0 ? 0 : 1 / d; }

// The 4-bit code of a number that should be in [0, 16). Written so that NaN (0 times the infinite inverse of a scale
// too small for one) becomes 0.
uint8_t Code4(float value) {
  if (!(value > 0)) return 0;
  return value >= 15 ? 15 : static_cast<uint8_t>(value);
}

void AppendNibbles(const uint8_t* codes, std::vector<std::byte>* out) {
  for (int i = 0; i < 16; ++i) out->push_back(static_cast<std::byte>(codes[i] | codes[i + 16] << 4));
}

void EncodeQ4_0(const float* x, std::vector<std::byte>* out) {
  float extreme = x[0];  // the first of largest magnitude, with its sign: it becomes code 0
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  const float d = extreme / -8, inverse = InverseOrZero(d);
  Append16(F32ToF16(d), out);
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) codes[i] = Code4(x[i] * inverse + 8.5f);
  AppendNibbles(codes, out);
}

void EncodeQ4_1(const float* x, std::vector<std::byte>* out) {
  float min = x[0], max = x[0];
  for (int i = 1; i < 32; ++i) {
    min = x[i] < min ? x[i] : min;
    max = x[i] > max ? x[i] : max;
  }
  const float d = (max - min) / 15, inverse = InverseOrZero(d);
  Append16(F32ToF16(d), out);
  Append16(F32ToF16(min), out);
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) codes[i] = Code4((x[i] - min) * inverse + 0.5f);
  AppendNibbles(codes, out);
}

void EncodeQ8_0(const float* x, std::vector<std::byte>* out) {
  float max = 0;
  for (int i = 0; i < 32; ++i) max = std::fmax(max, std::fabs(x[i]));
  const float d = max / 127, inverse = InverseOrZero(d);
  Append16(F32ToF16(d), out);
  for (int i = 0; i < 32; ++i) {
    const float rounded = std::round(x[i] * inverse);  // halves away from zero
    const float code = rounded > 127 ? 127 : rounded < -127 ? -127 : rounded == rounded ? rounded : 0;
    out->push_back(static_cast<std::byte>(static_cast<int8_t>(code)));
  }
}

}  // namespace

const EncodingInfo& InfoOf(Encoding encoding) { return kRows[static_cast<size_t>(encoding)].info; }

std::optional<Encoding> EncodingOfGgmlType(uint32_t ggml_type) {
  for (size_t i = 0; i < std::size(kRows); ++i) {
    if (kRows[i].info.ggml_type == ggml_type) return static_cast<Encoding>(i);
  }
  return std::nullopt;
}

Result<size_t> RowBytes(Encoding encoding, int64_t cols) {
  const EncodingInfo& info = InfoOf(encoding);
  if (cols < 0 || cols % info.block_size != 0) {
    return InvalidArgument("a row of {} elements: {} needs a multiple of {}", cols, info.name, info.block_size);
  }
  const int64_t blocks = cols / info.block_size;
  if (blocks > std::numeric_limits<int64_t>::max() / info.block_bytes) {
    return InvalidArgument("a row of {} elements passes 2^63 bytes", cols);
  }
  return static_cast<size_t>(blocks * info.block_bytes);
}

Format FormatOf(Encoding encoding) {
  INGOT_CHECK(IsWeightEncoding(encoding));
  return kRows[static_cast<size_t>(encoding)].format;
}

void SizeToFormat(WeightRows* out) {
  const Format& format = out->format;
  const bool quantized = format.quantized(), super = quantized && format.scale == Format::Scale::kSuper;
  const size_t elements = static_cast<size_t>(out->rows * out->cols);
  const int64_t group_size = format.group_size == 0 ? out->cols : format.group_size;
  const int64_t groups_per_row = quantized && out->cols > 0 ? (out->cols + group_size - 1) / group_size : 0;
  const size_t groups = static_cast<size_t>(out->rows * groups_per_row);
  const size_t supers = static_cast<size_t>(out->rows * ((out->cols + kSuperBlock - 1) / kSuperBlock));
  const bool min = quantized && format.zero == Format::Zero::kMin;
  out->dense.resize(quantized ? 0 : elements);
  out->codes.resize(quantized ? elements : 0);
  out->scale.resize(groups);
  out->zero.resize(quantized && format.zero != Format::Zero::kMidpoint ? groups : 0);
  out->super_scale.resize(super ? supers : 0);
  out->super_min.resize(super && min ? supers : 0);
  out->scale_code.resize(super || format.scale == Format::Scale::kE8M0 ? groups : 0);
  out->min_code.resize(super && min ? groups : 0);
}

void DecodeRows(Encoding encoding, std::span<const std::byte> data, int64_t rows, int64_t cols, WeightRows* out) {
  const EncodingInfo& info = InfoOf(encoding);
  INGOT_CHECK(rows >= 0 && cols >= 0 && cols % info.block_size == 0);
  const int64_t blocks = rows * (cols / info.block_size);
  INGOT_CHECK(data.size() == static_cast<size_t>(blocks * info.block_bytes));
  out->format = FormatOf(encoding);
  out->rows = rows;
  out->cols = cols;
  SizeToFormat(out);
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  if (!out->format.quantized()) return DecodeDense(encoding, bytes, rows * cols, out->dense.data());
  // Rows hold whole blocks, so block i of the matrix is block i of the vectors too.
  const BlockDecoder decode = BlockDecoderOf(encoding);
  for (int64_t i = 0; i < blocks; ++i) decode(bytes + i * info.block_bytes, i, out);
}

void DequantizeRows(const WeightRows& rows, float* out) {
  if (!rows.format.quantized()) {
    std::copy(rows.dense.begin(), rows.dense.end(), out);
    return;
  }
  const int64_t group_size = rows.format.group_size == 0 ? rows.cols : rows.format.group_size;
  const int64_t groups = rows.cols == 0 ? 0 : (rows.cols + group_size - 1) / group_size;
  const auto midpoint = static_cast<float>(1 << (rows.format.bits - 1));
  const bool coded = rows.format.codebook != Codebook::kNone;
  const int8_t* values = coded ? InfoOf(rows.format.codebook).values.data() : nullptr;
  for (int64_t row = 0; row < rows.rows; ++row) {
    for (int64_t col = 0; col < rows.cols; ++col) {
      const int64_t at = row * rows.cols + col, group = row * groups + col / group_size;
      const uint8_t index = rows.codes[at];
      const float code = coded ? values[index] : index, scale = rows.scale[group];
      switch (rows.format.zero) {
        case Zero::kMidpoint:
          out[at] = scale * (coded ? code : code - midpoint);
          break;
        case Zero::kInteger:
          out[at] = scale * (code - rows.zero[group]);
          break;
        case Zero::kMin:
          out[at] = scale * code + rows.zero[group];
          break;
      }
    }
  }
}

Status EncodeRow(Encoding encoding, std::span<const float> row, std::vector<std::byte>* out) {
  if (const auto bytes = RowBytes(encoding, static_cast<int64_t>(row.size())); !bytes) return bytes.error();
  const EncodingInfo& info = InfoOf(encoding);
  if (info.block_size > 1) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (!std::isfinite(row[i]))
        return InvalidArgument("element {} is {}, which {} cannot hold", i, row[i], info.name);
    }
  }
  switch (encoding) {
    case Encoding::kF32: {
      const auto raw = std::as_bytes(row);
      out->insert(out->end(), raw.begin(), raw.end());
      return {};
    }
    case Encoding::kF16:
      for (const float value : row) Append16(F32ToF16(value), out);
      return {};
    case Encoding::kBF16:
      for (const float value : row) Append16(F32ToBF16(value), out);
      return {};
    case Encoding::kQ4_0:
      for (size_t i = 0; i < row.size(); i += 32) EncodeQ4_0(&row[i], out);
      return {};
    case Encoding::kQ4_1:
      for (size_t i = 0; i < row.size(); i += 32) EncodeQ4_1(&row[i], out);
      return {};
    case Encoding::kQ8_0:
      for (size_t i = 0; i < row.size(); i += 32) EncodeQ8_0(&row[i], out);
      return {};
    default:
      return Unsupported("encoding rows as {}: F32, F16, BF16, Q8_0, Q4_0 and Q4_1 can be written", info.name);
  }
}

bool HoldsCodes(Encoding encoding, const Format& format) {
  const bool is_written = encoding == Encoding::kQ8_0 || encoding == Encoding::kQ4_0 || encoding == Encoding::kQ4_1;
  return is_written && format == FormatOf(encoding);
}

void EncodeCodes(Encoding encoding, const WeightRows& rows, std::vector<std::byte>* out) {
  INGOT_CHECK(HoldsCodes(encoding, rows.format));
  for (size_t block = 0; block < rows.scale.size(); ++block) {
    const uint8_t* codes = rows.codes.data() + block * 32;
    Append16(F32ToF16(rows.scale[block]), out);
    if (encoding == Encoding::kQ4_1) Append16(F32ToF16(rows.zero[block]), out);
    if (encoding != Encoding::kQ8_0) {
      AppendNibbles(codes, out);
      continue;
    }
    for (int i = 0; i < 32; ++i) out->push_back(static_cast<std::byte>(codes[i] ^ 0x80u));
  }
}

}  // namespace ingot
