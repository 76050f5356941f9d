#include "bench/report.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/json.h"

namespace ingot::bench {
namespace {

constexpr double kMsPerSecond = 1000;

// What a missing time cannot exceed.
bool Keeps(std::optional<double> value, std::optional<double> limit) { return !value || !limit || *value <= *limit; }

bool IsGood(const RequestRecord& record, const Goodput& goodput) {
  return Keeps(TimeToFirstToken(record), goodput.ttft) && Keeps(TimePerOutputToken(record), goodput.tpot) &&
         Keeps(EndToEndLatency(record), goodput.e2el);
}

void AppendCount(std::string& out, const char* name, int64_t value) { out += fmt::format(",\"{}\":{}", name, value); }

// NaN, for what there is none of, becomes null.
void AppendNumber(std::string& out, const std::string& name, double value) {
  out += fmt::format(",\"{}\":", name);
  AppendJsonNumber(out, value);
}

double OrNan(std::optional<double> value) { return value.value_or(std::nan("")); }

void AppendRecord(std::string& out, const RequestRecord& record) {
  out += R"({"sent":)";
  AppendJsonNumber(out, record.sent);
  AppendCount(out, "prompt_tokens", record.prompt_tokens);
  AppendCount(out, "cached_tokens", record.cached_tokens);
  AppendCount(out, "output_tokens", record.output_tokens);
  AppendNumber(out, "ttft_ms", OrNan(TimeToFirstToken(record)));
  AppendNumber(out, "tpot_ms", OrNan(TimePerOutputToken(record)));
  AppendNumber(out, "e2el_ms", EndToEndLatency(record));
  out += R"(,"itl_ms":[)";
  for (size_t i = 1; i < record.pieces.size(); ++i) {
    if (i > 1) out += ',';
    AppendJsonNumber(out, kMsPerSecond * (record.pieces[i] - record.pieces[i - 1]));
  }
  out += ']';
  if (!record.ok()) {
    out += R"(,"failure":)";
    AppendJsonString(out, record.failure);
    out += R"(,"message":)";
    AppendJsonString(out, record.message);
  }
  out += '}';
}

// Who counted the tokens.
const char* UsageSource(const Report& report) {
  if (report.with_usage == report.completed) return "usage";
  return report.with_usage == 0 ? "pieces" : "mixed";
}

std::string Row(const char* name, const Summary& summary) {
  std::string row = fmt::format("{:<10}", name);
  if (summary.count == 0) return row + "         –\n";
  row += fmt::format("{:>10.2f}{:>10.2f}{:>10.2f}", summary.mean, summary.stddev, summary.median);
  for (const double value : summary.percentiles) row += fmt::format("{:>10.2f}", value);
  return row + fmt::format("{:>10.2f}\n", summary.max);
}

}  // namespace

std::optional<double> TimeToFirstToken(const RequestRecord& record) {
  if (record.pieces.empty()) return std::nullopt;
  return kMsPerSecond * (record.pieces.front() - record.sent);
}

std::optional<double> TimePerOutputToken(const RequestRecord& record) {
  if (record.pieces.empty() || record.output_tokens < 2) return std::nullopt;
  return kMsPerSecond * (record.end - record.pieces.front()) / static_cast<double>(record.output_tokens - 1);
}

double EndToEndLatency(const RequestRecord& record) { return kMsPerSecond * (record.end - record.sent); }

Result<std::optional<Goodput>> ParseGoodput(const std::vector<std::string>& texts) {
  if (texts.empty()) return std::nullopt;
  Goodput goodput;
  for (const std::string& text : texts) {
    const size_t colon = std::min(text.find(':'), text.size());
    const std::string name = text.substr(0, colon);
    std::optional<double>* const limit = name == "ttft"                    ? &goodput.ttft
                                         : name == "tpot"                  ? &goodput.tpot
                                         : name == "e2el" || name == "e2e" ? &goodput.e2el
                                                                           : nullptr;
    double value = -1;
    const char* const end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data() + std::min(colon + 1, text.size()), end, value);
    if (limit == nullptr || *limit || error != std::errc() || parsed != end || !(value >= 0)) {
      return InvalidArgument("goodput '{}' is not ttft:MS, tpot:MS or e2el:MS, each once", text);
    }
    *limit = value;
  }
  return goodput;
}

Result<std::vector<double>> ParsePercents(const std::string& text) {
  std::vector<double> percents;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    double value = -1;
    const auto [parsed, error] = std::from_chars(at, end, value);
    const bool in_order = percents.empty() || value > percents.back();
    if (error != std::errc() || !(value >= 0 && value <= 100) || !in_order || (parsed != end && *parsed != ','))
      return InvalidArgument("percentiles '{}' are no numbers of 0…100, ascending, with commas between them", text);
    percents.push_back(value);
    if (parsed == end) return percents;
    at = parsed + 1;
  }
}

Report Evaluate(std::span<const RequestRecord> records, double duration, const ReportOptions& options) {
  Report report{.duration = duration};
  if (options.goodput) report.good = 0;
  std::vector<double> ttft, tpot, itl, e2el;
  for (const RequestRecord& record : records) {
    if (!record.ok()) {
      if (report.failed++ == 0) report.first_failure = record.message;
      ++report.failures[record.failure];
      continue;
    }
    ++report.completed;
    report.total_input_tokens += record.prompt_tokens;
    report.total_cached_tokens += record.cached_tokens;
    report.total_output_tokens += record.output_tokens;
    report.with_usage += record.has_usage ? 1 : 0;
    if (options.goodput) *report.good += IsGood(record, *options.goodput) ? 1 : 0;
    if (const auto value = TimeToFirstToken(record)) ttft.push_back(*value);
    if (const auto value = TimePerOutputToken(record)) tpot.push_back(*value);
    for (size_t i = 1; i < record.pieces.size(); ++i)
      itl.push_back(kMsPerSecond * (record.pieces[i] - record.pieces[i - 1]));
    e2el.push_back(EndToEndLatency(record));
  }
  report.ttft = Summarize(std::move(ttft), options.percents);
  report.tpot = Summarize(std::move(tpot), options.percents);
  report.itl = Summarize(std::move(itl), options.percents);
  report.e2el = Summarize(std::move(e2el), options.percents);
  return report;
}

std::string PercentName(double percent) { return fmt::format("p{}", percent); }

void AppendSummary(std::string& out, const Summary& summary, const std::string& name,
                   std::span<const double> percents) {
  AppendNumber(out, "mean_" + name, summary.mean);
  AppendNumber(out, "median_" + name, summary.median);
  AppendNumber(out, "std_" + name, summary.stddev);
  AppendNumber(out, "min_" + name, summary.min);
  AppendNumber(out, "max_" + name, summary.max);
  for (size_t i = 0; i < percents.size(); ++i)
    AppendNumber(out, PercentName(percents[i]) + "_" + name, summary.percentiles[i]);
}

void AppendJson(std::string& out, const Report& report, std::span<const RequestRecord> records,
                const ReportOptions& options) {
  out += R"("duration":)";
  AppendJsonNumber(out, report.duration);
  AppendCount(out, "completed", report.completed);
  AppendCount(out, "failed", report.failed);
  out += R"(,"failures":{)";
  for (auto it = report.failures.begin(); it != report.failures.end(); ++it) {
    if (it != report.failures.begin()) out += ',';
    AppendJsonString(out, it->first);
    out += fmt::format(":{}", it->second);
  }
  out += '}';
  AppendCount(out, "total_input_tokens", report.total_input_tokens);
  AppendCount(out, "total_cached_tokens", report.total_cached_tokens);
  AppendCount(out, "total_output_tokens", report.total_output_tokens);
  out += fmt::format(R"(,"tokens_counted_from":"{}")", UsageSource(report));
  AppendNumber(out, "request_throughput", report.PerSecond(report.completed));
  AppendNumber(out, "input_throughput", report.PerSecond(report.total_input_tokens));
  AppendNumber(out, "output_throughput", report.PerSecond(report.total_output_tokens));
  AppendNumber(out, "total_token_throughput", report.PerSecond(report.total_input_tokens + report.total_output_tokens));
  AppendNumber(out, "request_goodput", report.good ? report.PerSecond(*report.good) : std::nan(""));
  AppendSummary(out, report.ttft, "ttft_ms", options.percents);
  AppendSummary(out, report.tpot, "tpot_ms", options.percents);
  AppendSummary(out, report.itl, "itl_ms", options.percents);
  AppendSummary(out, report.e2el, "e2el_ms", options.percents);
  if (!options.details) return;
  out += R"(,"requests":[)";
  for (size_t i = 0; i < records.size(); ++i) {
    if (i > 0) out += ',';
    AppendRecord(out, records[i]);
  }
  out += ']';
}

std::string ToTable(const Report& report, const ReportOptions& options) {
  std::string out = fmt::format("requests          {} answered, {} failed", report.completed, report.failed);
  for (const auto& [kind, count] : report.failures) out += fmt::format(" ({}: {})", kind, count);
  out += fmt::format("; {:.2f} s\n", report.duration);
  out += fmt::format("requests/s        {:.2f}\n", report.PerSecond(report.completed));
  if (report.good) {
    out += fmt::format("good requests/s   {:.2f} ({} of {} kept to the limits)\n", report.PerSecond(*report.good),
                       *report.good, report.completed);
  }
  out += fmt::format("prompt tokens     {}, {:.1f} tok/s", report.total_input_tokens,
                     report.PerSecond(report.total_input_tokens));
  if (report.with_usage == 0 && report.completed > 0) out += " (not reported)";
  if (report.total_cached_tokens > 0) out += fmt::format("; {} of them cached", report.total_cached_tokens);
  out += fmt::format("\noutput tokens     {}, {:.1f} tok/s", report.total_output_tokens,
                     report.PerSecond(report.total_output_tokens));
  if (report.with_usage < report.completed)
    out += fmt::format(" (of {} answers pieces were counted: no usage was reported)",
                       report.completed - report.with_usage);
  out += fmt::format("\n\n{:<10}{:>10}{:>10}{:>10}", "ms", "mean", "std", "median");
  for (const double percent : options.percents) out += fmt::format("{:>10}", PercentName(percent));
  out += fmt::format("{:>10}\n", "max");
  out += Row("TTFT", report.ttft) + Row("TPOT", report.tpot) + Row("ITL", report.itl) + Row("E2E", report.e2el);
  return out;
}

}  // namespace ingot::bench
