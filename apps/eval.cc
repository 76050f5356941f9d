// ingot eval ppl|diff|logits
#include "llm/eval.h"

#include <cstdio>
#include <cstring>

#include "base/json_writer.h"
#include "base/text_file.h"
#include "common.h"
#include "llm/compute.h"
#include "llm/eval_windows.h"
#include "models/model.h"
#include "ops/isa_info.h"
#include "progress_bar.h"
#include "tokenizer/tokenizer.h"

namespace ingot::cli {
namespace {

// What is evaluated by default: enough to distinguish models, and the length of the definition in
// docs/performance.md.
constexpr int64_t kDefaultBytes = 250'000;

struct TextFlags {
  std::string file;
  int64_t bytes = kDefaultBytes;
  bool parse_special = false;
};

void AddTextFlags(Flags& flags, TextFlags* text) {
  flags.Add("--file", &text->file, "the text; - or none: standard input");
  flags.AddBytes("--bytes", &text->bytes, "use only its first N bytes; 0: all");
  flags.Add("--parse-special", &text->parse_special,
            "read special tokens that the text spells as these tokens; default: all of it is text");
}

Result<std::string> ReadText(const TextFlags& flags) {
  std::string text;
  if (flags.file.empty() || flags.file == "-") {
    INGOT_ASSIGN_OR_RETURN(std::string input, ReadStdin());
    INGOT_ASSIGN_OR_RETURN(text, CleanText(std::move(input), "standard input"));
  } else {
    INGOT_ASSIGN_OR_RETURN(text, ReadTextFile(flags.file));
  }
  if (flags.bytes > 0 && static_cast<int64_t>(text.size()) > flags.bytes) text.resize(static_cast<size_t>(flags.bytes));
  return text;
}

struct PplFlags {
  ModelFlags model;
  TextFlags text;
  int64_t window = 512;
  bool json = false;
};

Status Ppl(const PplFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.text));
  INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(flags.model));
  ProgressBar bar("windows");
  llm::EvalOptions options{.window = flags.window,
                           .parse_special = flags.text.parse_special,
                           .progress = [&bar](int64_t done, int64_t total) { bar.UpdateCount(done, total); }};
  INGOT_ASSIGN_OR_RETURN(const auto result, llm::Perplexity(*llm, text, options));
  bar.Clear();
  if (!flags.json) {
    fmt::print("perplexity {:.4f} ± {:.4f}  ({} tokens scored of {}, windows of {}, {})\n", result.perplexity,
               result.standard_error, result.num_scored, result.num_tokens, flags.window,
               llm::ComputeName(llm::ComputeOf(llm->options())));
    return {};
  }
  fmt::print("{}\n", JsonObject()
                         .Add("perplexity", result.perplexity)
                         .Add("standard_error", result.standard_error)
                         .Add("mean_nll", result.mean_nll)
                         .Add("num_scored", result.num_scored)
                         .Add("num_tokens", result.num_tokens)
                         .Add("window", flags.window)
                         .Add("compute", llm::ComputeName(llm::ComputeOf(llm->options())))
                         .Text());
  return {};
}

struct DiffFlags {
  ModelFlags a;
  std::string b, compute_b;
  std::optional<int64_t> quant_policy_b;
  TextFlags text;
  int64_t window = 512, max_windows = 8;
  bool json = false;
};

std::string LayerName(int layer, size_t count) {
  if (layer < 0) return "embedding";
  return layer + 2 == static_cast<int>(count) ? "final norm" : fmt::format("layer {}", layer);
}

void PrintDiff(const llm::DiffResult& diff) {
  fmt::print("KL divergence      mean {:.6f}, max {:.6f} nats\n", diff.mean_kl, diff.max_kl);
  fmt::print("top-1 agreement    {:.3f} % of {} positions\n", diff.top1_agreement * 100, diff.num_scored);
  fmt::print("perplexity         A {:.4f}, B {:.4f}\n", diff.perplexity_a, diff.perplexity_b);
  if (diff.layers.empty()) {
    fmt::print("layers             not compared: the shapes differ\n");
  } else if (diff.first_different_layer) {
    fmt::print("first that differs {}\n", LayerName(*diff.first_different_layer, diff.layers.size()));
  } else {
    fmt::print("first that differs none\n");
  }
  for (const llm::LayerDifference& layer : diff.layers)
    fmt::print("  {:12} relative difference {:.6f}\n", LayerName(layer.layer, diff.layers.size()), layer.relative);
}

void PrintDiffJson(const llm::DiffResult& diff) {
  const auto layer_json = [](const llm::LayerDifference& layer) {
    return JsonObject().Add("layer", layer.layer).Add("relative", layer.relative).Text();
  };
  fmt::print("{}\n", JsonObject()
                         .Add("mean_kl", diff.mean_kl)
                         .Add("max_kl", diff.max_kl)
                         .Add("top1_agreement", diff.top1_agreement)
                         .Add("perplexity_a", diff.perplexity_a)
                         .Add("perplexity_b", diff.perplexity_b)
                         .Add("num_scored", diff.num_scored)
                         .Add("first_different_layer", diff.first_different_layer)
                         .AddJson("layers", JsonList(diff.layers, layer_json))
                         .Text());
}

Status Diff(const DiffFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.text));
  ModelFlags flags_b = flags.a;
  flags_b.options.model = flags.b;
  if (!flags.compute_b.empty()) flags_b.compute = flags.compute_b;
  if (flags.quant_policy_b) flags_b.options.quant_policy = static_cast<int>(*flags.quant_policy_b);
  INGOT_ASSIGN_OR_RETURN(const auto a, LoadModel(flags.a));
  INGOT_ASSIGN_OR_RETURN(const auto b, LoadModel(flags_b));
  ProgressBar bar("windows");
  llm::DiffOptions options{.window = flags.window,
                           .parse_special = flags.text.parse_special,
                           .max_windows = flags.max_windows,
                           .progress = [&bar](int64_t done, int64_t total) { bar.UpdateCount(done, total); }};
  INGOT_ASSIGN_OR_RETURN(const auto diff, llm::Diff(*a, *b, text, options));
  bar.Clear();
  if (flags.json) {
    PrintDiffJson(diff);
  } else {
    PrintDiff(diff);
  }
  return {};
}

struct LogitsFlags {
  ModelFlags model;
  TextFlags text;
  int64_t tokens = 300, chunk = 0;
  std::string output;
};

// NumPy's file of a float32 matrix (format version 1.0), row after row.
class NpyFile {
 public:
  static Result<NpyFile> Create(const std::string& path, int64_t rows, int64_t cols) {
    NpyFile npy(path, std::fopen(path.c_str(), "wb"));
    if (!npy.file_) return Io("{}: cannot write: {}", path, std::strerror(errno));
    std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
    header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 11, ' ');  // the data begin at a multiple of 64
    const auto length = static_cast<uint16_t>(header.size() + 1);
    fmt::print(npy.file_.get(), "\x93NUMPY\x01{}{}{}{}\n", '\0', static_cast<char>(length & 255),
               static_cast<char>(length >> 8), header);
    return npy;
  }
  void Append(const float* row, size_t count) { std::fwrite(row, sizeof(float), count, file_.get()); }
  Status Close() {
    const bool failed = std::ferror(file_.get()) != 0;
    if (std::fclose(file_.release()) != 0 || failed) return Io("{}: cannot write: {}", path_, std::strerror(errno));
    return {};
  }

 private:
  NpyFile(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  std::string path_;
  std::unique_ptr<std::FILE, decltype([](std::FILE* file) { std::fclose(file); })> file_;
};

// FNV-1a over the bits of every position's logits: one word that is the same for one and for two threads, whole and in
// chunks.
Status Logits(const LogitsFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.text));
  INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(flags.model));
  std::vector<int32_t> ids = llm->tokenizer().Encode(llm::Marked(text, flags.text.parse_special), {});
  if (static_cast<int64_t>(ids.size()) > flags.tokens) ids.resize(static_cast<size_t>(flags.tokens));
  const auto vocab_size = static_cast<size_t>(llm->model().spec().vocab_size);
  uint64_t hash = 14695981039346656037u;
  const size_t count = ids.size();
  std::optional<NpyFile> npy;
  if (!flags.output.empty()) {
    INGOT_ASSIGN_OR_RETURN(npy, NpyFile::Create(flags.output, std::ssize(ids), static_cast<int64_t>(vocab_size)));
  }
  INGOT_RETURN_IF_ERROR(llm->Score(std::move(ids), static_cast<int>(flags.chunk), [&](int64_t, const float* logits) {
    for (size_t i = 0; i < vocab_size; ++i) {
      uint32_t bits;
      std::memcpy(&bits, logits + i, sizeof bits);
      hash = (hash ^ bits) * 1099511628211u;
    }
    if (npy) npy->Append(logits, vocab_size);
  }));
  if (npy) INGOT_RETURN_IF_ERROR(npy->Close());
  fmt::print(
      "{{\"logits_hash\":\"{:016x}\",\"positions\":{},\"threads\":{},\"chunk\":{},\"isa\":\"{}\",\"compute\":\"{}\"}}"
      "\n",
      hash, count, llm->options().num_threads, flags.chunk, ops::GetIsaInfo().chosen,
      llm::ComputeName(llm::ComputeOf(llm->options())));
  return {};
}

void DeclarePpl(Flags& eval) {
  Flags& command = eval.Command("ppl", "Perplexity of a model on a text");
  const auto flags = std::make_shared<PplFlags>();
  AddModelFlags(command, &flags->model);
  AddTextFlags(command, &flags->text);
  command.Add("--window", &flags->window, "tokens of a window; its second half is scored");
  command.Add("--json", &flags->json, "one JSON object");
  command.Example("ingot eval ppl smollm2 --file text.txt");
  command.OnRun([flags] { return Ppl(*flags); });
}

void DeclareDiff(Flags& eval) {
  Flags& command =
      eval.Command("diff", "How model B differs from model A: divergence, agreement, the first layer that differs");
  const auto flags = std::make_shared<DiffFlags>();
  AddModelFlags(command, &flags->a);
  command.Positional("MODEL_B", &flags->b, "the other model");
  command.AddChoice("--compute-b", &flags->compute_b, {"", "auto", "fast", "exact"}, "how B computes; default: as A");
  command.AddNamed("--quant-policy-b", &flags->quant_policy_b, kQuantPolicies, "bits of B's KV cache; default: as A");
  AddTextFlags(command, &flags->text);
  command.Add("--window", &flags->window, "tokens of a window; its second half is compared");
  command.Add("--max-windows", &flags->max_windows, "0: all");
  command.Add("--json", &flags->json, "one JSON object");
  command.Example("ingot eval diff original-hf quantized.gguf --file text.txt");
  command.Example("ingot eval diff smollm2 smollm2 --quant-policy-b 4 --file text.txt");
  command.OnRun([flags] { return Diff(*flags); });
}

void DeclareLogits(Flags& eval) {
  Flags& command = eval.Command("logits", "One hash over the logits of every position: equal bits, equal hash");
  const auto flags = std::make_shared<LogitsFlags>();
  AddModelFlags(command, &flags->model);
  AddTextFlags(command, &flags->text);
  command.Add("--tokens", &flags->tokens, "use only the first N tokens", {1, 1e9});
  command.Add("--chunk", &flags->chunk, "prefill in chunks of N tokens; 0: --max-prefill-token-num");
  command.Add("--output", &flags->output, "write the logits, a .npy file of float32 [positions, vocabulary]");
  command.Example("ingot eval logits smollm2 --file text.txt --threads 1");
  command.OnRun([flags] { return Logits(*flags); });
}

}  // namespace

void DeclareEval(Flags& root) {
  Flags& eval = root.Command("eval", "Measure a model: ppl, diff, logits");
  DeclarePpl(eval);
  DeclareDiff(eval);
  DeclareLogits(eval);
}

}  // namespace ingot::cli
