#include "tensor/encoding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace ingot {
namespace {

constexpr EncodingInfo kInfos[] = {
    {"F32", 1, 4, 0},       {"F16", 1, 2, 1},    {"BF16", 1, 2, 30},  {"Q4_0", 32, 18, 2},    {"Q4_1", 32, 20, 3},
    {"Q5_0", 32, 22, 6},    {"Q5_1", 32, 24, 7}, {"Q8_0", 32, 34, 8}, {"Q4_K", 256, 144, 12}, {"Q5_K", 256, 176, 13},
    {"Q6_K", 256, 210, 14}, {"F64", 1, 8, 28},   {"I64", 1, 8, 27},   {"I32", 1, 4, 26},      {"I16", 1, 2, 25},
    {"I8", 1, 1, 24},       {"U8", 1, 1, {}},    {"BOOL", 1, 1, {}},
};
static_assert(std::size(kInfos) == static_cast<size_t>(Encoding::kBool) + 1);

uint16_t Load16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }
float LoadF16(const uint8_t* p) { return F16ToF32(Load16(p)); }
uint32_t Load32(const uint8_t* p) { return p[0] | p[1] << 8 | p[2] << 16 | static_cast<uint32_t>(p[3]) << 24; }

void DecodeDense(Encoding encoding, const uint8_t* data, int64_t count, float* out) {
  if (count == 0) return;  // data may be null
  if (encoding == Encoding::kF32) {
    std::memcpy(out, data, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t bits = Load16(data + 2 * i);
    out[i] = encoding == Encoding::kF16 ? F16ToF32(bits) : BF16ToF32(bits);
  }
}

// Low nibbles are elements 0…15 of a block, high nibbles 16…31.
void UnpackNibbles(const uint8_t* packed, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = packed[i] & 15;
    codes[i + 16] = packed[i] >> 4;
  }
}

// Blocks of 32 with one scale (and min) each: f16 scale, f16 min if any, 32 fifth bits if any, codes.
void DecodeBlock32(Encoding encoding, const uint8_t* block, int64_t index, WeightRows* out) {
  uint8_t* codes = out->codes.data() + index * 32;
  out->scale[index] = LoadF16(block);
  block += 2;
  if (out->format.zero == Format::Zero::kMin) {
    out->zero[index] = LoadF16(block);
    block += 2;
  }
  if (encoding == Encoding::kQ8_0) {
    for (int i = 0; i < 32; ++i) codes[i] = block[i] ^ 0x80;  // int8 q to q + 128
    return;
  }
  if (out->format.bits == 4) return UnpackNibbles(block, codes);
  const uint32_t high = Load32(block);
  UnpackNibbles(block + 4, codes);
  for (int i = 0; i < 32; ++i) codes[i] |= static_cast<uint8_t>((high >> i & 1) << 4);
}

// 256 weights in 8 groups of 32: f16 d, f16 dmin, 8 scales and 8 mins of 6 bits in 12 bytes, codes.
void DecodeBlockQ45K(Encoding encoding, const uint8_t* block, int64_t index, WeightRows* out) {
  const float d = LoadF16(block), dmin = LoadF16(block + 2);
  const uint8_t* packed = block + 4;
  out->super_scale[index] = d;
  out->super_min[index] = -dmin;
  for (int g = 0; g < 8; ++g) {
    // Groups 0…3 have bytes of their own; 4…7 share bytes 8…11 and the top bits of the first eight.
    const int code = g < 4 ? packed[g] & 63 : (packed[g + 4] & 15) | (packed[g - 4] >> 6) << 4;
    const int min = g < 4 ? packed[g + 4] & 63 : packed[g + 4] >> 4 | (packed[g] >> 6) << 4;
    const int64_t group = index * 8 + g;
    out->scale_code[group] = static_cast<int16_t>(code);
    out->min_code[group] = static_cast<int16_t>(min);
    out->scale[group] = d * static_cast<float>(code);
    out->zero[group] = -dmin * static_cast<float>(min);
  }
  const uint8_t* high = block + 16;  // Q5_K: bit g of byte i is the fifth bit of element i of group g
  const uint8_t* low = encoding == Encoding::kQ5_K ? block + 48 : block + 16;
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  for (int g = 0; g < 8; ++g) {
    for (int i = 0; i < 32; ++i) {
      const uint8_t byte = low[g / 2 * 32 + i];
      uint8_t code = g % 2 == 0 ? byte & 15 : byte >> 4;
      if (encoding == Encoding::kQ5_K) code |= static_cast<uint8_t>((high[i] >> g & 1) << 4);
      codes[g * 32 + i] = code;
    }
  }
}

// 256 weights in 16 groups of 16: 128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, f16 d.
void DecodeBlockQ6K(const uint8_t* block, int64_t index, WeightRows* out) {
  const float d = LoadF16(block + 208);
  out->super_scale[index] = d;
  for (int g = 0; g < 16; ++g) {
    const auto code = static_cast<int8_t>(block[192 + g]);
    out->scale_code[index * 16 + g] = code;
    out->scale[index * 16 + g] = d * static_cast<float>(code);
  }
  uint8_t* codes = out->codes.data() + index * kSuperBlock;
  for (int half = 0; half < 2; ++half) {  // 128 weights from 64 bytes of nibbles and 32 of bit pairs
    const uint8_t* low = block + half * 64;
    const uint8_t* high = block + 128 + half * 32;
    for (int quarter = 0; quarter < 4; ++quarter) {
      for (int i = 0; i < 32; ++i) {
        const uint8_t byte = low[quarter % 2 * 32 + i];
        const int nibble = quarter < 2 ? byte & 15 : byte >> 4;
        codes[half * 128 + quarter * 32 + i] = static_cast<uint8_t>(nibble | (high[i] >> 2 * quarter & 3) << 4);
      }
    }
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

const EncodingInfo& InfoOf(Encoding encoding) { return kInfos[static_cast<size_t>(encoding)]; }

std::optional<Encoding> EncodingOfGgmlType(uint32_t ggml_type) {
  for (size_t i = 0; i < std::size(kInfos); ++i) {
    if (kInfos[i].ggml_type == ggml_type) return static_cast<Encoding>(i);
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
  using Zero = Format::Zero;
  using Scale = Format::Scale;
  const auto format = [](int bits, int group_size, Zero zero, Scale scale) {
    return Format{.bits = bits, .dense = DType::kF32, .group_size = group_size, .zero = zero, .scale = scale};
  };
  switch (encoding) {
    case Encoding::kF32:
      return Format::Dense(DType::kF32);
    case Encoding::kF16:
      return Format::Dense(DType::kF16);
    case Encoding::kBF16:
      return Format::Dense(DType::kBF16);
    case Encoding::kQ4_0:
      return format(4, 32, Zero::kMidpoint, Scale::kF16);
    case Encoding::kQ4_1:
      return format(4, 32, Zero::kMin, Scale::kF16);
    case Encoding::kQ5_0:
      return format(5, 32, Zero::kMidpoint, Scale::kF16);
    case Encoding::kQ5_1:
      return format(5, 32, Zero::kMin, Scale::kF16);
    case Encoding::kQ8_0:
      return format(8, 32, Zero::kMidpoint, Scale::kF16);
    case Encoding::kQ4_K:
      return format(4, 32, Zero::kMin, Scale::kSuper);
    case Encoding::kQ5_K:
      return format(5, 32, Zero::kMin, Scale::kSuper);
    case Encoding::kQ6_K:
      return format(6, 16, Zero::kMidpoint, Scale::kSuper);
    default:
      INGOT_CHECK(!"not a weight encoding");
  }
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
  out->scale_code.resize(super ? groups : 0);
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
  for (int64_t i = 0; i < blocks; ++i) {
    const uint8_t* block = bytes + i * info.block_bytes;
    if (info.block_size == 32) {
      DecodeBlock32(encoding, block, i, out);
    } else if (encoding == Encoding::kQ6_K) {
      DecodeBlockQ6K(block, i, out);
    } else {
      DecodeBlockQ45K(encoding, block, i, out);
    }
  }
}

void DequantizeRows(const WeightRows& rows, float* out) {
  if (!rows.format.quantized()) {
    std::copy(rows.dense.begin(), rows.dense.end(), out);
    return;
  }
  const int64_t group_size = rows.format.group_size == 0 ? rows.cols : rows.format.group_size;
  const int64_t groups = rows.cols == 0 ? 0 : (rows.cols + group_size - 1) / group_size;
  const auto midpoint = static_cast<float>(1 << (rows.format.bits - 1));
  for (int64_t row = 0; row < rows.rows; ++row) {
    for (int64_t col = 0; col < rows.cols; ++col) {
      const int64_t at = row * rows.cols + col, group = row * groups + col / group_size;
      const auto code = static_cast<float>(rows.codes[at]);
      const float scale = rows.scale[group];
      switch (rows.format.zero) {
        case Format::Zero::kMidpoint:
          out[at] = scale * (code - midpoint);
          break;
        case Format::Zero::kInteger:
          out[at] = scale * (code - rows.zero[group]);
          break;
        case Format::Zero::kMin:
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
