// Draws a token from each row of logits, with the same result as sampling/sampler.h, to the bit: kernels/sampling.h has
// what both share.
#pragma once

#include "kernels/cuda/arch.h"
#include "kernels/cuda/params.h"

namespace ingot::kernels::cuda {

inline constexpr int kDrawWarps = kDrawThreads / kWarpSize;

// A logit and its id, such that ascending numbers are descending logits, ties by ascending ids.
INGOT_DEVICE uint64_t OrderOf(float logit, int32_t id) {
  const auto bits = Bits<uint32_t>(logit + 0.0f);  // no -0
  const uint32_t ascending = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return static_cast<uint64_t>(~ascending) << 32 | static_cast<uint32_t>(id);
}
INGOT_DEVICE int32_t IdOf(uint64_t order) { return static_cast<int32_t>(order & 0xffffffffU); }

struct Walked {
  double sum;
  int32_t count, last;
  int64_t done;  // as wide as the others: no bytes without a meaning
};

// What the threads of a block share.
struct DrawShared {
  uint64_t* window;  // [kDrawWindow] candidates in order
  double* weights;   // [kSumBlock]
  double* sums;      // [kMaxSumBlocks] of the blocks of the row
  uint32_t* counts;  // [kDigits]
  uint64_t* orders;  // [kDrawWarps]
  double* number;    // [1]
  uint32_t* words;   // [2]
  Walked* walked;    // [1]

  INGOT_DEVICE explicit DrawShared(SharedMemory* shared INGOT_HERE)
      : window(shared->Take<uint64_t>(kDrawWindow, 16 INGOT_PASS_HERE)),
        weights(shared->Take<double>(kSumBlock, 16 INGOT_PASS_HERE)),
        sums(shared->Take<double>(kMaxSumBlocks, 16 INGOT_PASS_HERE)),
        counts(shared->Take<uint32_t>(kDigits, 16 INGOT_PASS_HERE)),
        orders(shared->Take<uint64_t>(kDrawWarps, 16 INGOT_PASS_HERE)),
        number(shared->Take<double>(2, 16 INGOT_PASS_HERE)),
        words(shared->Take<uint32_t>(4, 16 INGOT_PASS_HERE)),
        walked(shared->Take<Walked>(1, 16 INGOT_PASS_HERE)) {}
};

// A row of logits and the block's threads. Members are called by all threads; results are the same in all of them.
class RowSampler {
 public:
  INGOT_DEVICE RowSampler(float* logits, int32_t size, SharedMemory* memory)
      : logits_(logits), size_(size), shared_(memory) {}

  // The first in order: the largest logit, ties by the lowest id.   REQUIRES: no NaN
  INGOT_DEVICE uint64_t First() const {
    uint64_t first = ~uint64_t{0};
    for (int32_t i = Thread(); i < size_; i += kDrawThreads) first = Minimum(first, OrderOf(logits_[i], i));
    INGOT_UNROLL
    for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) first = Minimum(first, ShuffleXor(first, lanes));
    if (Lane() == 0) shared_.orders[Warp()] = first;
    SyncThreads();
    for (int warp = 0; warp < kDrawWarps; ++warp) first = Minimum(first, shared_.orders[warp]);
    SyncThreads();
    return first;
  }
  // Whether a NaN or +inf is there.
  INGOT_DEVICE bool HasInvalid() const {
    bool invalid = false;
    for (int32_t i = Thread(); i < size_; i += kDrawThreads) invalid = invalid || !(logits_[i] < kInfinity);
    const uint32_t lanes = Ballot(invalid);
    if (Lane() == 0) shared_.counts[Warp()] = lanes;
    SyncThreads();
    uint32_t any = 0;
    for (int warp = 0; warp < kDrawWarps; ++warp) any |= shared_.counts[warp];
    SyncThreads();
    return any != 0;
  }

  // Of all weights; those of blocks stay in shared memory.
  INGOT_DEVICE double SumBlocks(const TokenWeights& weights) const {
    for (int32_t block = Warp(); block < NumBlocks(); block += kDrawWarps) {
      double sum = 0;
      const int32_t end = Minimum((block + 1) * kSumBlock, size_);
      for (int32_t i = block * kSumBlock + Lane(); i < end; i += kSumLanes) sum += weights(logits_[i]);
      INGOT_UNROLL
      for (int lanes = kSumLanes / 2; lanes > 0; lanes /= 2) sum += ShuffleXor(sum, lanes);
      if (Lane() == 0) shared_.sums[block] = sum;
    }
    SyncThreads();
    if (Thread() == 0) {
      double total = 0;
      for (int32_t block = 0; block < NumBlocks(); ++block) total += shared_.sums[block];
      *shared_.number = total;
    }
    return FromShared(shared_.number);
  }

  // Inverse distribution function over the whole row, in the order of ids.
  INGOT_DEVICE int32_t DrawFromAll(const TokenWeights& weights, double uniform) const {
    const double target = uniform * SumBlocks(weights);
    if (Thread() == 0) ChooseBlock(target);
    const auto begin = static_cast<int32_t>(FromShared(shared_.words)) * kSumBlock;
    const int32_t count = Minimum(kSumBlock, size_ - begin);
    for (int32_t i = Thread(); i < count; i += kDrawThreads) shared_.weights[i] = weights(logits_[begin + i]);
    SyncThreads();
    if (Thread() == 0) {
      double before = *shared_.number;
      int32_t last = 0;
      for (int32_t i = 0; i < count; ++i) {
        if (shared_.weights[i] == 0.0) continue;
        last = begin + i;
        before += shared_.weights[i];
        if (before > target) break;
      }
      shared_.words[0] = static_cast<uint32_t>(last);
    }
    return static_cast<int32_t>(FromShared(shared_.words));
  }

  INGOT_DEVICE void TellTop(int32_t count, DrawnLogit* top) {
    Load(0, count);
    if (Thread() < count) {
      const int32_t id = IdOf(shared_.window[Thread()]);
      top[Thread()] = {id, logits_[id]};
    }
    SyncThreads();
    loaded_begin_ = -1;  // logits may change
  }

  // From what top_k and top_p keep, sorted.
  INGOT_DEVICE int32_t DrawFromTop(const DrawRow& draw, double max, double uniform) {
    const TokenWeights all{max, draw.temperature, 0.0}, kept{max, draw.temperature, draw.min_p};
    const bool has_top_k = draw.top_k > 0 && draw.top_k < size_;
    limit_ = has_top_k ? static_cast<int32_t>(draw.top_k) : size_;
    int32_t count = limit_;
    if (draw.top_p < 1.0) {
      const double mass = has_top_k ? Walk({all, limit_, kInfinity, false}).sum : SumBlocks(all);
      count = Walk({all, limit_, draw.top_p * mass, false}).count;
    }
    const double target = uniform * Walk({kept, count, kInfinity, false}).sum;
    return Walk({kept, count, target, true}).last;
  }

  // What logits[id] was before the edits.
  INGOT_DEVICE float RawLogit(const DrawRow& draw, const LogitEdit* edits, int32_t id) const {
    if (Thread() == 0) *shared_.number = static_cast<double>(logits_[id]);
    SyncThreads();
    for (int32_t i = draw.end_of_bias + Thread(); i < draw.end_of_seen; i += kDrawThreads) {
      if (edits[i].id == id) *shared_.number = static_cast<double>(edits[i].raw);
    }
    SyncThreads();
    for (int32_t i = draw.begin + Thread(); i < draw.end_of_bias; i += kDrawThreads) {
      if (edits[i].id == id) *shared_.number = static_cast<double>(edits[i].raw);
    }
    return static_cast<float>(FromShared(shared_.number));
  }

 private:
  INGOT_DEVICE static int32_t Thread() { return static_cast<int32_t>(ThreadIndex().x); }
  INGOT_DEVICE int32_t NumBlocks() const { return (size_ + kSumBlock - 1) / kSumBlock; }
  // What one thread has written.
  template <typename T>
  INGOT_DEVICE static T FromShared(const T* value) {
    SyncThreads();
    const T copy = *value;
    SyncThreads();
    return copy;
  }

  // Thread 0: the block in which the sum exceeds the target, and the sum before it. What rounding leaves over falls to
  // the last block that has a weight.
  INGOT_DEVICE void ChooseBlock(double target) const {
    double before = 0, before_chosen = 0;
    int32_t chosen = 0;
    for (int32_t block = 0; block < NumBlocks(); before += shared_.sums[block++]) {
      if (shared_.sums[block] == 0.0) continue;
      chosen = block;
      before_chosen = before;
      if (before + shared_.sums[block] > target) break;
    }
    shared_.words[0] = static_cast<uint32_t>(chosen);
    *shared_.number = before_chosen;
  }

  // Along the first `count` candidates, adding up weights until the sum reaches `until`, or (strictly) exceeds it,
  // where those without a weight do not count.
  struct Path {
    TokenWeights weights;
    int32_t count;
    double until;
    bool strictly;
  };
  INGOT_DEVICE Walked Walk(const Path& path) {
    if (Thread() == 0) *shared_.walked = {0, 0, 0, 0};
    for (int32_t begin = 0; begin < path.count; begin += kDrawWindow) {
      Load(begin, Minimum(kDrawWindow, limit_ - begin));
      const int32_t count = Minimum(kDrawWindow, path.count - begin);
      for (int32_t i = Thread(); i < count; i += kDrawThreads) {
        shared_.weights[i] = path.weights(logits_[IdOf(shared_.window[i])]);
      }
      SyncThreads();
      if (Thread() == 0) WalkWindow(path, count);
      if (FromShared(shared_.walked).done != 0) break;
    }
    return FromShared(shared_.walked);
  }
  INGOT_DEVICE void WalkWindow(const Path& path, int32_t count) const {
    Walked walked = *shared_.walked;
    for (int32_t i = 0; i < count && walked.done == 0; ++i) {
      const double weight = shared_.weights[i];
      ++walked.count;
      if (path.strictly && weight == 0.0) continue;
      walked.sum += weight;
      walked.last = IdOf(shared_.window[i]);
      walked.done = (path.strictly ? walked.sum > path.until : walked.sum >= path.until) ? 1 : 0;
    }
    *shared_.walked = walked;
  }

  // Candidates [begin, begin + count) in order, into the window. REQUIRES: begin is 0, or that of the window before
  // this one, which is whole, + kDrawWindow; count <= kDrawWindow, and there are that many
  INGOT_DEVICE void Load(int32_t begin, int32_t count) {
    if (begin == loaded_begin_ && count <= loaded_count_) return;
    const bool has_floor = begin > 0;
    const uint64_t floor = has_floor ? shared_.window[kDrawWindow - 1] : 0;
    SyncThreads();
    const uint64_t last = Select(has_floor, floor, static_cast<uint32_t>(count));
    if (Thread() == 0) shared_.words[0] = 0;
    shared_.window[Thread()] = ~uint64_t{0};
    SyncThreads();
    for (int32_t i = Thread(); i < size_; i += kDrawThreads) {
      const uint64_t order = OrderOf(logits_[i], i);
      if (order > last || (has_floor && order <= floor)) continue;
      shared_.window[AtomicAdd(&shared_.words[0], 1U)] = order;
    }
    SyncThreads();
    SortWindow(count);
    loaded_begin_ = begin;
    loaded_count_ = count;
  }

  // The count-th order after `floor`, or one between it and the next: digit by digit, by how many have it.
  INGOT_DEVICE uint64_t Select(bool has_floor, uint64_t floor, uint32_t count) const {
    uint64_t prefix = 0, mask = 0;  // the digits that are known
    for (int shift = 64 - kDigitBits; shift >= 0; shift -= kDigitBits) {
      if (Thread() < kDigits) shared_.counts[Thread()] = 0;
      SyncThreads();
      for (int32_t i = Thread(); i < size_; i += kDrawThreads) {
        const uint64_t order = OrderOf(logits_[i], i);
        if ((order & mask) != prefix || (has_floor && order <= floor)) continue;
        AtomicAdd(&shared_.counts[order >> shift & (kDigits - 1)], 1U);
      }
      SyncThreads();
      if (Thread() == 0) {
        uint32_t digit = 0;
        for (; shared_.counts[digit] < count; ++digit) count -= shared_.counts[digit];
        shared_.words[0] = digit;
        shared_.words[1] = count;
      }
      SyncThreads();
      const uint32_t digit = shared_.words[0];
      count = shared_.words[1];
      const bool is_last = shared_.counts[digit] == count;  // all that have this digit are among them
      SyncThreads();
      prefix |= static_cast<uint64_t>(digit) << shift;
      mask |= static_cast<uint64_t>(kDigits - 1) << shift;
      if (is_last) break;
    }
    return prefix | ~mask;
  }

  // Bitonic (Batcher 1968), a thread a candidate.
  INGOT_DEVICE void SortWindow(int32_t count) const {
    for (int32_t size = 2; size / 2 < count; size *= 2) {
      for (int32_t distance = size / 2; distance > 0; distance /= 2) {
        const int32_t a = Thread(), b = a ^ distance;
        if (b > a) {
          const uint64_t x = shared_.window[a], y = shared_.window[b];
          if ((x > y) == ((a & size) == 0)) {
            shared_.window[a] = y;
            shared_.window[b] = x;
          }
        }
        SyncThreads();
      }
    }
  }

  float* const logits_;
  const int32_t size_;
  const DrawShared shared_;
  int32_t limit_ = 0;                             // candidates that a draw may look at
  int32_t loaded_begin_ = -1, loaded_count_ = 0;  // what is in the window
};

// Biases, penalties, masks. Whether there were any.
INGOT_DEVICE bool EditLogits(const DrawRow& draw, LogitEdit* edits, float* logits) {
  const auto thread = static_cast<int32_t>(ThreadIndex().x);
  for (int32_t i = draw.begin + thread; i < draw.end_of_bias; i += kDrawThreads) {
    edits[i].raw = logits[edits[i].id];
    logits[edits[i].id] += edits[i].bias;
  }
  SyncThreads();
  for (int32_t i = draw.end_of_bias + thread; i < draw.end_of_seen; i += kDrawThreads) {
    edits[i].raw = logits[edits[i].id];
    logits[edits[i].id] = draw.penalties(edits[i].raw, edits[i].count);
  }
  SyncThreads();
  for (int32_t i = draw.end_of_seen + thread; i < draw.end_of_masked; i += kDrawThreads) {
    logits[edits[i].id] = -kInfinity;
  }
  SyncThreads();
  return draw.end_of_masked > draw.begin;
}

// The token, of logits that are edited and whose first in order this is.
INGOT_DEVICE int32_t ChooseToken(const DrawRow& draw, const DrawParams& p, uint64_t first, RowSampler* sampler) {
  if (draw.temperature == 0.0) return IdOf(first);
  const double max = static_cast<double>(p.logits[draw.row * p.vocab_size + IdOf(first)]);
  const double uniform = UniformAt(draw.seed, draw.position);
  const bool keeps_all = (draw.top_k <= 0 || draw.top_k >= p.vocab_size) && draw.top_p >= 1.0;
  return keeps_all ? sampler->DrawFromAll({max, draw.temperature, draw.min_p}, uniform)
                   : sampler->DrawFromTop(draw, max, uniform);
}

// grid: (rows), threads: kDrawThreads, shared memory: kDrawSharedBytes
INGOT_DEVICE void DrawTokens(const DrawParams& p) {
  SharedMemory memory;
  const DrawRow draw = p.rows[BlockIndex().x];
  if (draw.row < 0) return;
  float* const logits = p.logits + draw.row * p.vocab_size;
  RowSampler sampler(logits, static_cast<int32_t>(p.vocab_size), &memory);
  DrawResult* const result = p.results + BlockIndex().x;
  const bool is_writer = ThreadIndex().x == 0;
  if (sampler.HasInvalid()) {
    if (is_writer) result->outcome = DrawOutcome::kNotANumber;
    return;
  }
  uint64_t first = sampler.First();
  const float max = logits[IdOf(first)];
  if (is_writer) result->outcome = max == -kInfinity ? DrawOutcome::kNoToken : DrawOutcome::kOk;
  if (max == -kInfinity) return;

  const bool is_told = draw.told >= 0, wants_sum = is_told || draw.num_top >= 0;
  const int32_t num_top = Minimum(Maximum(draw.num_top, 0), static_cast<int32_t>(p.vocab_size));
  const double sum = wants_sum ? sampler.SumBlocks({static_cast<double>(max), 1.0, 0.0}) : 0.0;
  if (num_top > 0) sampler.TellTop(num_top, result->top);
  int32_t id = draw.told;
  if (!is_told) {
    if (EditLogits(draw, p.edits, logits)) first = sampler.First();
    if (logits[IdOf(first)] == -kInfinity) {
      if (is_writer) result->outcome = DrawOutcome::kNoToken;
      return;
    }
    id = ChooseToken(draw, p, first, &sampler);
  }
  const float raw = wants_sum ? sampler.RawLogit(draw, p.edits, id) : 0.0f;
  if (!is_writer) return;
  result->id = id;
  result->raw = raw;
  result->max = max;
  result->sum = sum;
  result->num_top = num_top;
  if (draw.slot >= 0) p.drawn_tokens[draw.slot] = id;
}

}  // namespace ingot::kernels::cuda
