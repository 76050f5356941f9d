#include "sampling/params.h"

namespace ingot::sampling {
namespace {

// NaN is outside every range.
Status CheckRange(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return InvalidArgument("{} {} is outside {}…{}", name, value, low, high);
}

}  // namespace

Status Validate(const Params& params) {
  INGOT_RETURN_IF_ERROR(CheckRange("temperature", params.temperature, 0.0, kMaxTemperature));
  if (params.top_k < -1) return InvalidArgument("top_k {} is negative; 0 or -1 mean all tokens", params.top_k);
  if (!(params.top_p > 0.0 && params.top_p <= 1.0)) {
    return InvalidArgument("top_p {} is outside 0…1 (0 excluded)", params.top_p);
  }
  INGOT_RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0.0, 1.0));
  INGOT_RETURN_IF_ERROR(
      CheckRange("repetition_penalty", params.repetition_penalty, kMinRepetitionPenalty, kMaxRepetitionPenalty));
  INGOT_RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -2.0, 2.0));
  INGOT_RETURN_IF_ERROR(CheckRange("frequency_penalty", params.frequency_penalty, -2.0, 2.0));
  if (params.num_logprobs < -1 || params.num_logprobs > kMaxLogprobs) {
    return InvalidArgument("logprobs {} is outside 0…{}", params.num_logprobs, kMaxLogprobs);
  }
  return {};
}

}  // namespace ingot::sampling
