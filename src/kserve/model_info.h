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
  uint64_t succeeded = 0, failed = 0;        // requests
  uint64_t succeeded_ns = 0, failed_ns = 0;  // of requests
  uint64_t answers = 0;
  uint64_t queue_ns = 0, inference_ns = 0;  // of answers
  uint64_t steps = 0;                       // forward passes
  uint64_t last_ms = 0;                     // the last request's end, since 1970
};
// inference.ModelStatisticsResponse
std::string ModelStatisticsJson(const std::string& model_name, const Statistics& statistics);

}  // namespace ingot::kserve
