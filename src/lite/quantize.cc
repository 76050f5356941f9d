#include "lite/quantize.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>

#include "base/json.h"
#include "formats/quantized.h"
#include "lite/matrices.h"
#include "lite/notes.h"
#include "lite/preparation.h"
#include "lite/work_folder.h"
#include "llm/eval_windows.h"
#include "models/bind.h"

namespace ingot::lite {
namespace {

using models::HiddenStates;
using models::LayerWeights;
using models::RoleTensor;
using Clock = std::chrono::steady_clock;

constexpr int64_t kHeldOutWindow = 512;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

const RoleTensor* FindRole(const std::vector<RoleTensor>& tensors, models::Role role) {
  for (const RoleTensor& tensor : tensors) {
    if (tensor.role == role) return &tensor;
  }
  return nullptr;
}

class Run {
 public:
  Run(const formats::Checkpoint& checkpoint, const QuantizeOptions& options, ops::Backend& backend)
      : checkpoint_(checkpoint), options_(options), backend_(backend) {}

  Result<QuantizeReport> operator()() {
    INGOT_RETURN_IF_ERROR(Prepare());
    INGOT_ASSIGN_OR_RETURN(
        WorkFolder work,
        WorkFolder::Open(options_.output, Fingerprint(checkpoint_, options_, samples_), options_.force));
    work_ = &work;
    Status status = Work();
    if (!status.ok()) return Error(work.Abandon(is_gguf(), status));
    return std::move(report_);
  }

 private:
  bool is_gguf() const { return options_.kind == OutputKind::kGguf; }
  const models::ModelSpec& spec() const { return source_.spec; }

  // Everything that can be refused is refused here.
  Status Prepare() {
    INGOT_RETURN_IF_ERROR(RefuseQuantized(checkpoint_));
    INGOT_ASSIGN_OR_RETURN(source_, convert::ReadSource(checkpoint_));
    if (const int64_t group = LargestGroup(source_); options_.fits_group_size && group > 0) {
      options_.recipe.format.group_size = static_cast<int>(group);
      report_.notices.push_back(
          fmt::format("groups of {}, the largest that divides the inputs of every matrix (--w-group-size)", group));
    }
    INGOT_RETURN_IF_ERROR(CheckMatrices(source_, options_));
    INGOT_ASSIGN_OR_RETURN(samples_, CalibrationWindows(source_, options_.calibration));
    if (samples_.empty() && options_.recipe.needs_statistics())
      return InvalidArgument("this method calibrates; --calib-samples {} is below 1", options_.calibration.samples);
    report_.calibration_tokens = std::ssize(samples_) * options_.calibration.seq_len;
    if (!samples_.empty() && report_.calibration_tokens < kFewestTokens) {
      return InvalidArgument(
          "{} samples of {} tokens are too few to calibrate on: raise --calib-samples or "
          "--calib-seqlen to {} tokens or more in all",
          samples_.size(), options_.calibration.seq_len, kFewestTokens);
    }
    std::vector<std::vector<int32_t>> windows;
    if (options_.held_out_windows > 0 && source_.tokenizer) {
      const int64_t length = std::min(kHeldOutWindow, spec().max_position);
      INGOT_ASSIGN_OR_RETURN(windows,
                             llm::WindowsOf(*source_.tokenizer, MarkedText::Untrusted(options_.held_out_text), length));
      windows.resize(std::min(windows.size(), static_cast<size_t>(options_.held_out_windows)));
    }
    INGOT_RETURN_IF_ERROR(CheckOutput(checkpoint_, source_, options_));
    for (std::string& notice : convert::NoticesOf(checkpoint_, source_)) report_.notices.push_back(std::move(notice));
    TellOfSecondRounding();
    if (is_gguf() && !source_.tokenizer)
      return InvalidArgument("{} has no tokenizer, and a GGUF file needs its vocabulary", checkpoint_.path());
    form_ = MakeForm(checkpoint_, source_, options_);
    INGOT_RETURN_IF_ERROR(CheckForm(checkpoint_, source_, form_, &report_.notices));
    runner_.emplace(spec(), models::RunnerOptions{}, backend_);
    held_out_.emplace(std::move(windows), *runner_);
    report_.source_bytes = checkpoint_.weight_bytes();
    return {};
  }

  Status Work() {
    start_ = Clock::now();
    INGOT_RETURN_IF_ERROR(WriteRest());
    INGOT_RETURN_IF_ERROR(EmbedAll());
    for (int layer = 0; layer < spec().num_layers; ++layer) INGOT_RETURN_IF_ERROR(DoLayer(layer));
    if (!held_out_->empty()) INGOT_RETURN_IF_ERROR(Evaluate());
    ReportProgress(spec().num_layers - 1, "writing", 1);
    INGOT_ASSIGN_OR_RETURN(report_.output_bytes, Assemble(checkpoint_, source_, form_, *work_, *backend_.host().pool));
    INGOT_RETURN_IF_ERROR(work_->Finish(is_gguf()));
    TellOfExperts();
    report_.seconds += SecondsSince(start_);
    return {};
  }

  // Embedding, final norm and head: they stay dense.
  Status WriteRest() {
    rest_before_ = TensorsOf(source_.tensors, -1);
    INGOT_ASSIGN_OR_RETURN(const convert::Plan plan, PlanPart(form_, rest_before_, {}, &report_.notices));
    if (!work_->HasPart(-1, is_gguf())) {
      INGOT_RETURN_IF_ERROR(WritePart(form_, plan, work_->PartPath(-1, is_gguf()), *backend_.host().pool));
    }
    INGOT_ASSIGN_OR_RETURN(rest_after_, ReadPart(form_, work_->PartPath(-1, is_gguf()), -1));
    return {};
  }

  Status EmbedAll() {
    const bool calibrates_after = options_.calibrates_on_quantized;
    const auto embed = [&](const std::vector<RoleTensor>& rest, bool is_after) -> Status {
      INGOT_ASSIGN_OR_RETURN(const ops::PackedWeight table,
                             backend_.Prepack(*FindRole(rest, models::Role::kEmbedding)->matrix));
      if (calibrates_after == is_after) {
        for (const auto& sample : samples_) {
          INGOT_ASSIGN_OR_RETURN(streams_.emplace_back(), runner_->Embed(sample, table));
        }
      }
      return is_after ? held_out_->EmbedAfter(table) : held_out_->EmbedBefore(table);
    };
    INGOT_RETURN_IF_ERROR(embed(rest_before_, false));
    return embed(rest_after_.tensors, true);
  }

  Status DoLayer(int layer) {
    const Clock::time_point start = Clock::now();
    const bool is_done = work_->HasPart(layer, is_gguf());
    Layer parts(TensorsOf(source_.tensors, layer), spec());
    LayerStats stats;
    {
      ReportProgress(layer, is_done ? "checking what is done" : "calibrating", 0);
      INGOT_ASSIGN_OR_RETURN(const LayerWeights before, PackLayer(backend_, parts.tensors()));
      INGOT_RETURN_IF_ERROR(held_out_->RunBefore(layer, before));
      const bool advances = !options_.calibrates_on_quantized;
      if (!is_done && !samples_.empty()) {
        INGOT_RETURN_IF_ERROR(Collect(layer, before, &stats));
      } else if (advances) {
        INGOT_RETURN_IF_ERROR(Advance(layer, before));
      }
    }
    LayerReport report;
    if (!is_done) {
      ReportProgress(layer, "quantizing", 0.4);
      INGOT_RETURN_IF_ERROR(QuantizeAndWrite(layer, start, &parts, &stats, &report));
    }
    ReportProgress(layer, "evaluating", 0.9);
    INGOT_ASSIGN_OR_RETURN(const Part part, ReadPart(form_, work_->PartPath(layer, is_gguf()), layer));
    {
      INGOT_ASSIGN_OR_RETURN(const LayerWeights after, PackLayer(backend_, part.tensors));
      // W8A8 rounds activations too.
      const models::LinearTap int8 = Int8Tap(spec());
      INGOT_RETURN_IF_ERROR(held_out_->RunAfter(layer, after, options_.kind == OutputKind::kInt8 ? &int8 : nullptr));
      if (options_.calibrates_on_quantized) INGOT_RETURN_IF_ERROR(Advance(layer, after));
    }
    AddLayerBytes(part);
    return Note(layer, is_done, SecondsSince(start), std::move(report));
  }

  // Statistics of the inputs of a layer. Where the original layers make the inputs of the next, this continues with
  // them.
  Status Collect(int layer, const LayerWeights& weights, LayerStats* stats) {
    const models::LinearTap tap = StatisticsTap(
        backend_.host(), spec(), {.gram = true, .samples = options_.recipe.scales == Scales::kSmoothQuant}, stats);
    for (HiddenStates& stream : streams_) {
      HiddenStates aside = options_.calibrates_on_quantized ? stream : HiddenStates();
      INGOT_RETURN_IF_ERROR(runner_->Run(layer, weights, options_.calibrates_on_quantized ? &aside : &stream, &tap));
    }
    return {};
  }

  Status Advance(int layer, const LayerWeights& weights) {
    for (HiddenStates& hidden : streams_) INGOT_RETURN_IF_ERROR(runner_->Run(layer, weights, &hidden));
    return {};
  }

  // The note comes before the part: a part that is there has its note.
  Status QuantizeAndWrite(int layer, Clock::time_point start, Layer* parts, LayerStats* stats, LayerReport* report) {
    auto quantized = QuantizeLayer(backend_.host(), options_.recipe, parts, stats);
    if (!quantized) return quantized.error().Annotate(fmt::format("layer {}", layer));
    stats->clear();
    report->linears = std::move(quantized->errors);
    report->exponents = std::move(quantized->exponents);
    INGOT_ASSIGN_OR_RETURN(const convert::Plan plan,
                           PlanPart(form_, parts->tensors(), std::move(quantized->weights), &report->notices));
    report->seconds = SecondsSince(start);
    INGOT_RETURN_IF_ERROR(work_->WriteNote(layer, ToNote(*report)));
    return WritePart(form_, plan, work_->PartPath(layer, is_gguf()), *backend_.host().pool);
  }

  void AddLayerBytes(const Part& part) {
    for (const RoleTensor& tensor : part.tensors) {
      if (tensor.matrix && models::IsQuantized(tensor.role))
        report_.linear_f16_bytes += 2 * tensor.matrix->rows() * tensor.matrix->cols();
    }
    for (const formats::TensorEntry* tensor : part.checkpoint->tensors()) {
      if (tensor->quantized || InfoOf(tensor->encoding).block_size > 1)
        report_.linear_bytes += formats::StoredBytes(*tensor);
    }
  }

  // What the report says of a layer; a layer that a run before finished brings its own note.
  Status Note(int layer, bool is_done, double seconds, LayerReport report) {
    if (is_done) {
      ++report_.resumed_layers;
      INGOT_ASSIGN_OR_RETURN(const boost::json::object note, work_->ReadNote(layer));
      AddFromNote(note, &report);
      report_.seconds += report.seconds;
      report.seconds += seconds;
    } else {
      seconds_of_new_layers_ += seconds;
      report.seconds = seconds;
    }
    report_.notices.insert(report_.notices.end(), report.notices.begin(), report.notices.end());
    report.relative_error = held_out_->empty() ? std::numeric_limits<double>::quiet_NaN() : held_out_->RelativeError();
    report_.layers.push_back(std::move(report));
    return {};
  }

  Status Evaluate() {
    ReportProgress(spec().num_layers - 1, "evaluating", 1);
    struct Head {
      Tensor norm;
      ops::PackedWeight weight;
    };
    const auto pack = [&](const std::vector<RoleTensor>& rest) -> Result<Head> {
      const RoleTensor* head = FindRole(rest, models::Role::kLmHead);
      if (head == nullptr) head = FindRole(rest, models::Role::kEmbedding);
      INGOT_ASSIGN_OR_RETURN(ops::PackedWeight weight, backend_.Prepack(*head->matrix));
      INGOT_ASSIGN_OR_RETURN(Tensor norm, ops::ToDevice(backend_, FindRole(rest, models::Role::kFinalNorm)->numbers));
      return Head{std::move(norm), std::move(weight)};
    };
    INGOT_ASSIGN_OR_RETURN(const Head before, pack(rest_before_));
    INGOT_ASSIGN_OR_RETURN(const Head after, pack(rest_after_.tensors));
    INGOT_ASSIGN_OR_RETURN(report_.evaluation, held_out_->Finish({before.norm, before.weight},
                                                                 {after.norm, after.weight}, spec().vocab_size));
    return {};
  }

  void TellOfSecondRounding() {
    for (const RoleTensor& tensor : source_.tensors) {
      if (!tensor.matrix || !models::IsQuantized(tensor.role)) continue;
      if (const Format format = tensor.matrix->format(); format.bits < 8) {
        report_.notices.push_back(fmt::format(
            "{} holds weights of {} bits, which are rounded a second time: its error comes on top of the first's, and "
            "\"before\" below has the first's already (a source in 16 or 8 bits is better)",
            checkpoint_.path(), format.bits));
        return;
      }
    }
  }

  void TellOfExperts() {
    std::vector<std::string> counts;
    for (size_t i = 0; i < report_.layers.size(); ++i) {
      if (const int64_t count = report_.layers[i].UncalibratedExperts(); count > 0 && !samples_.empty())
        counts.push_back(fmt::format("{} of {} in layer {}", count, spec().num_experts, i));
    }
    if (counts.empty()) return;
    report_.notices.push_back(
        fmt::format("fewer than {} calibration tokens chose some experts, whose down projections are rounded to "
                    "nearest: {} (more or longer texts reach more of them)",
                    kFewestTokens, fmt::join(counts, ", ")));
  }

  void ReportProgress(int layer, const char* phase, double part) const {
    if (!options_.progress) return;
    const int new_layers = layer - report_.resumed_layers;
    const double left = new_layers > 0 ? seconds_of_new_layers_ / new_layers * (spec().num_layers - layer - part) : 0;
    options_.progress({layer, spec().num_layers, phase, (layer + part) / spec().num_layers, left});
  }

  const formats::Checkpoint& checkpoint_;
  QuantizeOptions options_;
  ops::Backend& backend_;
  convert::Source source_;
  OutputForm form_;
  WorkFolder* work_ = nullptr;
  std::optional<models::LayerRunner> runner_;
  std::optional<HeldOut> held_out_;
  std::vector<std::vector<int32_t>> samples_;
  std::vector<HiddenStates> streams_;  // of samples_
  std::vector<RoleTensor> rest_before_;
  Part rest_after_;
  QuantizeReport report_;
  Clock::time_point start_;
  double seconds_of_new_layers_ = 0;
};

}  // namespace

int64_t LayerReport::UncalibratedExperts() const {
  return std::ranges::count_if(linears, [](const LinearError& e) { return e.expert >= 0 && std::isnan(e.relative); });
}

Result<QuantizeReport> Quantize(const formats::Checkpoint& checkpoint, const QuantizeOptions& options,
                                ops::Backend& backend) {
  return Run(checkpoint, options, backend)();
}

}  // namespace ingot::lite
