// A model's configuration and statistics as Triton's clients read them: JSON.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

#include "kserve/inputs.h"

namespace ingot::kserve {

inline constexpr int64_t kMaxBatchSize = 128;  // rows of a request

// Of config.pbtxt: [{name, data_type, dims, optional}], [{name, data_type, dims}]
boost::json::array ConfigInputs();
boost::json::array ConfigOutputs();

// inference.ModelConfig of a model that this server serves.
std::string ModelConfigJson(const std::string& model_name);

// What a model has answered. Times are sums.
struct Statistics {
  uint64_t succeeded = 0, failed = 0;        // requests; a refused one failed
  uint64_t succeeded_ns = 0, failed_ns = 0;  // from their arrival to their end
  uint64_t answers = 0;                      // that had a slot; a request has n of them for each prompt
  uint64_t queue_ns = 0, inference_ns = 0;   // of answers: before they had a slot, and while they had it
  uint64_t steps = 0;                        // forward passes
  uint64_t last_ms = 0;  // the end of the last request, in milliseconds since 1970; 0: there was none
};
// inference.ModelStatisticsResponse
std::string ModelStatisticsJson(const std::string& model_name, const Statistics& statistics);

}  // namespace ingot::kserve
