// What the commands of `ingot bench` share: where prompts come from, what is reported, and runs of the engine in this
// process.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/dataset.h"
#include "bench/load_generator.h"
#include "bench/random_prompts.h"
#include "common.h"
#include "ops/profile.h"

namespace ingot::cli {

// The words of "1 8 32" or "1,8,32".
std::vector<std::string> SplitList(const std::vector<std::string>& texts);
// Those as numbers of 1…max.
Result<std::vector<int64_t>> ParseList(const char* flag, const std::vector<std::string>& texts, int64_t max);

struct PromptFlags {
  std::string dataset;  // "": random prompts
  int64_t num_prompts = 100, input_len = 128, prefix_len = 0, seed = 0;
  std::optional<int64_t> output_len;
  double range_ratio = 0;
};
void AddPromptFlags(Flags& flags, PromptFlags* prompts);
// num_prompts of the dataset, from the first again where it has fewer.
Result<std::vector<bench::DatasetEntry>> ReadPrompts(const PromptFlags& prompts);
// How long the answer to an entry should be: --output-len, or what the entry says, or as long as the reply it has.
// `tokenizer` may be null: then replies say nothing.
int64_t OutputLength(const PromptFlags& prompts, const bench::DatasetEntry& entry,
                     const tokenizer::Tokenizer* tokenizer);
constexpr int64_t kOutputLen = 128;  // where nothing else is said

struct ReportFlags {
  std::string percentiles = "50,90,95,99";
  std::vector<std::string> goodput;
  bool json = false, details = false;
};
void AddReportFlags(Flags& flags, ReportFlags* report);
Result<bench::ReportOptions> ToReportOptions(const ReportFlags& report);
// To stdout. `head`: the JSON object's first members, `{"benchmark":"serve",…,`; `title`: the table's first line.
void PrintReport(const std::string& head, const std::string& title, const bench::LoadResult& result,
                 const ReportFlags& flags, const bench::ReportOptions& options);
// What to say, and exit with, after the report.
Status OutcomeOf(const bench::LoadResult& result, bool interrupted);

// Answers `requests`, so many at once (0: all that the engine takes), in this process. Refusals are records too.
struct EngineLoad {
  int64_t max_concurrency = 0;
  std::function<bool()> interrupted;
  std::function<void(int64_t done)> on_progress;  // either may be empty
};
bench::LoadResult RunEngine(llm::Llm& llm, const std::vector<llm::Request>& requests, const EngineLoad& load);

// "linear 960 x 576": an op, and of a product its matrix.
std::string StageName(const ops::OpWork& work);

// `"model":…,"compute":…,"isa":…,"threads":…,`
std::string EngineJson(const ModelFlags& model, const llm::Llm& llm);

// One per file.
void DeclareBenchLatency(Flags& bench);
void DeclareBenchThroughput(Flags& bench);
void DeclareBenchServe(Flags& bench);
void DeclareBenchRoofline(Flags& bench);
void DeclareBenchKernels(Flags& bench);

}  // namespace ingot::cli
