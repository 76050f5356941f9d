#include "tensor/weight_source.h"

#include <algorithm>

#include "base/check.h"

namespace ingot {
namespace {

template <typename T>
void AppendTo(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

void Clear(WeightRows* out, const Format& format, int64_t cols) {
  out->format = format;
  out->rows = 0;
  out->cols = cols;
  out->dense.clear();
  out->codes.clear();
  out->scale.clear();
  out->zero.clear();
  out->super_scale.clear();
  out->super_min.clear();
  out->scale_code.clear();
  out->min_code.clear();
}

void Append(const WeightRows& rows, WeightRows* out) {
  out->rows += rows.rows;
  AppendTo(out->dense, rows.dense);
  AppendTo(out->codes, rows.codes);
  AppendTo(out->scale, rows.scale);
  AppendTo(out->zero, rows.zero);
  AppendTo(out->super_scale, rows.super_scale);
  AppendTo(out->super_min, rows.super_min);
  AppendTo(out->scale_code, rows.scale_code);
  AppendTo(out->min_code, rows.min_code);
}

class SelectedRows : public WeightSource {
 public:
  SelectedRows(WeightSourcePtr source, std::vector<int32_t> index)
      : source_(std::move(source)), index_(std::move(index)) {
    for (const int32_t row : index_) INGOT_CHECK(row >= 0 && row < source_->rows());
  }
  int64_t rows() const override { return static_cast<int64_t>(index_.size()); }
  int64_t cols() const override { return source_->cols(); }
  Format format() const override { return source_->format(); }
  std::shared_ptr<const InputOrder> input_order() const override { return source_->input_order(); }

  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    INGOT_CHECK(row >= 0 && count >= 0 && row <= rows() - count);
    if (RunLength(row, count) == count && count > 0) return source_->Read(index_[row], count, out);
    Clear(out, format(), cols());
    WeightRows run;
    for (int64_t done = 0; done < count;) {
      const int64_t length = RunLength(row + done, count - done);
      source_->Read(index_[row + done], length, &run);
      Append(run, out);
      done += length;
    }
  }
  void Drop() const override { source_->Drop(); }

 private:
  // How many of `count` indices from `row` on are consecutive.
  int64_t RunLength(int64_t row, int64_t count) const {
    int64_t length = std::min<int64_t>(1, count);
    while (length < count && index_[row + length] == index_[row] + length) ++length;
    return length;
  }

  WeightSourcePtr source_;
  std::vector<int32_t> index_;
};

class SlicedRows : public WeightSource {
 public:
  SlicedRows(WeightSourcePtr source, int64_t begin, int64_t count)
      : source_(std::move(source)), begin_(begin), count_(count) {
    INGOT_CHECK(begin >= 0 && count >= 0 && begin <= source_->rows() - count);
  }
  int64_t rows() const override { return count_; }
  int64_t cols() const override { return source_->cols(); }
  Format format() const override { return source_->format(); }
  std::shared_ptr<const InputOrder> input_order() const override { return source_->input_order(); }
  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    INGOT_CHECK(row >= 0 && count >= 0 && row <= count_ - count);
    source_->Read(begin_ + row, count, out);
  }
  void Drop() const override { source_->Drop(); }

 private:
  WeightSourcePtr source_;
  int64_t begin_, count_;
};

class ConcatenatedRows : public WeightSource {
 public:
  explicit ConcatenatedRows(std::vector<WeightSourcePtr> parts) : parts_(std::move(parts)) {
    for (const WeightSourcePtr& part : parts_) rows_ += part->rows();
  }
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return parts_[0]->cols(); }
  Format format() const override { return parts_[0]->format(); }
  std::shared_ptr<const InputOrder> input_order() const override { return parts_[0]->input_order(); }

  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    INGOT_CHECK(row >= 0 && count >= 0 && row <= rows_ - count);
    Clear(out, format(), cols());
    WeightRows piece;
    int64_t begin = 0;  // the first row of the part
    for (const WeightSourcePtr& part : parts_) {
      const int64_t from = std::max(row, begin), to = std::min(row + count, begin + part->rows());
      if (from < to && to - from == count) return part->Read(from - begin, count, out);
      if (from < to) {
        part->Read(from - begin, to - from, &piece);
        Append(piece, out);
      }
      begin += part->rows();
    }
  }
  void Drop() const override {
    for (const WeightSourcePtr& part : parts_) part->Drop();
  }

 private:
  std::vector<WeightSourcePtr> parts_;
  int64_t rows_ = 0;
};

bool SameOrder(const WeightSource& a, const WeightSource& b) {
  const auto order_a = a.input_order(), order_b = b.input_order();
  return order_a == order_b || (order_a && order_b && *order_a == *order_b);
}

}  // namespace

void ReadDense(const WeightSource& source, int64_t row, int64_t count, float* out) {
  WeightRows rows;
  source.Read(row, count, &rows);
  const auto order = source.input_order();
  if (!order) return DequantizeRows(rows, out);
  std::vector<float> stored(static_cast<size_t>(count * rows.cols));
  DequantizeRows(rows, stored.data());
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t j = 0; j < rows.cols; ++j) {
      out[r * rows.cols + (*order)[static_cast<size_t>(j)]] = stored[static_cast<size_t>(r * rows.cols + j)];
    }
  }
}

WeightSourcePtr SelectRows(WeightSourcePtr source, std::vector<int32_t> index) {
  return std::make_shared<SelectedRows>(std::move(source), std::move(index));
}

WeightSourcePtr SliceRows(WeightSourcePtr source, int64_t begin, int64_t count) {
  return std::make_shared<SlicedRows>(std::move(source), begin, count);
}

WeightSourcePtr ConcatRows(std::vector<WeightSourcePtr> parts) {
  if (parts.empty()) return nullptr;
  for (const WeightSourcePtr& part : parts) {
    if (part->cols() != parts[0]->cols() || part->format() != parts[0]->format()) return nullptr;
    if (!SameOrder(*part, *parts[0])) return nullptr;
  }
  return std::make_shared<ConcatenatedRows>(std::move(parts));
}

}  // namespace ingot
