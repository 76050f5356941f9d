// What came of a run's requests, in the figures and under the names that vLLM's benchmarks have made usual.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "bench/statistics.h"

namespace ingot::bench {

// One request. Times are seconds since the run began.
struct RequestRecord {
  double sent = 0, end = 0;
  std::vector<double> pieces;  // when pieces of the answer came, ascending; in a stream mostly one a token
  int64_t prompt_tokens = 0;   // as the server or the engine counted them; 0: it did not tell
  int64_t cached_tokens = 0;   // of those, found in a cache
  int64_t output_tokens = 0;   // as they counted them, or as many as there are pieces
  bool has_usage = false;      // they did count
  std::string failure;         // "": answered; else its kind: an HTTP status, "connection", "timeout", …
  std::string message;         // of the failure

  bool ok() const { return failure.empty(); }
};

// Milliseconds of one answered request; nullopt where it has no such thing.
std::optional<double> TimeToFirstToken(const RequestRecord& record);    // needs a piece
std::optional<double> TimePerOutputToken(const RequestRecord& record);  // after the first; needs two tokens
double EndToEndLatency(const RequestRecord& record);

// Limits, in milliseconds, that a good answer keeps to.
struct Goodput {
  std::optional<double> ttft, tpot, e2el;
};
// "ttft:200", "tpot:50", "e2el:1000", each once.
Result<std::optional<Goodput>> ParseGoodput(const std::vector<std::string>& texts);
// "50,90,99.9": ascending, each in [0, 100].
Result<std::vector<double>> ParsePercents(const std::string& text);

struct ReportOptions {
  std::vector<double> percents = {50, 90, 95, 99};
  std::optional<Goodput> goodput;
  bool details = false;  // AppendJson tells of every request
};

struct Report {
  double duration = 0;  // seconds
  int64_t completed = 0, failed = 0;
  std::map<std::string, int64_t> failures;  // by kind
  std::string first_failure;                // a message
  // Of the answered ones.
  int64_t total_input_tokens = 0, total_cached_tokens = 0, total_output_tokens = 0;
  int64_t with_usage = 0;         // requests whose tokens the other side counted
  std::optional<int64_t> good;    // requests that kept to the limits, where there are any
  Summary ttft, tpot, itl, e2el;  // milliseconds. itl: gaps between pieces, of all answers in one row

  double PerSecond(int64_t count) const { return duration > 0 ? static_cast<double>(count) / duration : 0; }
};
Report Evaluate(std::span<const RequestRecord> records, double duration, const ReportOptions& options);

// The members of a JSON object, the first without a comma before it: `"duration":…,"completed":…`.
void AppendJson(std::string& out, const Report& report, std::span<const RequestRecord> records,
                const ReportOptions& options);
// For people: counts, rates, a table of times.
std::string ToTable(const Report& report, const ReportOptions& options);

// "p99", "p99.9"
std::string PercentName(double percent);
// `,"mean_ttft_ms":…,"std_ttft_ms":…,"p99_ttft_ms":…`
void AppendSummary(std::string& out, const Summary& summary, const std::string& name, std::span<const double> percents);

}  // namespace ingot::bench
