// With H = U · D · Uᵀ, U upper triangular with a diagonal of ones, and E = W - Ŵ, the error of the outputs is
//   tr(E · H · Eᵀ) = Σ_k D_k · |W_k - Ŵ_k + Σ_{i<k} E_i · U_ik|²      (X_k: column k)
// so column k is best rounded from the target T_k = W_k + Σ_{i<k} E_i · U_ik. That is GPTQ, written without the inverse
// of H: Chee et al., "QuIP: 2-Bit Quantization of Large Language Models With Guarantees", 2023, theorem 6.
#include "quant/gptq.h"

#include <numeric>

#include "base/check.h"
#include "quant/cholesky.h"
#include "quant/range.h"
#include "quant/row_blocks.h"

namespace ingot::quant {
namespace {

constexpr int64_t kBlock = 128;  // columns between updates of all targets; whole groups

// U and D of the damped Gram matrix, inputs in the order in which they are quantized.
struct Factors {
  std::vector<float> u;  // [channels, channels], its upper triangle above the diagonal
  std::vector<float> d;  // [channels]
};

Result<Factors> Factor(const ops::Host& host, const InputStats& stats, const InputOrder& order, float damping) {
  const int64_t n = stats.channels;
  double mean = 0;
  for (int64_t c = 0; c < n; ++c) mean += double{stats.gram[c * n + c]} / static_cast<double>(n);
  Factors factors{.u = std::vector<float>(stats.gram.size()), .d = std::vector<float>(static_cast<size_t>(n))};
  for (const float more : {1.0f, 10.0f, 100.0f, 1000.0f}) {
    float* u = factors.u.data();
    for (int64_t i = 0; i < n; ++i) {
      const float* row = &stats.gram[order[i] * n];
      for (int64_t j = 0; j < i; ++j) u[i * n + j] = row[order[j]];
      const float own = row[order[i]];
      u[i * n + i] = mean > 0 ? own + damping * more * (own + 0.01f * static_cast<float>(mean)) : 1;
    }
    if (!FactorFromTheEnd(host, n, u)) continue;
    ops::MirrorLower(host, u, n);
    std::vector<float> inverse(static_cast<size_t>(n));
    for (int64_t k = 0; k < n; ++k) {
      factors.d[k] = u[k * n + k] * u[k * n + k];
      inverse[k] = 1 / u[k * n + k];
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = i + 1; k < n; ++k) u[i * n + k] *= inverse[k];
    }
    return factors;
  }
  return InvalidArgument(
      "the inputs of a layer are too similar to be distinguished: calibrate with more tokens than {}", stats.tokens);
}

InputOrder Identity(int64_t channels) {
  InputOrder order(static_cast<size_t>(channels));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

InputOrder LargestFirst(const InputStats& stats) {
  InputOrder order = Identity(stats.channels);
  const auto size = [&](int32_t c) { return stats.gram[static_cast<int64_t>(c) * (stats.channels + 1)]; };
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return size(a) > size(b) || (size(a) == size(b) && a < b);  // the same order whatever sort does with ties
  });
  return order;
}

// The problem, the same for all rows.
struct Problem {
  const LinearWeight& linear;
  const Format& format;
  const Factors& factors;
  const InputOrder& order;  // input order[k] is quantized as the k-th
  const WeightRows* grids;  // of groups of inputs; null: of groups of `order`
  int64_t channels, group;
};

// Quantizes some rows.
class Rows {
 public:
  Rows(const RowBlock& block, const Problem& problem, WeightRows* out)
      : block_(block),
        p_(problem),
        out_(*out),
        rows_(block.count),
        groups_(p_.channels / p_.group),
        w_(rows_ * p_.channels),
        target_(w_.size()),
        error_(rows_ * kBlock),
        lanes_(static_cast<size_t>(groups_), GridLanes(p_.format, rows_)),
        code_(rows_),
        rounding_(rows_) {
    std::vector<float> w(w_.size());
    for (int64_t r = 0; r < rows_; ++r) {
      const float* from = p_.linear.w + (block.begin + r) * p_.channels;
      for (int64_t k = 0; k < p_.channels; ++k) w[r * p_.channels + k] = from[p_.order[k]];
    }
    Transpose(w.data(), rows_, p_.channels, w_.data());
    target_ = w_;
    if (p_.grids != nullptr) KeepGrids();
  }

  void Run() {
    for (int64_t begin = 0; begin < p_.channels; begin += kBlock) {
      const int64_t end = std::min(p_.channels, begin + kBlock);
      for (int64_t k = begin; k < end; ++k) {
        if (p_.grids == nullptr && k % p_.group == 0) SearchGrid(k / p_.group);
        RoundColumn(k, &error_[(k - begin) * rows_]);
        FeedBack(k, end, &error_[(k - begin) * rows_]);
      }
      ops::AddProduct(block_.alone, {.a = p_.factors.u.data() + begin * p_.channels + end,
                                     .b = error_.data(),
                                     .c = target_.data() + end * rows_,
                                     .a_stride = p_.channels,
                                     .b_stride = rows_,
                                     .c_stride = rows_,
                                     .depth = end - begin,
                                     .m = p_.channels - end,
                                     .n = rows_,
                                     .alpha = 1});
    }
    if (p_.grids == nullptr) WriteGrids();
  }

 private:
  // Where the k-th column goes, and whose grid it is on.
  int64_t ColumnOf(int64_t k) const { return p_.grids != nullptr ? p_.order[k] : k; }

  void KeepGrids() {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t g = 0; g < groups_; ++g) {
        const size_t at = static_cast<size_t>((block_.begin + r) * groups_ + g);
        const auto midpoint = static_cast<float>(1 << (p_.format.bits - 1));
        lanes_[g].Set(r, {p_.grids->scale[at], p_.grids->zero.empty() ? midpoint : p_.grids->zero[at]});
      }
    }
  }

  void WriteGrids() {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t g = 0; g < groups_; ++g) {
        const size_t at = static_cast<size_t>((block_.begin + r) * groups_ + g);
        const Grid grid = lanes_[g].Get(r);
        out_.scale[at] = grid.scale;
        if (!out_.zero.empty()) out_.zero[at] = grid.zero;
      }
    }
  }

  void RoundColumn(int64_t k, float* error) {
    const int64_t column = ColumnOf(k);
    const float *w = &w_[k * rows_], *target = &target_[k * rows_];
    lanes_[column / p_.group].Round(target, code_.data(), rounding_.data());
    for (int64_t r = 0; r < rows_; ++r) {
      out_.codes[(block_.begin + r) * p_.channels + column] = static_cast<uint8_t>(code_[r]);
      error[r] = w[r] - (target[r] + rounding_[r]);
    }
  }

  // To the targets of the columns up to `end`.
  void FeedBack(int64_t k, int64_t end, const float* error) {
    const float* u = &p_.factors.u[k * p_.channels];
    for (int64_t j = k + 1; j < end; ++j) {
      float* target = &target_[j * rows_];
      for (int64_t r = 0; r < rows_; ++r) target[r] += u[j] * error[r];
    }
  }

  // The range of the group's grid that makes Σ D_k · (T_k - T̂_k)² smallest, for the targets of now.
  void SearchGrid(int64_t g) {
    std::vector<Range> whole = Ranges(g), now = whole;
    std::vector<float> least(static_cast<size_t>(rows_)), error(least.size());
    for (int64_t r = 0; r < rows_; ++r) lanes_[g].Set(r, FitGrid(p_.format, whole[r].low, whole[r].high));
    SumErrors(g, lanes_[g], least.data());
    GridLanes trial = lanes_[g];
    for (int line = 0; line < 2; ++line) {
      const std::vector<Range> start = now;
      for (int index = 0; index < kTries; ++index) {
        std::vector<Range> tried(start.size());
        for (int64_t r = 0; r < rows_; ++r) {
          tried[r] = TryRange(p_.format, whole[r], start[r], line, index);
          trial.Set(r, FitGrid(p_.format, tried[r].low, tried[r].high));
        }
        SumErrors(g, trial, error.data());
        for (int64_t r = 0; r < rows_; ++r) {
          if (!(error[r] < least[r])) continue;
          least[r] = error[r];
          now[r] = tried[r];
          lanes_[g].Set(r, trial.Get(r));
        }
      }
    }
  }

  std::vector<Range> Ranges(int64_t g) const {
    std::vector<Range> ranges(static_cast<size_t>(rows_), {INFINITY, -INFINITY});
    for (int64_t k = g * p_.group; k < (g + 1) * p_.group; ++k) {
      for (int64_t r = 0; r < rows_; ++r) {
        ranges[r].low = std::min(ranges[r].low, target_[k * rows_ + r]);
        ranges[r].high = std::max(ranges[r].high, target_[k * rows_ + r]);
      }
    }
    return ranges;
  }

  void SumErrors(int64_t g, const GridLanes& grids, float* sum) {
    std::fill(sum, sum + rows_, 0.0f);
    for (int64_t k = g * p_.group; k < (g + 1) * p_.group; ++k) {
      grids.Round(&target_[k * rows_], code_.data(), rounding_.data());
      for (int64_t r = 0; r < rows_; ++r) sum[r] += p_.factors.d[k] * rounding_[r] * rounding_[r];
    }
  }

  const RowBlock& block_;
  const Problem& p_;
  WeightRows& out_;
  const int64_t rows_, groups_;
  std::vector<float> w_, target_;       // [channels, rows], in the order of quantization
  std::vector<float> error_;            // [kBlock, rows]: W - Ŵ of the block's columns
  std::vector<GridLanes> lanes_;        // [groups]
  std::vector<float> code_, rounding_;  // [rows]
};

}  // namespace

Result<GptqWeight> Gptq(const ops::Host& host, const LinearWeight& linear, const InputStats& stats,
                        const Format& format, const GptqOptions& options) {
  const int64_t channels = stats.channels, group = format.group_size == 0 ? channels : format.group_size;
  const InputOrder order = options.act_order ? LargestFirst(stats) : Identity(channels);
  INGOT_ASSIGN_OR_RETURN(const Factors factors, Factor(host, stats, order, options.damping));
  GptqWeight result{.rows = {.format = format, .rows = linear.rows, .cols = channels}};
  SizeToFormat(&result.rows);
  if (options.grids != nullptr) {
    result.rows.scale = options.grids->scale;
    result.rows.zero = options.grids->zero;
  } else if (options.act_order) {
    result.order = order;
  }
  const Problem problem{linear, format, factors, order, options.grids, channels, group};
  ForBlocks(host, linear.rows, [&](const RowBlock& block) { Rows(block, problem, &result.rows).Run(); });
  return result;
}

}  // namespace ingot::quant
