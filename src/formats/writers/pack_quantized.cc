#include "formats/writers/pack_quantized.h"

#include <cstring>

#include "base/check.h"
#include "tensor/dtype.h"

namespace ingot::formats {
namespace {

// Where channel i of a word of eight has its four bits: AutoAWQ's order, and the plain one.
constexpr int kAwqPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};
constexpr int kPlainPlace[8] = {0, 1, 2, 3, 4, 5, 6, 7};

template <typename T>
OutputBytes Make(std::string name, Encoding encoding, std::vector<int64_t> shape, const std::vector<T>& values) {
  OutputBytes tensor{{std::move(name), encoding, std::move(shape)}, std::vector<std::byte>(values.size() * sizeof(T))};
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

int64_t GroupsOf(const Format& format, int64_t cols) { return format.group_size == 0 ? 1 : cols / format.group_size; }

// scales[g][n], as both layouts by columns have them.
std::vector<uint16_t> TransposedScales(const WeightRows& rows, int64_t groups) {
  std::vector<uint16_t> scales(static_cast<size_t>(groups * rows.rows));
  for (int64_t n = 0; n < rows.rows; ++n) {
    for (int64_t g = 0; g < groups; ++g)
      scales[static_cast<size_t>(g * rows.rows + n)] = F32ToF16(rows.scale[static_cast<size_t>(n * groups + g)]);
  }
  return scales;
}

// Words [G, N/8] of the zero points, less `less`.
std::vector<uint32_t> ZeroWords(const WeightRows& rows, int64_t groups, const int* place, uint32_t less) {
  const int64_t words = rows.rows / 8;
  std::vector<uint32_t> packed(static_cast<size_t>(groups * words));
  const bool has_zeros = rows.format.zero == Format::Zero::kInteger;
  for (int64_t n = 0; n < rows.rows; ++n) {
    for (int64_t g = 0; g < groups; ++g) {
      const uint32_t zero = has_zeros ? static_cast<uint32_t>(rows.zero[static_cast<size_t>(n * groups + g)]) : 8u;
      packed[static_cast<size_t>(g * words + n / 8)] |= ((zero - less) & 15u) << (4 * place[n % 8]);
    }
  }
  return packed;
}

std::vector<OutputBytes> PackAwq(const std::string& name, const WeightRows& rows) {
  const int64_t groups = GroupsOf(rows.format, rows.cols), words = rows.rows / 8;
  std::vector<uint32_t> codes(static_cast<size_t>(rows.cols * words));
  for (int64_t n = 0; n < rows.rows; ++n) {
    for (int64_t k = 0; k < rows.cols; ++k)
      codes[static_cast<size_t>(k * words + n / 8)] |= uint32_t{rows.codes[static_cast<size_t>(n * rows.cols + k)]}
                                                       << (4 * kAwqPlace[n % 8]);
  }
  return {Make(name + ".qweight", Encoding::kI32, {rows.cols, words}, codes),
          Make(name + ".qzeros", Encoding::kI32, {groups, words}, ZeroWords(rows, groups, kAwqPlace, 0)),
          Make(name + ".scales", Encoding::kF16, {groups, rows.rows}, TransposedScales(rows, groups))};
}

std::vector<OutputBytes> PackGptq(const std::string& name, const WeightRows& rows, const InputOrder* order) {
  const int64_t groups = GroupsOf(rows.format, rows.cols), size = rows.cols / groups;
  std::vector<uint32_t> codes(static_cast<size_t>(rows.cols / 8 * rows.rows));
  std::vector<int32_t> group_of(static_cast<size_t>(rows.cols));
  for (int64_t j = 0; j < rows.cols; ++j) {
    const int64_t k = order ? (*order)[static_cast<size_t>(j)] : j;
    group_of[static_cast<size_t>(k)] = static_cast<int32_t>(j / size);
    for (int64_t n = 0; n < rows.rows; ++n)
      codes[static_cast<size_t>(k / 8 * rows.rows + n)] |= uint32_t{rows.codes[static_cast<size_t>(n * rows.cols + j)]}
                                                           << (4 * (k % 8));
  }
  return {Make(name + ".qweight", Encoding::kI32, {rows.cols / 8, rows.rows}, codes),
          Make(name + ".qzeros", Encoding::kI32, {groups, rows.rows / 8}, ZeroWords(rows, groups, kPlainPlace, 1)),
          Make(name + ".scales", Encoding::kF16, {groups, rows.rows}, TransposedScales(rows, groups)),
          Make(name + ".g_idx", Encoding::kI32, {rows.cols}, group_of)};
}

std::vector<OutputBytes> PackInt8(const std::string& name, const WeightRows& rows) {
  std::vector<uint8_t> codes(rows.codes.size());
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = rows.codes[i] ^ 0x80u;  // unsigned → signed
  return {Make(name + ".weight", Encoding::kI8, {rows.rows, rows.cols}, codes),
          Make(name + ".weight_scale", Encoding::kF32, {rows.rows, GroupsOf(rows.format, rows.cols)}, rows.scale)};
}

}  // namespace

Status CheckPackable(const std::string& name, Packing packing, const Format& format, int64_t rows, int64_t cols) {
  const bool is_int8 = packing == Packing::kInt8;
  const int bits = is_int8 ? 8 : 4;
  if (format.bits != bits) return InvalidArgument("{}: {} bits; this layout holds {}", name, format.bits, bits);
  if (format.scale != (is_int8 ? Format::Scale::kF32 : Format::Scale::kF16) || format.zero == Format::Zero::kMin ||
      (is_int8 && format.zero != Format::Zero::kMidpoint)) {
    return InvalidArgument("{}: {} is not what this layout holds", name, format.ToString());
  }
  if (packing == Packing::kGptq && format.zero == Format::Zero::kInteger && format.min_zero < 1) {
    return InvalidArgument("{}: a zero of 0 is not what this layout holds, which stores zeros less one", name);
  }
  if (format.group_size > 0 && cols % format.group_size != 0) {
    return InvalidArgument("{} has {} inputs, which groups of {} do not divide", name, cols, format.group_size);
  }
  if (!is_int8 && rows % 8 != 0) return InvalidArgument("{} has {} outputs, not a multiple of 8", name, rows);
  if (packing == Packing::kGptq && cols % 8 != 0) {
    return InvalidArgument("{} has {} inputs, not a multiple of 8", name, cols);
  }
  return {};
}

std::vector<OutputBytes> PackQuantized(const std::string& name, Packing packing, const WeightRows& rows,
                                       const InputOrder* order) {
  INGOT_CHECK(packing != Packing::kCompressed);
  INGOT_CHECK(order == nullptr || packing == Packing::kGptq);
  if (packing == Packing::kAwqGemm) return PackAwq(name, rows);
  return packing == Packing::kGptq ? PackGptq(name, rows, order) : PackInt8(name, rows);
}

}  // namespace ingot::formats
