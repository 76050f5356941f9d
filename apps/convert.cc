// ingot convert MODEL --to hf|gguf
#include "convert/convert.h"

#include <cstdio>

#include "base/json_writer.h"
#include "base/topology.h"
#include "common.h"
#include "progress_bar.h"
#include "text/bytes.h"

namespace ingot::cli {
namespace {

struct ConvertFlags {
  std::string model, to, output, tokenizer_pre, type = "F16";
  int threads = 0;
  bool force = false, json = false;
};

constexpr std::pair<const char*, Encoding> kTypes[] = {{"F32", Encoding::kF32},   {"F16", Encoding::kF16},
                                                       {"BF16", Encoding::kBF16}, {"Q8_0", Encoding::kQ8_0},
                                                       {"Q4_0", Encoding::kQ4_0}, {"Q4_1", Encoding::kQ4_1}};

Result<Encoding> ParseType(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const auto& [name, encoding] : kTypes) {
    if (text == name) return encoding;
  }
  return InvalidArgument("--type '{}' is not one of F32, F16, BF16, Q8_0, Q4_0, Q4_1", text);
}

void Print(const convert::ConvertReport& report, const std::string& output, bool json) {
  for (const std::string& notice : report.notices) Say("note: {}\n", notice);
  if (!json) {
    fmt::print("{}: {} of weights, {} file(s)\n", output, FormatBytes(report.bytes), report.files.size());
    return;
  }
  fmt::print(
      "{}\n",
      JsonObject().Add("output", output).Add("bytes", report.bytes).AddJson("files", JsonList(report.files)).Text());
}

Status Convert(const ConvertFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const Encoding encoding, ParseType(flags.type));
  INGOT_ASSIGN_OR_RETURN(const auto checkpoint, OpenModel(flags.model, {.tokenizer_pre = flags.tokenizer_pre}));
  ThreadPool pool(flags.threads > 0 ? flags.threads : GetCpuAllowance().usable_threads);
  ProgressBar bar("writing");
  convert::ConvertOptions options{.output = flags.output, .encoding = encoding, .force = flags.force};
  options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  INGOT_ASSIGN_OR_RETURN(const auto report, flags.to == "hf" ? convert::ToHuggingFace(*checkpoint, options, pool)
                                                             : convert::ToGguf(*checkpoint, options, pool));
  bar.Clear();
  Print(report, flags.output, flags.json);
  return {};
}

}  // namespace

void DeclareConvert(Flags& root) {
  Flags& command = root.Command("convert", "Write a model in another form: a Hugging Face directory, or a GGUF file");
  const auto flags = std::make_shared<ConvertFlags>();
  command.Positional("MODEL", &flags->model, "as for generate");
  command.AddChoice("--to", &flags->to, {"hf", "gguf"},
                    "hf: safetensors, config and tokenizer in a directory; gguf: one file");
  command.Add("-o,--output,--work-dir", &flags->output, "the directory or file to write");
  command.Add("--type", &flags->type, "of the weights: F16, BF16, F32; for gguf also Q8_0, Q4_0, Q4_1");
  command.Add("--tokenizer-pre", &flags->tokenizer_pre, kTokenizerPreHelp);
  command.Add("--threads", &flags->threads, "0: what this machine allows");
  command.Add("--force", &flags->force, "overwrite an existing output");
  command.Add("--json", &flags->json, "one JSON object");
  command.Example("ingot convert model.gguf --to hf -o model-hf");
  command.Example("ingot convert model-hf --to gguf --type Q8_0 -o model-q8.gguf");
  command.OnRun([flags]() -> Status {
    if (flags->to.empty()) return InvalidArgument("say what to convert to: --to hf or --to gguf");
    if (flags->output.empty()) return InvalidArgument("say where to write: --output PATH");
    return Convert(*flags);
  });
}

}  // namespace ingot::cli
