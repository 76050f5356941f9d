// The search for clipped ranges of groups (awq.h).
#include "quant/awq.h"
#include "quant/range.h"
#include "quant/row_blocks.h"

namespace ingot::quant {
namespace {

// The search for some rows. With D the errors of their weights, a row's error is dᵀ · G · d; the part that changes with
// group g is d_g · (G_gg · d_g + 2 · (G · d - G_gg · d_g of now)_g).
class ClipSearch {
 public:
  ClipSearch(const RowBlock& block, const LinearWeight& linear, const InputStats& stats, const Format& format)
      : alone_(block.alone),
        stats_(stats),
        format_(format),
        rows_(block.count),
        inputs_(stats.channels),
        group_(format.group_size == 0 ? inputs_ : format.group_size),
        w_(rows_ * inputs_),
        d_(rows_ * inputs_),
        product_(rows_ * inputs_),
        whole_(rows_ * Groups()),
        now_(rows_ * Groups()),
        grids_(static_cast<size_t>(Groups()), GridLanes(format, rows_)),
        trial_(format, rows_),
        code_(rows_),
        error_(rows_),
        trial_error_(rows_),
        trial_d_(rows_ * group_),
        others_(rows_ * group_),
        own_(rows_ * group_) {
    Transpose(linear.w + block.begin * inputs_, rows_, inputs_, w_.data());
    for (int64_t g = 0; g < Groups(); ++g) StartGroup(g);
    AddGram(All(), All(), d_.data(), product_.data());
  }

  int64_t Groups() const { return inputs_ / group_; }
  Grid GridOf(int64_t row, int64_t g) const { return grids_[g].Get(row); }

  void ImproveGroup(int64_t g) {
    const std::vector<float> before(At(d_, g), At(d_, g) + rows_ * group_);
    std::fill(own_.begin(), own_.end(), 0.0f);
    AddGram(Of(g), Of(g), before.data(), own_.data());
    for (int64_t i = 0; i < rows_ * group_; ++i) others_[i] = 2 * (At(product_, g)[i] - own_[i]);
    SumErrors(before.data(), error_.data());
    for (int line = 0; line < 2; ++line) {
      const std::vector<Range> start(&now_[g * rows_], &now_[g * rows_] + rows_);
      for (int index = 0; index < kTries; ++index) TryRanges(g, start.data(), line, index);
    }
    std::vector<float> change(before.size());
    for (size_t i = 0; i < change.size(); ++i) change[i] = At(d_, g)[i] - before[i];
    AddGram(All(), Of(g), change.data(), product_.data());
  }

 private:
  float* At(std::vector<float>& matrix, int64_t g) { return &matrix[g * group_ * rows_]; }  // the group's inputs

  struct Span {
    int64_t begin, count;
  };
  Span All() const { return {0, inputs_}; }
  Span Of(int64_t g) const { return {g * group_, group_}; }

  // y += G[to][from] · x.   x: [from.count, rows], y: [to.count, rows]
  void AddGram(Span to, Span from, const float* x, float* y) {
    ops::AddProduct(alone_, {.a = &stats_.gram[from.begin * inputs_ + to.begin],
                             .b = x,
                             .c = y,
                             .a_stride = inputs_,
                             .b_stride = rows_,
                             .c_stride = rows_,
                             .depth = from.count,
                             .m = to.count,
                             .n = rows_,
                             .alpha = 1});
  }

  void StartGroup(int64_t g) {
    const float* w = At(w_, g);
    for (int64_t r = 0; r < rows_; ++r) {
      Range range{w[r], w[r]};
      for (int64_t k = 1; k < group_; ++k) {
        range.low = std::min(range.low, w[k * rows_ + r]);
        range.high = std::max(range.high, w[k * rows_ + r]);
      }
      whole_[g * rows_ + r] = now_[g * rows_ + r] = range;
      grids_[g].Set(r, FitGrid(format_, range.low, range.high));
    }
    for (int64_t k = 0; k < group_; ++k) grids_[g].Round(w + k * rows_, code_.data(), At(d_, g) + k * rows_);
  }

  // error[r] = Σ_k d[k][r] · (own[k][r] + others[k][r])
  void SumErrors(const float* d, float* error) {
    std::fill(error, error + rows_, 0.0f);
    for (int64_t k = 0; k < group_; ++k) {
      for (int64_t r = 0; r < rows_; ++r) {
        const int64_t i = k * rows_ + r;
        error[r] += d[i] * (own_[i] + others_[i]);
      }
    }
  }

  void TryRanges(int64_t g, const Range* start, int line, int index) {
    std::vector<Range> tried(static_cast<size_t>(rows_));
    for (int64_t r = 0; r < rows_; ++r) {
      tried[r] = TryRange(format_, whole_[g * rows_ + r], start[r], line, index);
      trial_.Set(r, FitGrid(format_, tried[r].low, tried[r].high));
    }
    const float* w = At(w_, g);
    for (int64_t k = 0; k < group_; ++k) trial_.Round(w + k * rows_, code_.data(), &trial_d_[k * rows_]);
    std::fill(own_.begin(), own_.end(), 0.0f);
    AddGram(Of(g), Of(g), trial_d_.data(), own_.data());
    SumErrors(trial_d_.data(), trial_error_.data());
    for (int64_t r = 0; r < rows_; ++r) {
      if (!(trial_error_[r] < error_[r])) continue;
      error_[r] = trial_error_[r];
      now_[g * rows_ + r] = tried[r];
      grids_[g].Set(r, trial_.Get(r));
      for (int64_t k = 0; k < group_; ++k) At(d_, g)[k * rows_ + r] = trial_d_[k * rows_ + r];
    }
  }

  const ops::Host& alone_;
  const InputStats& stats_;
  const Format& format_;
  const int64_t rows_, inputs_, group_;
  std::vector<float> w_, d_, product_;         // [inputs, rows]: weights, their errors, G · D
  std::vector<Range> whole_, now_;             // [groups, rows]
  std::vector<GridLanes> grids_;               // [groups]
  GridLanes trial_;                            // of what is tried
  std::vector<float> code_;                    // [rows]
  std::vector<float> error_, trial_error_;     // [rows]
  std::vector<float> trial_d_, others_, own_;  // [group, rows]: others is 2 · what G · d gets from other groups
};

constexpr int kSweeps = 2;  // the second gains a tenth of what the first does, a third nearly nothing

}  // namespace

void RoundClipped(const ops::Host& host, const LinearWeight& linear, const InputStats& stats, const Format& format,
                  WeightRows* out) {
  out->format = format;
  out->rows = linear.rows;
  out->cols = stats.channels;
  SizeToFormat(out);
  ForBlocks(host, linear.rows, [&](const RowBlock& block) {
    ClipSearch search(block, linear, stats, format);
    const int64_t groups = search.Groups();
    for (int64_t i = 0; i < kSweeps * groups; ++i) search.ImproveGroup(i % groups);
    for (int64_t r = 0; r < block.count; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const Grid grid = search.GridOf(r, g);
        const int64_t at = (block.begin + r) * groups + g;
        out->scale[at] = grid.scale;
        if (!out->zero.empty()) out->zero[at] = grid.zero;
      }
    }
  });
  RoundToGrids(linear.w, out);
}

}  // namespace ingot::quant
