#include "lite/matrices.h"

#include "base/check.h"

namespace ingot::lite {
namespace {

constexpr int64_t kRowsPerRead = 16;

class Scaled : public WeightSource {
 public:
  Scaled(WeightSourcePtr source, std::vector<float> rows, std::vector<float> cols)
      : source_(std::move(source)), row_scale_(std::move(rows)), col_scale_(std::move(cols)) {
    INGOT_CHECK(row_scale_.empty() || std::ssize(row_scale_) == source_->rows());
    INGOT_CHECK(col_scale_.empty() || std::ssize(col_scale_) == source_->cols());
  }
  int64_t rows() const override { return source_->rows(); }
  int64_t cols() const override { return source_->cols(); }
  Format format() const override { return Format::Dense(DType::kF32); }

  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    *out = {.format = format(), .rows = count, .cols = cols()};
    out->dense.resize(static_cast<size_t>(count * cols()));
    ReadDense(*source_, row, count, out->dense.data());
    for (int64_t r = 0; r < count; ++r) {
      const float row_scale = row_scale_.empty() ? 1.0f : row_scale_[static_cast<size_t>(row + r)];
      float* const values = out->dense.data() + r * cols();
      for (int64_t c = 0; c < cols(); ++c)
        values[c] *= row_scale * (col_scale_.empty() ? 1.0f : col_scale_[static_cast<size_t>(c)]);
    }
  }
  void Drop() const override { source_->Drop(); }

 private:
  const WeightSourcePtr source_;
  const std::vector<float> row_scale_, col_scale_;
};

template <typename T>
std::vector<T> Part(const std::vector<T>& values, int64_t row, int64_t count, int64_t rows) {
  const int64_t width = std::ssize(values) / rows;
  return {values.begin() + row * width, values.begin() + (row + count) * width};
}

class Codes : public WeightSource {
 public:
  Codes(WeightRows rows, std::shared_ptr<const InputOrder> order) : rows_(std::move(rows)), order_(std::move(order)) {
    INGOT_CHECK(rows_.format.quantized() && rows_.format.scale != Format::Scale::kSuper);
  }
  int64_t rows() const override { return rows_.rows; }
  int64_t cols() const override { return rows_.cols; }
  Format format() const override { return rows_.format; }
  std::shared_ptr<const InputOrder> input_order() const override { return order_; }

  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    INGOT_CHECK(row >= 0 && count >= 0 && row <= rows_.rows - count);
    *out = {.format = rows_.format, .rows = count, .cols = rows_.cols};
    out->codes = Part(rows_.codes, row, count, rows_.rows);
    out->scale = Part(rows_.scale, row, count, rows_.rows);
    out->zero = Part(rows_.zero, row, count, rows_.rows);
  }

 private:
  const WeightRows rows_;
  const std::shared_ptr<const InputOrder> order_;
};

}  // namespace

WeightSourcePtr ScaledMatrix(WeightSourcePtr source, std::vector<float> rows, std::vector<float> cols) {
  return std::make_shared<Scaled>(std::move(source), std::move(rows), std::move(cols));
}

WeightSourcePtr CodesMatrix(WeightRows rows, std::shared_ptr<const InputOrder> order) {
  return std::make_shared<Codes>(std::move(rows), std::move(order));
}

std::vector<float> ReadAll(const WeightSource& source, ThreadPool& pool) {
  const int64_t rows = source.rows(), cols = source.cols();
  std::vector<float> values(static_cast<size_t>(rows * cols));
  pool.ParallelFor((rows + kRowsPerRead - 1) / kRowsPerRead, [&](int64_t i) {
    const int64_t row = i * kRowsPerRead;
    ReadDense(source, row, std::min(kRowsPerRead, rows - row), values.data() + row * cols);
  });
  source.Drop();
  return values;
}

}  // namespace ingot::lite
