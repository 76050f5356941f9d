#include "sampling/select.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace ingot::sampling {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Independent maxima, so that the loop is not one chain of dependent compares.
constexpr size_t kMaxLanes = 16;

}  // namespace

RowMax FindMax(std::span<const float> logits) {
  std::array<float, kMaxLanes> max;
  max.fill(-kInfinity);
  std::array<uint32_t, kMaxLanes> invalid{};
  const size_t whole = logits.size() / kMaxLanes * kMaxLanes;
  for (size_t i = 0; i < whole; i += kMaxLanes) {
    for (size_t lane = 0; lane < kMaxLanes; ++lane) {
      const float x = logits[i + lane];
      max[lane] = x > max[lane] ? x : max[lane];
      invalid[lane] |= x < kInfinity ? 0u : 1u;
    }
  }
  RowMax result{-kInfinity, false};
  for (size_t i = whole; i < logits.size(); ++i) {
    result.value = std::max(result.value, logits[i]);
    result.invalid |= !(logits[i] < kInfinity);
  }
  for (size_t lane = 0; lane < kMaxLanes; ++lane) {
    result.value = std::max(result.value, max[lane]);
    result.invalid |= invalid[lane] != 0;
  }
  return result;
}

int32_t FindFirst(std::span<const float> logits, float value) {
  const auto it = std::find(logits.begin(), logits.end(), value);
  INGOT_CHECK(it != logits.end());
  return static_cast<int32_t>(it - logits.begin());
}

void SelectTop(std::span<const float> logits, int64_t k, std::vector<Candidate>* out) {
  INGOT_CHECK(k >= 1);
  const size_t size = logits.size();
  const size_t wanted = std::min(static_cast<size_t>(k), size);
  // The buffer is cut to the best `wanted` whenever it is full: rarely, as the threshold rises with every cut.
  const size_t room = std::min(size, 2 * wanted + 256);
  out->clear();
  float threshold = -kInfinity;
  bool full = false;
  for (size_t i = 0; i < size; ++i) {
    // An equal logit with a higher id comes after those that are kept.
    if (full && !(logits[i] > threshold)) continue;
    out->push_back({logits[i], static_cast<int32_t>(i)});
    if (out->size() < room || room == size) continue;
    const auto last = out->begin() + static_cast<std::ptrdiff_t>(wanted - 1);
    std::nth_element(out->begin(), last, out->end(), Before);
    threshold = last->logit;
    out->resize(wanted);
    full = true;
  }
  if (out->size() > wanted) {
    std::nth_element(out->begin(), out->begin() + static_cast<std::ptrdiff_t>(wanted - 1), out->end(), Before);
    out->resize(wanted);
  }
  std::sort(out->begin(), out->end(), Before);
}

double SumOfBlock(std::span<const float> logits, const ops::TokenWeights& weights) {
  constexpr size_t kLanes = ops::kSumLanes;
  std::array<double, kLanes> sums{};
  for (size_t i = 0; i < logits.size(); ++i) sums[i % kLanes] += weights(logits[i]);
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

double SumOfExps(std::span<const float> logits, float max) {
  return SumOfBlocks(logits, {.max = max, .temperature = 1.0, .min_p = 0.0}, [](double) {});
}

}  // namespace ingot::sampling
