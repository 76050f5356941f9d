// Drawing a token from a row of logits, as far as the host (sampling/) and a device must do it alike, to the bit: the
// generator, exponentials, and the order of sums.
//
// Sums over a row are made of blocks of kSumBlock numbers. In a block lane l of kSumLanes adds up numbers l, l +
// kSumLanes, … in order; then lane l adds that of lane l + 16, of those that are left l + 8, and so on. Sums of blocks
// are added up in order. Sums over sorted candidates are made one by one.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define INGOT_EVERYWHERE __host__ __device__ __forceinline__
#else
#include <bit>
// Never a function of its own: the emulator's kernels are compiled with other flags.
#define INGOT_EVERYWHERE inline __attribute__((always_inline))
#endif

namespace ingot::kernels {

inline constexpr int kSumBlock = 512, kSumLanes = 32;
inline constexpr int kMaxTopLogprobs = 20;

struct Philox4 {
  uint32_t word[4];
};
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
INGOT_EVERYWHERE Philox4 Philox4x32(Philox4 counter, uint32_t key0, uint32_t key1) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;  // golden ratio, sqrt(3) - 1
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kMultiplier0 * counter.word[0], p1 = kMultiplier1 * counter.word[2];
    counter = {{static_cast<uint32_t>(p1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(p1),
                static_cast<uint32_t>(p0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(p0)}};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

// In [0, 1), 53 bits: the number at `position` of the sequence that `seed` names.
INGOT_EVERYWHERE double UniformAt(uint64_t seed, uint64_t position) {
  const Philox4 words = Philox4x32({{static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0}},
                                   static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  const uint64_t bits = (static_cast<uint64_t>(words.word[0]) << 32 | words.word[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

// e^x for x <= 0, within 2 ulps; 0 below -708, where it is less than any probability that matters. Products and sums
// are rounded one by one, so that all compilers and devices agree.
INGOT_EVERYWHERE double ExpOfNonPositive(double x) {
  if (!(x >= -708.0)) return 0.0;
  constexpr double kLog2E = 0x1.71547652b82fep+0, kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
  constexpr double kRound = 0x1.8p52;  // a sum with it has no fraction
  const double n = (x * kLog2E + kRound) - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= ln 2 / 2; the first product is exact
  // Taylor: what is left out is less than r^14 / 14! < 5e-18.
  double sum = 1.0 / 6227020800.0;
  sum = sum * r + 1.0 / 479001600.0;
  sum = sum * r + 1.0 / 39916800.0;
  sum = sum * r + 1.0 / 3628800.0;
  sum = sum * r + 1.0 / 362880.0;
  sum = sum * r + 1.0 / 40320.0;
  sum = sum * r + 1.0 / 5040.0;
  sum = sum * r + 1.0 / 720.0;
  sum = sum * r + 1.0 / 120.0;
  sum = sum * r + 1.0 / 24.0;
  sum = sum * r + 1.0 / 6.0;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  const uint64_t scale = static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52;  // 2^n
#ifdef __CUDACC__
  double power;
  memcpy(&power, &scale, sizeof(power));
  return sum * power;
#else
  return sum * std::bit_cast<double>(scale);
#endif
}

// Unnormalized probabilities: 1 for the most likely token, 0 below min_p.
struct TokenWeights {
  double max, temperature, min_p;
  INGOT_EVERYWHERE double operator()(float logit) const {
    const double weight = ExpOfNonPositive((static_cast<double>(logit) - max) / temperature);
    return weight < min_p ? 0.0 : weight;
  }
};

// The penalties on a token that a sequence has seen: repetition first (a logit below 0 is multiplied, else divided),
// then frequency · count and presence.
struct Penalties {
  double repetition, presence, frequency;
  // count: in the answer; 0: the token is in the prompt alone.
  INGOT_EVERYWHERE float operator()(float logit, int32_t count) const {
    double value = logit;
    value = value < 0.0 ? value * repetition : value / repetition;
    value -= frequency * count;
    if (count > 0) value -= presence;
    return static_cast<float>(value);
  }
};

// A change of a logit.
struct LogitEdit {
  int32_t id;
  int32_t count;  // of a token that was seen
  float bias;     // of a bias
  float raw;      // what the logit was before; the device writes it
};

enum class DrawOutcome : int32_t {
  kOk,
  kNotANumber,  // a logit is NaN or +inf
  kNoToken      // every logit is -inf, or masked
};

// What to do with a row of logits: a token is drawn, or told of.
struct DrawRow {
  int32_t row = -1;      // of the logits; -1: none
  int32_t slot = -1;     // whose drawn token it becomes, or -1
  int32_t told = -1;     // the token to tell the logit of, or -1: one is drawn
  int32_t num_top = -1;  // the largest logits that are wanted, before edits; -1: nor the sum of all
  // Edits [begin, end_of_bias) are biases, those up to end_of_seen penalties, those up to end_of_masked masks. In each
  // of the first two every id is there once.
  int32_t begin = 0, end_of_bias = 0, end_of_seen = 0, end_of_masked = 0;
  uint64_t seed = 0, position = 0;  // of the draw
  int64_t top_k = 0;                // 0 or less: all
  double temperature = 0.0;         // 0: greedy
  double top_p = 1.0, min_p = 0.0;
  Penalties penalties{1.0, 0.0, 0.0};
};

struct DrawnLogit {
  int32_t id;
  float logit;
};
struct DrawResult {
  DrawOutcome outcome;
  int32_t id;
  float raw;   // its logit before edits
  float max;   // the largest of all, before edits
  double sum;  // Σ exp(logit - max), before edits; where num_top >= 0 or a token is told of
  int32_t num_top;
  int32_t padding;
  DrawnLogit top[kMaxTopLogprobs];  // [num_top], descending
};

}  // namespace ingot::kernels
