#include "kserve/model_info.h"

#include <boost/json/serialize.hpp>

#include "kserve/generation.h"

namespace ingot::kserve {
namespace {

boost::json::object TensorConfig(const char* name, DataType type, const std::vector<int64_t>& dims) {
  const std::string data_type = type == DataType::kBytes ? "TYPE_STRING" : fmt::format("TYPE_{}", NameOf(type));
  return {{"name", name}, {"data_type", data_type}, {"dims", boost::json::array(dims.begin(), dims.end())}};
}

boost::json::object Duration(uint64_t count, uint64_t ns) { return {{"count", count}, {"ns", ns}}; }

}  // namespace

boost::json::array ConfigInputs() {
  boost::json::array inputs;
  for (const Input& input : AllInputs()) {
    boost::json::object one = TensorConfig(input.name, input.type(), input.dims());
    one["optional"] = true;
    inputs.push_back(std::move(one));
  }
  return inputs;
}

boost::json::array ConfigOutputs() {
  boost::json::array outputs;
  for (const Output& output : AllOutputs()) outputs.push_back(TensorConfig(output.name, output.type, output.dims()));
  return outputs;
}

std::string ModelConfigJson(const std::string& model_name) {
  return boost::json::serialize(boost::json::object{
      {"name", model_name},
      {"platform", ""},
      {"backend", kPlatform},
      {"version_policy", {{"latest", {{"num_versions", 1}}}}},
      {"max_batch_size", kMaxBatchSize},
      {"input", ConfigInputs()},
      {"output", ConfigOutputs()},
      {"instance_group", boost::json::array{boost::json::object{{"count", 1}, {"kind", "KIND_CPU"}}}},
      {"model_transaction_policy", {{"decoupled", true}}}});
}

std::string ModelStatisticsJson(const std::string& model_name, const Statistics& statistics) {
  const Statistics& s = statistics;
  const boost::json::object none = Duration(0, 0);  // no cache of whole answers; inputs and outputs take no time
  const boost::json::object inference{{"success", Duration(s.succeeded, s.succeeded_ns)},
                                      {"fail", Duration(s.failed, s.failed_ns)},
                                      {"queue", Duration(s.answers, s.queue_ns)},
                                      {"compute_input", none},
                                      {"compute_infer", Duration(s.answers, s.inference_ns)},
                                      {"compute_output", none},
                                      {"cache_hit", none},
                                      {"cache_miss", none}};
  const boost::json::object model{{"name", model_name},
                                  {"version", kModelVersion},
                                  {"last_inference", s.last_ms},
                                  {"inference_count", s.answers},
                                  {"execution_count", s.steps},
                                  {"inference_stats", inference},
                                  {"batch_stats", boost::json::array()},
                                  {"memory_usage", boost::json::array()},
                                  {"response_stats", boost::json::object()}};
  return boost::json::serialize(boost::json::object{{"model_stats", boost::json::array{model}}});
}

}  // namespace ingot::kserve
