#include "lite/calibrate.h"

#include <filesystem>
#include <utility>

#include "base/json.h"
#include "base/mapped_file.h"
#include "convert/model_config.h"
#include "lite/preparation.h"
#include "models/bind.h"

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
    if (found == stats.end() || found->second.stats.tokens == 0) continue;  // an expert that no token chose
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

// Where the file will be. Whether it can be is tried before the work; what was made for it goes again after an error.
class StatisticsFile {
 public:
  static Result<StatisticsFile> Prepare(const std::string& folder, bool force) {
    std::error_code error;
    StatisticsFile file(folder);
    if (fs::exists(file.path(), error) && !force)
      return InvalidArgument("{} has statistics; name another directory, or use --force", folder);
    file.is_new_folder_ = fs::create_directories(folder, error);
    if (error) return Io("{}: cannot write: {}", folder, error.message());
    const std::string probe = folder + "/.probe";
    if (Status status = WriteFile(probe, std::string(kProbeBytes, ' ')); !status.ok()) return Error(status);
    fs::remove(probe, error);
    return file;
  }
  StatisticsFile(StatisticsFile&& other) noexcept
      : folder_(std::move(other.folder_)), is_new_folder_(std::exchange(other.is_new_folder_, false)) {}
  StatisticsFile& operator=(StatisticsFile&&) = delete;
  ~StatisticsFile() {
    std::error_code ignored;
    if (is_new_folder_) fs::remove(folder_, ignored);  // if nothing is in it
  }

  Status Write(const std::string& content) const { return WriteFile(path(), content); }

 private:
  static constexpr size_t kProbeBytes = 64 << 10;

  explicit StatisticsFile(std::string folder) : folder_(std::move(folder)) {}
  std::string path() const { return folder_ + "/inputs_stats.json"; }

  std::string folder_;
  bool is_new_folder_ = false;
};

}  // namespace

Status Calibrate(const formats::Checkpoint& checkpoint, const CalibrateOptions& options, ops::Backend& backend) {
  INGOT_ASSIGN_OR_RETURN(const convert::Source source, convert::ReadSource(checkpoint));
  INGOT_ASSIGN_OR_RETURN(const auto samples, CalibrationWindows(source, options.calibration));
  if (samples.empty()) return InvalidArgument("--calib-samples {} is below 1", options.calibration.samples);
  INGOT_ASSIGN_OR_RETURN(const StatisticsFile file, StatisticsFile::Prepare(options.output, options.force));
  models::LayerRunner runner(source.spec, {}, backend);
  std::vector<models::HiddenStates> streams;
  {
    INGOT_ASSIGN_OR_RETURN(const ops::PackedWeight table, backend.Prepack(*source.tensors.front().matrix));
    for (const auto& sample : samples) {
      INGOT_ASSIGN_OR_RETURN(streams.emplace_back(), runner.Embed(sample, table));
    }
  }
  const models::Family& family = convert::HuggingFaceFamily(source.spec);
  std::string out =
      fmt::format("{{\"tokens\":{},\"inputs\":{{", static_cast<int64_t>(samples.size()) * options.calibration.seq_len);
  for (int i = 0; i < source.spec.num_layers; ++i) {
    if (options.progress)
      options.progress({i, source.spec.num_layers, "calibrating", static_cast<double>(i) / source.spec.num_layers, 0});
    const Layer layer(TensorsOf(source.tensors, i), source.spec);
    INGOT_ASSIGN_OR_RETURN(const models::LayerWeights weights, PackLayer(backend, layer.tensors()));
    LayerStats stats;
    const models::LinearTap tap = StatisticsTap(backend.host(), source.spec, {.gram = false}, &stats);
    for (models::HiddenStates& stream : streams) INGOT_RETURN_IF_ERROR(runner.Run(i, weights, &stream, &tap));
    for (const auto& [key, observed] : stats) {
      if (observed.stats.tokens == 0) continue;  // an expert that no token chose
      if (Status status = quant::CheckStats(observed.stats); !status.ok())
        return status.Annotate(fmt::format("layer {}", i));
    }
    AppendInputs(out, layer, stats, family);
  }
  return file.Write(out + "}}\n");
}

}  // namespace ingot::lite
