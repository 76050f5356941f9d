#include "lite/calibrate.h"

#include <filesystem>

#include "base/json.h"
#include "base/mapped_file.h"
#include "convert/model_config.h"
#include "lite/layer_weights.h"
#include "lite/preparation.h"

namespace ingot::lite {
namespace {

namespace fs = std::filesystem;

void AppendNumbers(std::string& out, const char* name, const std::vector<float>& values, float divisor) {
  out += fmt::format("\"{}\":[", name);
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    AppendJsonNumber(out, values[i] / divisor);
  }
  out += ']';
}

// The inputs of a layer, each under the name of the first matrix that it enters.
void AppendInputs(std::string& out, const Layer& layer, const LayerStats& stats, const models::Family& family) {
  for (const Group& group : layer.groups()) {
    const auto found = stats.find({group.input, group.expert});
    if (found == stats.end()) continue;  // an expert that no token chose
    const quant::InputStats& input = found->second.stats;
    if (!out.ends_with('{')) out += ',';
    AppendJsonString(out, convert::HuggingFaceName(layer.tensors()[group.matrices[0]], family).value_or("?"));
    out += fmt::format(":{{\"tokens\":{},", input.tokens);
    AppendNumbers(out, "abs_max", input.abs_max, 1);
    out += ',';
    AppendNumbers(out, "abs_mean", input.abs_sum, static_cast<float>(input.tokens));
    out += '}';
  }
}

Status CheckFolder(const std::string& output, bool force) {
  std::error_code error;
  fs::create_directories(output, error);
  if (error) return Io("{}: cannot write: {}", output, error.message());
  if (fs::exists(output + "/inputs_stats.json", error) && !force)
    return InvalidArgument("{} has statistics; name another directory, or use --force", output);
  return {};
}

}  // namespace

Status Calibrate(const formats::Checkpoint& checkpoint, const CalibrateOptions& options, ThreadPool& pool) {
  INGOT_ASSIGN_OR_RETURN(const convert::Source source, convert::ReadSource(checkpoint));
  INGOT_ASSIGN_OR_RETURN(const auto samples, CalibrationWindows(source, options.calibration));
  if (samples.empty()) return InvalidArgument("--calib-samples {} is below 1", options.calibration.samples);
  INGOT_RETURN_IF_ERROR(CheckFolder(options.output, options.force));
  const ops::Context context{.pool = &pool, .scratch = nullptr};
  models::LayerRunner runner(source.spec, {}, pool);
  std::vector<models::HiddenStates> streams;
  {
    INGOT_ASSIGN_OR_RETURN(const ops::PackedWeight table, ops::Prepack(context, *source.tensors.front().matrix));
    for (const auto& sample : samples) streams.push_back(runner.Embed(sample, table));
  }
  const models::Family& family = convert::HuggingFaceFamily(source.spec);
  std::string out =
      fmt::format("{{\"tokens\":{},\"inputs\":{{", static_cast<int64_t>(samples.size()) * options.calibration.seq_len);
  const Wanted wanted{[](models::LinearInput, int) { return true; }, false};
  for (int i = 0; i < source.spec.num_layers; ++i) {
    if (options.progress)
      options.progress({i, source.spec.num_layers, "calibrating", static_cast<double>(i) / source.spec.num_layers, 0});
    const Layer layer(TensorsOf(source.tensors, i), source.spec);
    INGOT_ASSIGN_OR_RETURN(const models::LayerWeights weights, PackLayer(context, layer.tensors()));
    LayerStats stats;
    const models::LinearTap tap = StatisticsTap(context, source.spec, wanted, &stats);
    for (models::HiddenStates& stream : streams) INGOT_RETURN_IF_ERROR(runner.Run(i, weights, &stream, &tap));
    AppendInputs(out, layer, stats, family);
  }
  return WriteFile(options.output + "/inputs_stats.json", out + "}}\n");
}

}  // namespace ingot::lite
