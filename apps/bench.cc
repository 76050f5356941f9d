// What the commands of `ingot bench` share.
#include "bench.h"

#include <charconv>

#include "base/json.h"
#include "llm/compute.h"
#include "ops/isa_info.h"

namespace ingot::cli {
namespace {

constexpr double kMaxPrompts = 1e7, kMaxTokens = 1e8;

}  // namespace

std::vector<std::string> SplitList(const std::vector<std::string>& texts) {
  std::vector<std::string> words;
  for (const std::string& text : texts) {
    for (size_t at = 0, comma; at <= text.size(); at = comma + 1) {
      comma = std::min(text.find(',', at), text.size());
      words.push_back(text.substr(at, comma - at));
    }
  }
  return words;
}

Result<std::vector<int64_t>> ParseList(const char* flag, const std::vector<std::string>& texts, int64_t max) {
  std::vector<int64_t> values;
  for (const std::string& word : SplitList(texts)) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size() || value < 1 || value > max)
      return InvalidArgument("{} '{}' is no list of numbers of 1…{}", flag, word, max);
    values.push_back(value);
  }
  return values;
}

void AddPromptFlags(Flags& flags, PromptFlags* prompts) {
  flags.Add(
      "--dataset-path,--dataset", &prompts->dataset,
      "a file of prompts: ShareGPT's JSON, OpenAI's batch format, or one prompt per line; default: random prompts");
  flags.Add("-n,--num-prompts", &prompts->num_prompts, "requests in all", {1, kMaxPrompts});
  flags.Add("--input-len,--random-input-len", &prompts->input_len, "tokens of a random prompt", {1, kMaxTokens});
  flags.Add("--output-len,--random-output-len,--sharegpt-output-len", &prompts->output_len,
            "tokens of an answer at most; default: what the dataset says, else 128", {1, kMaxTokens});
  flags.Add("--random-range-ratio", &prompts->range_ratio,
            "lengths of random prompts and answers vary by this fraction (0…1) up and down", {0, 1});
  flags.Add("--random-prefix-len", &prompts->prefix_len,
            "tokens that all random prompts begin with, in addition to the others", {0, kMaxTokens});
  flags.Add("--seed", &prompts->seed, "the same seed sends the same requests at the same times");
}

Result<std::vector<bench::DatasetEntry>> ReadPrompts(const PromptFlags& prompts) {
  const auto count = static_cast<size_t>(prompts.num_prompts);
  INGOT_ASSIGN_OR_RETURN(auto entries, bench::ReadDataset(prompts.dataset, count));
  const size_t distinct = entries.size();
  entries.reserve(count);
  for (size_t i = 0; entries.size() < count; ++i) entries.push_back(entries[i % distinct]);
  if (distinct < count) Say("{} has {} prompts; they are repeated\n", prompts.dataset, distinct);
  return entries;
}

int64_t OutputLength(const PromptFlags& prompts, const bench::DatasetEntry& entry,
                     const tokenizer::Tokenizer* tokenizer) {
  if (prompts.output_len) return *prompts.output_len;
  if (entry.output_len) return *entry.output_len;
  for (const char* name : {"max_completion_tokens", "max_tokens"}) {
    const auto* value = entry.body.if_contains(name);
    if (value != nullptr && value->is_int64()) return value->get_int64();
  }
  if (tokenizer == nullptr || entry.reply.empty()) return kOutputLen;
  return static_cast<int64_t>(tokenizer->Encode(entry.reply, {.add_special_tokens = false}).size());
}

void AddReportFlags(Flags& flags, ReportFlags* report) {
  flags.Add("--metric-percentiles,--percentiles", &report->percentiles, "which percentiles are reported");
  flags.Add("--goodput", &report->goodput, "limits in milliseconds of a good answer: ttft:200 tpot:50 e2el:5000");
  flags.Add("--json", &report->json, "one JSON object");
  flags.Add("--save-detailed,--details", &report->details, "with --json: also the figures of every request");
}

Result<bench::ReportOptions> ToReportOptions(const ReportFlags& report) {
  if (report.details && !report.json) return InvalidArgument("--save-detailed is shown with --json only");
  bench::ReportOptions options{.details = report.details};
  INGOT_ASSIGN_OR_RETURN(options.percents, bench::ParsePercents(report.percentiles));
  INGOT_ASSIGN_OR_RETURN(options.goodput, bench::ParseGoodput(report.goodput));
  return options;
}

void PrintReport(const std::string& head, const std::string& title, const bench::LoadResult& result,
                 const ReportFlags& flags, const bench::ReportOptions& options) {
  const bench::Report report = Evaluate(result.records, result.duration, options);
  if (!flags.json) return fmt::print("{}\n{}", title, ToTable(report, options));
  std::string out = head;
  AppendJson(out, report, result.records, options);
  fmt::print("{}}}\n", out);
}

Status OutcomeOf(const bench::LoadResult& result, bool interrupted) {
  int64_t failed = 0;
  const std::string* message = nullptr;
  for (const bench::RequestRecord& record : result.records) {
    if (record.ok()) continue;
    ++failed;
    if (message == nullptr) message = &record.message;
  }
  if (interrupted) return Cancelled("interrupted; the report is of what was done until then");
  if (failed > 0)
    return Unavailable("of {} requests, {} failed; the first: {}", result.records.size(), failed, *message);
  return {};
}

std::string StageName(const ops::OpWork& work) {
  return work.out_features == 0 ? work.op : fmt::format("{} {} x {}", work.op, work.out_features, work.in_features);
}

std::string EngineJson(const ModelFlags& model, const llm::Llm& llm) {
  std::string out = R"("model":)";
  AppendJsonString(out, model.options.model);
  out += fmt::format(R"(,"compute":"{}","isa":"{}","threads":{},"quant_policy":{},"max_batch_size":{},)",
                     llm::ComputeName(llm::ComputeOf(llm.options())), ops::GetIsaInfo().chosen,
                     llm.options().num_threads, llm.options().quant_policy, llm.options().max_batch_size);
  return out;
}

void DeclareBench(Flags& root) {
  Flags& bench = root.Command("bench", "Measure speed: latency, throughput, serve; kernels; and the machine: roofline");
  DeclareBenchLatency(bench);
  DeclareBenchThroughput(bench);
  DeclareBenchServe(bench);
  DeclareBenchKernels(bench);
  DeclareBenchRoofline(bench);
}

}  // namespace ingot::cli
