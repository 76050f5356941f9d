// ingot lite auto_awq|auto_gptq|smooth_quant|calibrate
#include <cmath>
#include <cstdio>

#include "base/json_writer.h"
#include "base/text_file.h"
#include "base/topology.h"
#include "common.h"
#include "lite/calibrate.h"
#include "lite/quantize.h"
#include "lite/texts.h"
#include "ops/devices.h"
#include "progress_bar.h"
#include "text/bytes.h"

namespace ingot::cli {
namespace {

struct LiteFlags {
  std::string model, work_dir = "./work_dir", to = "hf";
  int64_t bits = 4, samples = 32, seq_len = 512, held_out_windows = 8;
  std::optional<int64_t> group_size;
  bool symmetric = false, gptq = false, act_order = false, search_scale = false;
  std::string calib_text, calib_dataset, held_out_text, tokenizer_pre;
  int threads = 0;
  std::string device = "cpu";
  bool force = false, json = false, parse_special = false;
};

Result<std::string> CalibrationText(const LiteFlags& flags) {
  if (!flags.calib_text.empty() && !flags.calib_dataset.empty())
    return InvalidArgument("--calib-text and --calib-dataset both name a text; give one");
  if (!flags.calib_text.empty()) return ReadTextFile(flags.calib_text);
  return lite::Dataset(flags.calib_dataset);
}

// Groups of 32 are GGUF's.
Result<Format> FormatOf(const LiteFlags& flags) {
  const bool is_gguf = flags.to == "gguf";
  const int64_t group = flags.group_size.value_or(is_gguf ? 32 : 128);
  if (flags.bits != 4) return InvalidArgument("--w-bits {}: 4 bits are written", flags.bits);
  if (group != 32 && group != 64 && group != 128)
    return InvalidArgument("--w-group-size {} is none of 32, 64, 128", group);
  if (is_gguf && group != 32)
    return InvalidArgument("--w-group-size {}: GGUF's Q4_0 and Q4_1 have groups of 32", group);
  const Format::Zero asymmetric = is_gguf ? Format::Zero::kMin : Format::Zero::kInteger;
  return Format{
      .bits = 4, .group_size = static_cast<int>(group), .zero = flags.symmetric ? Format::Zero::kMidpoint : asymmetric};
}

std::string NameOf(models::Role role, int expert) {
  const std::string_view pattern = models::kLlamaNames.Find(role)->pattern;
  const std::string_view last = pattern.substr(pattern.rfind('.') + 1);
  return expert < 0 ? std::string(last) : fmt::format("experts.{}.{}", expert, last);
}

void PrintReport(const lite::QuantizeReport& report, const std::string& output) {
  for (size_t i = 0; i < report.layers.size(); ++i) {
    const lite::LayerReport& layer = report.layers[i];
    fmt::print("layer {:3}", i);
    if (std::isfinite(layer.relative_error)) fmt::print("  error of its output {:.4f}", layer.relative_error);
    for (const lite::LinearError& error : layer.linears) {
      if (error.expert < 0 && std::isfinite(error.relative))
        fmt::print("  {} {:.4f}", NameOf(error.role, error.expert), error.relative);
    }
    if (const int64_t count = layer.UncalibratedExperts(); count > 0 && report.calibration_tokens > 0)
      fmt::print("  {} experts not calibrated", count);
    if (!layer.exponents.empty()) fmt::print("  exponents of scales");
    for (const lite::ScaleExponent& scale : layer.exponents) {
      if (scale.expert < 0) fmt::print(" {} {:.2f}", NameOf(scale.role, scale.expert), scale.exponent);
    }
    fmt::print("\n");
  }
  const lite::Evaluation& e = report.evaluation;
  if (e.num_scored > 0) {
    fmt::print("perplexity  {:.4f} before, {:.4f} after ({:+.2f} %), on {} held-out tokens\n", e.perplexity_before,
               e.perplexity_after, (e.perplexity_after / e.perplexity_before - 1) * 100, e.num_scored);
    fmt::print("divergence  KL {:.6f} nats, the same most likely token at {:.2f} % of positions\n", e.mean_kl,
               e.top1_agreement * 100);
  }
  fmt::print("size        {} of weights, {} before; the quantized matrices take {:.4f} of what they take in f16\n",
             FormatBytes(report.output_bytes), FormatBytes(report.source_bytes),
             static_cast<double>(report.linear_bytes) / static_cast<double>(report.linear_f16_bytes));
  fmt::print("time        {:.1f} s{}\n", report.seconds,
             report.resumed_layers > 0 ? fmt::format(", after {} layers of a run before", report.resumed_layers) : "");
  fmt::print("written to  {}\n", output);
}

std::string LayerJson(const lite::LayerReport& layer) {
  JsonObject linears, exponents;
  for (const lite::LinearError& error : layer.linears) linears.Add(NameOf(error.role, error.expert), error.relative);
  for (const lite::ScaleExponent& scale : layer.exponents)
    exponents.Add(NameOf(scale.role, scale.expert), scale.exponent);
  return JsonObject()
      .Add("relative_error", layer.relative_error)
      .Add("seconds", layer.seconds)
      .AddJson("linears", linears.Text())
      .AddJson("exponents", exponents.Text())
      .Text();
}

void PrintJson(const lite::QuantizeReport& report, const std::string& output) {
  JsonObject json;
  json.Add("output", output).AddJson("layers", JsonList(report.layers, LayerJson));
  const lite::Evaluation& e = report.evaluation;
  if (e.num_scored > 0) {
    json.Add("perplexity_before", e.perplexity_before).Add("perplexity_after", e.perplexity_after);
    json.Add("mean_kl", e.mean_kl).Add("top1_agreement", e.top1_agreement);
  }
  json.Add("num_scored", e.num_scored).Add("calibration_tokens", report.calibration_tokens);
  json.Add("source_bytes", report.source_bytes).Add("output_bytes", report.output_bytes);
  json.Add("linear_bytes", report.linear_bytes).Add("linear_f16_bytes", report.linear_f16_bytes);
  json.Add("resumed_layers", report.resumed_layers).Add("seconds", report.seconds);
  fmt::print("{}\n", json.Text());
}

std::function<void(const lite::Progress&)> ShowOn(ProgressBar* bar) {
  return [bar](const lite::Progress& p) {
    bar->UpdatePart(p.layer, p.done, fmt::format("layer {} of {}, {}", p.layer + 1, p.num_layers, p.phase),
                    p.seconds_left);
  };
}

std::string WithoutSlash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

Result<std::unique_ptr<ops::Backend>> OpenBackend(const LiteFlags& flags) {
  const int threads = flags.threads > 0 ? flags.threads : GetCpuAllowance().usable_threads;
  INGOT_ASSIGN_OR_RETURN(ops::ChosenDevice device, ops::ChooseDevice({.device = flags.device, .num_threads = threads}));
  return std::move(device.backend);
}

Status RunQuantizer(const LiteFlags& flags, lite::QuantizeOptions options) {
  INGOT_ASSIGN_OR_RETURN(const auto checkpoint, OpenModel(flags.model, {.tokenizer_pre = flags.tokenizer_pre}));
  options.output = WithoutSlash(flags.work_dir);
  options.force = flags.force;
  options.fits_group_size =
      !flags.group_size && (options.kind == lite::OutputKind::kAwq || options.kind == lite::OutputKind::kGptq);
  options.calibration.samples = flags.samples;
  options.calibration.seq_len = flags.seq_len;
  options.calibration.parse_special = flags.parse_special;
  options.held_out_windows = flags.held_out_windows;
  if (flags.samples > 0) {
    INGOT_ASSIGN_OR_RETURN(options.calibration.text, CalibrationText(flags));
  }
  if (flags.held_out_windows > 0) {
    INGOT_ASSIGN_OR_RETURN(options.held_out_text, flags.held_out_text.empty() ? Result<std::string>(lite::HeldOutText())
                                                                              : ReadTextFile(flags.held_out_text));
  }
  INGOT_ASSIGN_OR_RETURN(const auto backend, OpenBackend(flags));
  ProgressBar bar("quantizing");
  options.progress = ShowOn(&bar);
  INGOT_ASSIGN_OR_RETURN(const auto report, lite::Quantize(*checkpoint, options, *backend));
  bar.Clear();
  for (const std::string& notice : report.notices) Say("note: {}\n", notice);
  flags.json ? PrintJson(report, options.output) : PrintReport(report, options.output);
  return {};
}

Status RunCalibration(const LiteFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const auto checkpoint, OpenModel(flags.model, {.tokenizer_pre = flags.tokenizer_pre}));
  lite::CalibrateOptions options{.output = WithoutSlash(flags.work_dir), .force = flags.force};
  options.calibration = {.parse_special = flags.parse_special, .samples = flags.samples, .seq_len = flags.seq_len};
  INGOT_ASSIGN_OR_RETURN(options.calibration.text, CalibrationText(flags));
  INGOT_ASSIGN_OR_RETURN(const auto backend, OpenBackend(flags));
  ProgressBar bar("calibrating");
  options.progress = ShowOn(&bar);
  INGOT_RETURN_IF_ERROR(lite::Calibrate(*checkpoint, options, *backend));
  bar.Clear();
  fmt::print("written to {}/inputs_stats.json\n", options.output);
  return {};
}

void AddCalibrationFlags(Flags& command, LiteFlags* flags) {
  command.Positional("MODEL", &flags->model, "as for generate; a Hugging Face directory or a GGUF file");
  command.Add("--work-dir", &flags->work_dir, "the directory to write; a file with --to gguf");
  command.Add("--calib-text", &flags->calib_text, "a file with the text to calibrate on; default: a built-in text");
  command.Add("--calib-dataset", &flags->calib_dataset,
              "or the name of a text: NAME or NAME.txt in $INGOT_DATASETS_DIR; builtin: Ingot's own");
  command.Add("--parse-special", &flags->parse_special,
              "read special tokens that the text spells as these tokens; default: all of it is text");
  command.Add("--tokenizer-pre", &flags->tokenizer_pre, kTokenizerPreHelp);
  command.Add("--calib-samples", &flags->samples, "pieces of the text to calibrate on");
  command.Add("--calib-seqlen", &flags->seq_len, "tokens of a piece");
  command.AddChoice("--device", &flags->device, {"cpu", "cuda", "auto"}, "that runs the layers: docs/cuda.md");
  command.Add("--threads", &flags->threads, "0: what this machine allows");
  command.Add("--force", &flags->force, "overwrite an existing output");
}

// What all quantizers take.
void AddLiteFlags(Flags& command, LiteFlags* flags) {
  AddCalibrationFlags(command, flags);
  command.Add("--eval-text", &flags->held_out_text,
              "a file with the text on which perplexity is measured before and after; default: a built-in text");
  command.Add("--eval-windows", &flags->held_out_windows, "pieces of 512 tokens of it; 0: do not measure");
  command.Add("--json", &flags->json, "the report as one JSON object");
}

void AddFormatFlags(Flags& command, LiteFlags* flags) {
  command.Add("--w-bits", &flags->bits, "bits of a weight: 4");
  command.Add("--w-group-size", &flags->group_size,
              "inputs that share a scale: 32, 64 or 128; default: the largest that divides all, and 32 with --to gguf");
  command.Add("--w-sym", &flags->symmetric, "no zero points");
}

void DeclareAwq(Flags& lite) {
  Flags& command = lite.Command("auto_awq", "4-bit weights by AWQ: scales searched and merged, ranges clipped");
  const auto flags = std::make_shared<LiteFlags>();
  AddLiteFlags(command, flags.get());
  AddFormatFlags(command, flags.get());
  command.AddChoice("--to", &flags->to, {"hf", "gguf"},
                    "hf: AutoAWQ's layout in a Hugging Face directory; gguf: Q4_1, or Q4_0 with --w-sym");
  command.Add("--gptq", &flags->gptq, "round by GPTQ on AWQ's grids, rather than to nearest");
  command.Add("--search-scale", &flags->search_scale, "LMDeploy's flag; scales are always searched");
  command.Example("ingot lite auto_awq model-hf --work-dir model-awq");
  command.Example("ingot lite auto_awq smollm2 --w-group-size 64 --work-dir smollm2-awq --calib-text text.txt");
  command.OnRun([flags]() -> Status {
    INGOT_ASSIGN_OR_RETURN(const Format format, FormatOf(*flags));
    const bool calibrates = flags->samples > 0;  // without: to nearest, as LMDeploy's auto_awq does
    lite::QuantizeOptions options{.kind = flags->to == "gguf" ? lite::OutputKind::kGguf : lite::OutputKind::kAwq};
    options.recipe = {.format = format,
                      .scales = calibrates ? lite::Scales::kAwq : lite::Scales::kNone,
                      .rounding = flags->gptq  ? lite::Rounding::kClippedGptq
                                  : calibrates ? lite::Rounding::kClipped
                                               : lite::Rounding::kNearest};
    options.calibrates_on_quantized = flags->gptq;
    return RunQuantizer(*flags, std::move(options));
  });
}

void DeclareGptq(Flags& lite) {
  Flags& command = lite.Command("auto_gptq", "4-bit weights by GPTQ: rounding with feedback of its errors");
  const auto flags = std::make_shared<LiteFlags>();
  AddLiteFlags(command, flags.get());
  AddFormatFlags(command, flags.get());
  command.Add("--desc-act", &flags->act_order, "quantize the inputs with the largest activations first (act-order)");
  command.Example("ingot lite auto_gptq model-hf --work-dir model-gptq --w-sym --desc-act");
  command.OnRun([flags]() -> Status {
    INGOT_ASSIGN_OR_RETURN(Format format, FormatOf(*flags));
    format.min_zero = format.zero == Format::Zero::kInteger ? 1 : 0;  // the layout stores zeros less one
    lite::QuantizeOptions options{.kind = lite::OutputKind::kGptq, .calibrates_on_quantized = true};
    options.recipe = {.format = format, .rounding = lite::Rounding::kGptq, .act_order = flags->act_order};
    return RunQuantizer(*flags, std::move(options));
  });
}

void DeclareSmoothQuant(Flags& lite) {
  Flags& command = lite.Command("smooth_quant", "W8A8: int8 weights, and activations that int8 will do for");
  const auto flags = std::make_shared<LiteFlags>();
  AddLiteFlags(command, flags.get());
  command.Example("ingot lite smooth_quant model-hf --work-dir model-w8a8");
  command.OnRun([flags]() -> Status {
    lite::QuantizeOptions options{.kind = lite::OutputKind::kInt8};
    options.recipe = {.format = quant::kInt8PerOutput};
    if (flags->samples > 0) {  // smoothing moves errors into the weights, where GPTQ takes most of them back
      options.recipe.scales = lite::Scales::kSmoothQuant;
      options.recipe.rounding = lite::Rounding::kGptq;
    }
    return RunQuantizer(*flags, std::move(options));
  });
}

void DeclareCalibrate(Flags& lite) {
  Flags& command = lite.Command("calibrate", "Statistics of the inputs of all matrices, to a JSON file");
  const auto flags = std::make_shared<LiteFlags>();
  AddCalibrationFlags(command, flags.get());
  command.Example("ingot lite calibrate model-hf --work-dir statistics");
  command.OnRun([flags] { return RunCalibration(*flags); });
}

}  // namespace

void DeclareLite(Flags& root) {
  Flags& lite = root.Command("lite", "Quantize a model: auto_awq, auto_gptq, smooth_quant, calibrate");
  DeclareAwq(lite);
  DeclareGptq(lite);
  DeclareSmoothQuant(lite);
  DeclareCalibrate(lite);
}

}  // namespace ingot::cli
