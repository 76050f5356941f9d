// The encodings in which files store a matrix row by row: plain numbers, and the block formats of GGML.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/format.h"

namespace ingot {

enum class Encoding : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kTQ1_0,
  kTQ2_0,
  kIQ1_S,
  kIQ1_M,
  kIQ2_XXS,
  kIQ2_XS,
  kIQ2_S,
  kIQ3_XXS,
  kIQ3_S,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
  kNVFP4,
  kF64,  // numbers from here on are read, but are no weights
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool
};

struct EncodingInfo {
  const char* name;  // "Q4_K"
  int block_size;    // elements of a block; 1 for plain numbers
  int block_bytes;
  std::optional<uint32_t> ggml_type;  // its number in GGUF files
};
const EncodingInfo& InfoOf(Encoding encoding);
std::optional<Encoding> EncodingOfGgmlType(uint32_t ggml_type);
// Bytes of a row of `cols`; kInvalidArgument unless cols is a multiple of the block.
Result<size_t> RowBytes(Encoding encoding, int64_t cols);
// Whether weights may be stored so: up to 32 bits of floating point, and the block formats.
inline bool IsWeightEncoding(Encoding encoding) { return encoding < Encoding::kF64; }
// The descriptor that holds this encoding without loss. REQUIRES: IsWeightEncoding(encoding)
Format FormatOf(Encoding encoding);

// Some rows of a weight matrix, taken apart. For quantized formats groups = ceil(cols / group_size) and supers =
// ceil(cols / 256).
struct WeightRows {
  Format format;
  int64_t rows = 0, cols = 0;
  std::vector<float> dense;    // [rows, cols]     for bits 16 and 32: the exact values
  std::vector<uint8_t> codes;  // [rows, cols]     for bits <= 8
  std::vector<float>
      scale;  // [rows, groups]   the group's scale as its exact product (kSuper: super_scale · scale_code · unit)
  std::vector<float>
      zero;  // [rows, groups]   kInteger: the zero point; kMin: the min (kSuper: super_min · min_code); else empty
  // Scale::kSuper only. min = super_min · min_code, where super_min already has its sign (Q4_K: -dmin)
  std::vector<float> super_scale, super_min;  // [rows, supers]
  std::vector<int16_t> scale_code, min_code;  // [rows, groups]; scale_code for kE8M0, too
};

// Sizes the vectors that format, rows and cols of `out` call for, and empties the others.
void SizeToFormat(WeightRows* out);

// Decodes `rows` rows of `cols` elements that lie one after another. REQUIRES: data.size() == rows · RowBytes, a weight
// encoding.
void DecodeRows(Encoding encoding, std::span<const std::byte> data, int64_t rows, int64_t cols, WeightRows* out);
// The weights as numbers: [rows · cols].
void DequantizeRows(const WeightRows& rows, float* out);
// Encodes one row as GGML's reference does (F32, F16, BF16, Q8_0, Q4_0, Q4_1; others are kUnsupported). Appends to
// *out.
Status EncodeRow(Encoding encoding, std::span<const float> row, std::vector<std::byte>* out);
// Whether codes of `format` can be stored in `encoding` as they are: Q8_0, Q4_0 and Q4_1.
bool HoldsCodes(Encoding encoding, const Format& format);
// The inverse of DecodeRows. Appends to *out.   REQUIRES: HoldsCodes(encoding, rows.format)
void EncodeCodes(Encoding encoding, const WeightRows& rows, std::vector<std::byte>* out);

}  // namespace ingot
