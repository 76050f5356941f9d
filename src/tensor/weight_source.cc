#include "tensor/weight_source.h"

#include <algorithm>
#include <span>

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

// Columns that share a scale, in order of their storage; all of them with one scale per row.
int64_t GroupOf(const Format& format, int64_t cols) {
  if (!format.quantized()) return 1;
  if (format.scale == Format::Scale::kSuper) return kSuperBlock;
  return format.group_size > 0 ? format.group_size : cols;
}

// Columns [begin, end).
struct Run {
  int64_t begin, end;
};
// Of each row of `from`, which has a number for every `unit` columns, those of the runs.
template <typename T>
void TakeColumns(const std::vector<T>& from, int64_t rows, int64_t unit, std::span<const Run> runs,
                 std::vector<T>* to) {
  to->clear();
  if (from.empty()) return;
  const int64_t width = std::ssize(from) / rows;
  for (int64_t row = 0; row < rows; ++row) {
    for (const Run& run : runs) {
      const auto begin = from.begin() + row * width + run.begin / unit;
      to->insert(to->end(), begin, begin + ((run.end + unit - 1) / unit - run.begin / unit));
    }
  }
}

// Runs of stored columns.
class SlicedCols : public WeightSource {
 public:
  SlicedCols(WeightSourcePtr source, std::vector<Run> runs, std::shared_ptr<const InputOrder> order)
      : source_(std::move(source)), runs_(std::move(runs)), order_(std::move(order)) {
    for (const Run& run : runs_) cols_ += run.end - run.begin;
  }
  int64_t rows() const override { return source_->rows(); }
  int64_t cols() const override { return cols_; }
  Format format() const override { return source_->format(); }
  std::shared_ptr<const InputOrder> input_order() const override { return order_; }
  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    WeightRows whole;
    source_->Read(row, count, &whole);
    Clear(out, whole.format, cols_);
    out->rows = count;
    const int64_t all = source_->cols(), group = whole.format.group_size > 0 ? whole.format.group_size : all;
    const auto take = [&](const auto& from, int64_t unit, auto* to) {
      if (unit >= all) return void(*to = from);  // one for all columns
      TakeColumns(from, count, unit, runs_, to);
    };
    take(whole.dense, 1, &out->dense);
    take(whole.codes, 1, &out->codes);
    take(whole.scale, group, &out->scale);
    take(whole.zero, group, &out->zero);
    take(whole.super_scale, kSuperBlock, &out->super_scale);
    take(whole.super_min, kSuperBlock, &out->super_min);
    take(whole.scale_code, group, &out->scale_code);
    take(whole.min_code, group, &out->min_code);
  }
  void Drop() const override { source_->Drop(); }

 private:
  const WeightSourcePtr source_;
  const std::vector<Run> runs_;
  const std::shared_ptr<const InputOrder> order_;
  int64_t cols_ = 0;
};

// The stored columns of the inputs [begin, end), as whole groups; and these columns' inputs, counted from `begin`.
Result<WeightSourcePtr> SliceReordered(WeightSourcePtr source, int64_t begin, int64_t end) {
  const InputOrder& stored = *source->input_order();
  const int64_t cols = source->cols(), group = GroupOf(source->format(), cols);
  std::vector<Run> runs;
  auto order = std::make_shared<InputOrder>();
  const auto is_wanted = [&](int32_t input) { return input >= begin && input < end; };
  for (int64_t from = 0; from < cols; from += group) {
    const int64_t to = std::min(cols, from + group);
    const auto inputs = std::span(stored).subspan(static_cast<size_t>(from), static_cast<size_t>(to - from));
    const auto wanted = std::ranges::count_if(inputs, is_wanted);
    if (wanted == 0) continue;
    if (group < cols && wanted < std::ssize(inputs)) {
      return Unsupported(
          "inputs {}…{} share groups with others, as columns are stored in an order of their own "
          "(act-order)",
          begin, end - 1);
    }
    for (int64_t j = from; j < to; ++j) {
      const int32_t input = stored[static_cast<size_t>(j)];
      if (!is_wanted(input)) continue;
      order->push_back(input - static_cast<int32_t>(begin));
      if (!runs.empty() && runs.back().end == j) {
        ++runs.back().end;
      } else {
        runs.push_back({j, j + 1});
      }
    }
  }
  return std::make_shared<SlicedCols>(std::move(source), std::move(runs), std::move(order));
}

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

Result<WeightSourcePtr> SliceCols(WeightSourcePtr source, int64_t begin, int64_t count) {
  const int64_t cols = source->cols(), end = begin + count, group = GroupOf(source->format(), cols);
  INGOT_CHECK(begin >= 0 && count > 0 && begin <= cols - count);
  if (source->input_order()) return SliceReordered(std::move(source), begin, end);
  if (group < cols && (begin % group != 0 || (end % group != 0 && end != cols))) {
    return InvalidArgument("columns {}…{} of {}: a cut is possible at multiples of {}, which share a scale", begin,
                           end - 1, cols, group);
  }
  return std::make_shared<SlicedCols>(std::move(source), std::vector<Run>{{begin, end}}, nullptr);
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
