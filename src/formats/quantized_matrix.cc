// Reading of quantized matrices (quantized.h), by rows.
#include <cstring>

#include "base/check.h"
#include "formats/quantized.h"

namespace ingot::formats {
namespace {

// Where the channels of an AWQ word have their four bits: channel i at 4 · kAwqPlace[i].
constexpr int kAwqPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};

uint32_t WordAt(const TensorEntry& words, int64_t index) {
  uint32_t word;
  std::memcpy(&word, words.bytes.data() + index * 4, sizeof(word));
  return word;
}

float NumberAt(const TensorEntry& numbers, int64_t index) {
  if (numbers.encoding == Encoding::kF32) {
    float value;
    std::memcpy(&value, numbers.bytes.data() + index * 4, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, numbers.bytes.data() + index * 2, sizeof(bits));
  return numbers.encoding == Encoding::kF16 ? F16ToF32(bits) : BF16ToF32(bits);
}

class QuantizedSource : public WeightSource {
 public:
  QuantizedSource(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<const QuantizedMatrix> matrix)
      : checkpoint_(std::move(checkpoint)), m_(std::move(matrix)), per_word_(32 / m_->format.bits) {
    if (!m_->input_order) return;
    place_.resize(m_->input_order->size());
    for (size_t j = 0; j < place_.size(); ++j)
      place_[static_cast<size_t>((*m_->input_order)[j])] = static_cast<int32_t>(j);
  }

  int64_t rows() const override { return m_->rows; }
  int64_t cols() const override { return m_->cols; }
  Format format() const override { return m_->format; }
  std::shared_ptr<const InputOrder> input_order() const override { return m_->input_order; }

  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    INGOT_CHECK(row >= 0 && count >= 0 && row <= m_->rows - count);
    *out = {.format = m_->format, .rows = count, .cols = m_->cols};
    out->codes.resize(static_cast<size_t>(count * m_->cols));
    switch (m_->packing) {
      case Packing::kAwqGemm:
        ReadAwq(row, count, out->codes.data());
        break;
      case Packing::kGptq:
        ReadGptq(row, count, out->codes.data());
        break;
      case Packing::kCompressed:
        ReadCompressed(row, count, out->codes.data());
        break;
      case Packing::kInt8:
        ReadInt8(row, count, out->codes.data());
        break;
      case Packing::kGgml:
        break;  // a ScaledBlocks
    }
    for (int64_t r = row; r < row + count; ++r) {
      for (int64_t g = 0; g < m_->groups; ++g) {
        out->scale.push_back(ScaleAt(r, g));
        if (m_->format.zero == Format::Zero::kInteger) out->zero.push_back(static_cast<float>(ZeroAt(r, g)));
      }
    }
  }

  void Drop() const override {
    checkpoint_->DropPages(m_->codes);
    checkpoint_->DropPages(m_->scales);
    if (m_->zeros) checkpoint_->DropPages(*m_->zeros);
  }

  uint32_t ZeroAt(int64_t row, int64_t group) const {
    const TensorEntry& zeros = *m_->zeros;
    const int bits = m_->format.bits;
    const uint32_t mask = (1u << bits) - 1;
    switch (m_->packing) {
      case Packing::kAwqGemm:
        return WordAt(zeros, group * (m_->rows / 8) + row / 8) >> (4 * kAwqPlace[row % 8]) & mask;
      case Packing::kGptq: {
        const int64_t words = (m_->rows + per_word_ - 1) / per_word_;
        const uint32_t stored = WordAt(zeros, group * words + row / per_word_) >> (bits * (row % per_word_));
        return (stored + (m_->zero_is_one_less ? 1 : 0)) & mask;
      }
      case Packing::kCompressed:
        return WordAt(zeros, row / per_word_ * m_->groups + group) >> (bits * (row % per_word_)) & mask;
      case Packing::kInt8:
        return static_cast<uint8_t>(zeros.bytes[static_cast<size_t>(row * m_->groups + group)]) ^ 0x80u;
      case Packing::kGgml:
        break;
    }
    return 0;
  }

 private:
  float ScaleAt(int64_t row, int64_t group) const {
    if (m_->packing == Packing::kAwqGemm || m_->packing == Packing::kGptq) {
      return NumberAt(m_->scales, group * m_->rows + row);
    }
    const bool one_for_all = m_->scales.bytes.size() == RowBytes(m_->scales.encoding, 1).value();
    return NumberAt(m_->scales, one_for_all ? 0 : row * m_->groups + group);
  }
  // The column where input k is read to.
  int64_t Place(int64_t k) const { return place_.empty() ? k : place_[static_cast<size_t>(k)]; }

  // A word holds eight channels of one input.
  void ReadAwq(int64_t row, int64_t count, uint8_t* codes) const {
    const int64_t words = m_->rows / 8;
    for (int64_t word = row / 8; word * 8 < row + count; ++word) {
      const int64_t first = std::max(row, word * 8), last = std::min(row + count, word * 8 + 8);
      for (int64_t k = 0; k < m_->cols; ++k) {
        const uint32_t packed = WordAt(m_->codes, k * words + word);
        for (int64_t r = first; r < last; ++r) {
          codes[(r - row) * m_->cols + k] = static_cast<uint8_t>(packed >> (4 * kAwqPlace[r % 8]) & 15);
        }
      }
    }
  }

  // A word holds eight (or four) inputs of one channel; words of one channel are N apart.
  void ReadGptq(int64_t row, int64_t count, uint8_t* codes) const {
    for (int64_t begin = 0; begin < m_->cols; begin += per_word_) {
      for (int64_t r = 0; r < count; ++r) {
        Unpack(WordAt(m_->codes, begin / per_word_ * m_->rows + row + r), begin, codes + r * m_->cols);
      }
    }
  }

  void ReadCompressed(int64_t row, int64_t count, uint8_t* codes) const {
    const int64_t words = (m_->cols + per_word_ - 1) / per_word_;
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t word = 0; word < words; ++word) {
        Unpack(WordAt(m_->codes, (row + r) * words + word), word * per_word_, codes + r * m_->cols);
      }
    }
  }

  void ReadInt8(int64_t row, int64_t count, uint8_t* codes) const {
    const std::byte* from = m_->codes.bytes.data() + row * m_->cols;
    for (int64_t i = 0; i < count * m_->cols; ++i) codes[i] = static_cast<uint8_t>(from[i]) ^ 0x80u;
  }

  // The codes of a word whose first is that of input `begin`.
  void Unpack(uint32_t word, int64_t begin, uint8_t* row) const {
    const int bits = m_->format.bits;
    const int64_t end = std::min(begin + per_word_, m_->cols);
    for (int64_t k = begin; k < end; ++k, word >>= bits)
      row[Place(k)] = static_cast<uint8_t>(word & ((1u << bits) - 1));
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const QuantizedMatrix> m_;
  int64_t per_word_;            // codes of a word
  std::vector<int32_t> place_;  // [K] inverse of input_order, or empty
};

// Packing::kGgml.
class ScaledBlocks : public WeightSource {
 public:
  ScaledBlocks(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<const QuantizedMatrix> matrix)
      : checkpoint_(std::move(checkpoint)),
        m_(std::move(matrix)),
        row_bytes_(RowBytes(m_->codes.encoding, m_->cols).value()),
        rows_per_scale_(m_->rows / m_->scales.shape[0]) {}

  int64_t rows() const override { return m_->rows; }
  int64_t cols() const override { return m_->cols; }
  Format format() const override { return m_->format; }
  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    INGOT_CHECK(row >= 0 && count >= 0 && row <= m_->rows - count);
    const auto bytes =
        m_->codes.bytes.subspan(static_cast<size_t>(row) * row_bytes_, static_cast<size_t>(count) * row_bytes_);
    DecodeRows(m_->codes.encoding, bytes, count, m_->cols, out);
    out->format = m_->format;
    for (size_t i = 0; i < out->scale.size(); ++i) {
      const int64_t r = row + static_cast<int64_t>(i) / m_->groups;
      out->scale[i] *= NumberAt(m_->scales, r / rows_per_scale_);
    }
  }
  void Drop() const override { checkpoint_->DropPages(m_->codes); }

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const QuantizedMatrix> m_;
  size_t row_bytes_;
  int64_t rows_per_scale_;
};

}  // namespace

WeightSourcePtr OpenQuantized(std::shared_ptr<const Checkpoint> checkpoint,
                              std::shared_ptr<const QuantizedMatrix> matrix) {
  if (matrix->packing == Packing::kGgml) {
    return std::make_shared<ScaledBlocks>(std::move(checkpoint), std::move(matrix));
  }
  return std::make_shared<QuantizedSource>(std::move(checkpoint), std::move(matrix));
}

}  // namespace ingot::formats
