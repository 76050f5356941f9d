#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace ingot::models {
namespace {

using Kind = RopeSpec::Kind;
constexpr double kTwoPi = 2.0 * std::numbers::pi;

// theta^(-2i / d): Su et al. 2021, "RoFormer".
std::vector<double> Plain(double theta, int rotary_dim) {
  std::vector<double> inv_freq;
  for (int i = 0; i < rotary_dim; i += 2) inv_freq.push_back(std::pow(theta, -static_cast<double>(i) / rotary_dim));
  return inv_freq;
}

// "NTK-aware" interpolation by the context's length: theta grows so that the slowest pair turns as far over the longer
// context as it did over the trained one (bloc97 and emozilla 2023). The exponent d / (d - 2) makes the last pair's
// frequency scale by exactly the growth.
double DynamicTheta(const RopeSpec& rope, int rotary_dim, int64_t max_position, int64_t session_len) {
  const auto trained = static_cast<double>(max_position);
  const double length = std::max(static_cast<double>(session_len), trained);
  const double growth = rope.factor * length / trained - (rope.factor - 1.0);
  if (rotary_dim <= 2) return rope.theta;
  return rope.theta * std::pow(growth, static_cast<double>(rotary_dim) / (rotary_dim - 2));
}

// Llama 3.1 (Meta, models/llama3 reference code): wavelengths beyond original / low_freq_factor are stretched by
// `factor`, those below original / high_freq_factor are left, those between are blended.
void ScaleLlama3(const RopeSpec& rope, std::vector<double>* inv_freq) {
  const auto original = static_cast<double>(rope.original_max_position);
  for (double& frequency : *inv_freq) {
    const double turns = original * frequency / kTwoPi;  // original / wavelength
    if (turns < rope.low_freq_factor) {
      frequency /= rope.factor;
    } else if (turns <= rope.high_freq_factor) {
      const double smooth = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      frequency = (1.0 - smooth) * frequency / rope.factor + smooth * frequency;
    }
  }
}

// YaRN (Peng et al. 2023, section 3.2): pairs that turn more than beta_fast times over the trained context keep their
// frequency, those that turn less than beta_slow times are interpolated, with a linear ramp over the pairs between.
void ScaleYarn(const RopeSpec& rope, int rotary_dim, std::vector<double>* inv_freq) {
  const auto original = static_cast<double>(rope.original_max_position);
  // The pair (as a real number) that turns that many times over the trained context.
  auto pair_of = [&](double turns) {
    return rotary_dim * std::log(original / (turns * kTwoPi)) / (2.0 * std::log(rope.theta));
  };
  double low = pair_of(rope.beta_fast), high = pair_of(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, rotary_dim - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < inv_freq->size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    double& frequency = (*inv_freq)[i];
    frequency = frequency / rope.factor * ramp + frequency * (1.0 - ramp);
  }
}

// YaRN section 3.4, and the two factors that DeepSeek's configurations add.
double YarnAttentionFactor(const RopeSpec& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  auto mscale = [&](double scale) { return rope.factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(rope.factor) + 1.0; };
  if (rope.mscale.value_or(0.0) != 0.0 && rope.mscale_all_dim.value_or(0.0) != 0.0) {
    return mscale(*rope.mscale) / mscale(*rope.mscale_all_dim);
  }
  return mscale(1.0);
}

// LongRoPE (Ding et al. 2024): a searched divisor per pair, one table within the trained context and one beyond.
double LongRopeAttentionFactor(const RopeSpec& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.factor <= 1.0) return 1.0;
  return std::sqrt(1.0 + std::log(rope.factor) / std::log(static_cast<double>(rope.original_max_position)));
}

void Divide(const std::vector<double>& divisors, std::vector<double>* inv_freq) {
  INGOT_CHECK(divisors.size() == inv_freq->size());
  for (size_t i = 0; i < divisors.size(); ++i) (*inv_freq)[i] /= divisors[i];
}

}  // namespace

RopeFrequencies MakeRopeFrequencies(const RopeSpec& rope, int rotary_dim, int64_t max_position, int64_t session_len) {
  if (session_len <= 0) session_len = max_position;
  RopeFrequencies result{.inv_freq = Plain(rope.theta, rotary_dim)};
  switch (rope.kind) {
    case Kind::kDefault:
      break;
    case Kind::kLinear:  // position interpolation: Chen et al. 2023
      for (double& frequency : result.inv_freq) frequency /= rope.factor;
      break;
    case Kind::kDynamicNtk:
      result.inv_freq = Plain(DynamicTheta(rope, rotary_dim, max_position, session_len), rotary_dim);
      break;
    case Kind::kLlama3:
      ScaleLlama3(rope, &result.inv_freq);
      break;
    case Kind::kYarn:
      ScaleYarn(rope, rotary_dim, &result.inv_freq);
      result.factor = YarnAttentionFactor(rope);
      break;
    case Kind::kLongRope:
      Divide(session_len > rope.original_max_position ? rope.long_factor : rope.short_factor, &result.inv_freq);
      result.factor = LongRopeAttentionFactor(rope);
      break;
  }
  return result;
}

}  // namespace ingot::models
