// ingot bench latency MODEL
#include <algorithm>
#include <limits>

#include "base/json_writer.h"
#include "bench.h"
#include "progress_bar.h"

namespace ingot::cli {
namespace {

constexpr int64_t kMaxLength = 1 << 24;
constexpr int64_t kMaxBatch = 4096;

struct LatencyFlags {
  ModelFlags model;
  ReportFlags report;
  std::vector<std::string> batch_sizes = {"1"}, input_lens = {"128"}, output_lens = {"64"};
  int64_t warmup = 1, repeats = 5, seed = 0;
  bool profile = false;
};

struct Shape {
  int64_t batch_size, input_len, output_len;
};

// What one shape's repeats gave.
struct Measured {
  Shape shape;
  bench::Report report;                     // over all requests of all repeats
  bench::Summary prefill, decode, seconds;  // over repeats: tokens a second, tokens a second, seconds of the whole
};

Result<std::vector<Shape>> Shapes(const LatencyFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const auto batch_sizes, ParseList("--batch-size", flags.batch_sizes, kMaxBatch));
  INGOT_ASSIGN_OR_RETURN(const auto input_lens, ParseList("--input-len", flags.input_lens, kMaxLength));
  INGOT_ASSIGN_OR_RETURN(const auto output_lens, ParseList("--output-len", flags.output_lens, kMaxLength));
  std::vector<Shape> shapes;
  for (const int64_t batch_size : batch_sizes) {
    for (const int64_t input_len : input_lens) {
      for (const int64_t output_len : output_lens) shapes.push_back({batch_size, input_len, output_len});
    }
  }
  return shapes;
}

// Prompts of their own each time: a prompt that was there before would be found in the cache.
std::vector<llm::Request> MakeBatch(const Shape& shape, const std::vector<int32_t>& ids, bench::RandomPrompts& random) {
  std::vector<llm::Request> requests(static_cast<size_t>(shape.batch_size));
  for (llm::Request& request : requests) {
    request.token_ids = random.Ids(ids, shape.input_len);
    request.sampling.temperature = 0;
    request.max_tokens = shape.output_len;
    request.ignore_eos = true;
  }
  return requests;
}

struct Rates {
  double prefill, decode;  // tokens a second; decode 0: one token an answer
};

// Prefill lasts until every answer has begun, and decoding of the whole batch from then on until the first ends. Where
// none is left when the last begins, it is that of the rest.
Rates RatesOf(const bench::LoadResult& result) {
  double begun = 0, ended = 0, prompts = 0, decoded = 0;
  double first_ended = std::numeric_limits<double>::infinity();
  for (const auto& record : result.records) {
    begun = std::max(begun, record.pieces.front());
    ended = std::max(ended, record.pieces.back());
    first_ended = std::min(first_ended, record.pieces.back());
    prompts += static_cast<double>(record.prompt_tokens);
  }
  if (first_ended > begun) ended = first_ended;
  for (const auto& record : result.records) {
    const auto counted = std::ranges::count_if(record.pieces, [&](double at) { return at > begun && at <= ended; });
    decoded += static_cast<double>(record.output_tokens * counted) / static_cast<double>(record.pieces.size());
  }
  return {prompts / begun, ended > begun ? decoded / (ended - begun) : 0};
}

Result<Measured> Measure(llm::Llm& llm, const Shape& shape, const LatencyFlags& flags,
                         const bench::ReportOptions& options) {
  ops::Profile* const profile = llm.options().profile;
  if (profile != nullptr) profile->Clear();
  const auto ids = bench::OrdinaryIds(llm.tokenizer());
  bench::RandomPrompts random(static_cast<uint64_t>(flags.seed));
  const InterruptGuard interrupt;
  std::vector<bench::RequestRecord> records;
  std::vector<double> prefill, decode, seconds;
  for (int64_t round = 0; round < flags.warmup + flags.repeats; ++round) {
    const auto result =
        RunEngine(llm, MakeBatch(shape, ids, random), {.interrupted = [&] { return interrupt.interrupted(); }});
    INGOT_RETURN_IF_ERROR(OutcomeOf(result, interrupt.interrupted()));
    if (round < flags.warmup) {
      if (profile != nullptr) profile->Clear();
      continue;
    }
    const Rates rates = RatesOf(result);
    prefill.push_back(rates.prefill);
    decode.push_back(rates.decode);
    seconds.push_back(result.duration);
    records.insert(records.end(), result.records.begin(), result.records.end());
  }
  double total = 0;
  for (const double value : seconds) total += value;
  return Measured{shape, Evaluate(records, total, options), bench::Summarize(prefill, options.percents),
                  bench::Summarize(decode, options.percents), bench::Summarize(seconds, options.percents)};
}

void PrintHeader() {
  fmt::print("{:>6}{:>7}{:>7}{:>10}{:>10}{:>10}{:>10}{:>10}{:>18}{:>10}{:>18}\n", "batch", "in", "out", "TTFT ms",
             "ITL ms", "p95", "p99", "prefill", "min…max", "decode", "min…max");
}

std::string MinMax(const bench::Summary& summary) { return fmt::format("{:.1f}…{:.1f}", summary.min, summary.max); }

void PrintRow(const Measured& measured) {
  const auto& [shape, report, prefill, decode, seconds] = measured;
  const auto itl = [&](size_t i) { return report.itl.percentiles[i]; };
  fmt::print("{:>6}{:>7}{:>7}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.1f}{:>18}{:>10.1f}{:>18}\n", shape.batch_size,
             shape.input_len, shape.output_len, report.ttft.median, report.itl.median, itl(0), itl(1), prefill.median,
             MinMax(prefill), decode.median, MinMax(decode));
  std::fflush(stdout);
}

// --profile: where the time of the forward passes went.
void PrintProfile(const ops::Profile& profile) {
  const std::vector<ops::Profile::Stage> stages = profile.stages();
  double total = 0;
  for (const auto& stage : stages) total += stage.seconds;
  fmt::print("  {:<38}{:>6}{:>9}{:>11}{:>8}{:>10}{:>14}\n", "op", "rows", "calls", "us/call", "share", "GB/s",
             "G mul-add/s");
  for (const auto& [work, calls, seconds] : stages) {
    const std::string name = StageName(work) + (work.bits > 0 ? fmt::format(", {} bits", work.bits) : "");
    fmt::print("  {:<38}{:>6}{:>9}{:>11.1f}{:>7.1f}%{:>10.2f}{:>14.1f}\n", name, work.rows, calls,
               seconds / static_cast<double>(calls) * 1e6, 100 * seconds / total, work.bytes / seconds / 1e9,
               work.products / seconds / 1e9);
  }
}

std::string ProfileJson(const ops::Profile& profile) {
  return JsonList(profile.stages(), [](const ops::Profile::Stage& stage) {
    JsonObject json;
    json.Add("op", stage.work.op).Add("rows", stage.work.rows).Add("calls", stage.calls).Add("seconds", stage.seconds);
    json.Add("bytes", stage.work.bytes).Add("products", stage.work.products);
    if (stage.work.out_features > 0) {
      json.Add("out_features", stage.work.out_features).Add("in_features", stage.work.in_features);
      json.Add("bits", stage.work.bits);
    }
    return json.Text();
  });
}

void AppendRun(std::string& out, const Measured& measured, const bench::ReportOptions& options,
               const ops::Profile* profile) {
  const auto& [shape, report, prefill, decode, seconds] = measured;
  out += fmt::format(R"({{"batch_size":{},"input_len":{},"output_len":{},)", shape.batch_size, shape.input_len,
                     shape.output_len);
  AppendJson(out, report, {}, options);
  AppendSummary(out, prefill, "prefill_throughput", options.percents);
  AppendSummary(out, decode, "decode_throughput", options.percents);
  AppendSummary(out, seconds, "batch_seconds", options.percents);
  if (profile != nullptr) out += ",\"profile\":" + ProfileJson(*profile);
  out += '}';
}

Status Latency(const LatencyFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const auto shapes, Shapes(flags));
  INGOT_ASSIGN_OR_RETURN(bench::ReportOptions options, ToReportOptions(flags.report));
  ModelFlags model = flags.model;
  int64_t length = 0;
  for (const Shape& shape : shapes) {
    length = std::max(length, shape.input_len + shape.output_len);
    if (flags.model.options.max_batch_size == 0)
      model.options.max_batch_size =
          static_cast<int>(std::max<int64_t>(model.options.max_batch_size, shape.batch_size));
  }
  if (model.options.session_len == 0) model.options.session_len = length;
  if (!flags.report.json) options.percents = {95, 99};  // what the table shows
  ops::Profile profile;
  if (flags.profile) model.options.profile = &profile;
  INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(model));
  std::string out = fmt::format(R"({{"benchmark":"latency",{}"num_iters":{},"num_iters_warmup":{},"runs":[)",
                                EngineJson(flags.model, *llm), flags.repeats, flags.warmup);
  if (!flags.report.json) PrintHeader();
  for (size_t i = 0; i < shapes.size(); ++i) {
    ProgressBar bar("shapes");
    bar.UpdateCount(static_cast<int64_t>(i), static_cast<int64_t>(shapes.size()));
    INGOT_ASSIGN_OR_RETURN(const Measured measured, Measure(*llm, shapes[i], flags, options));
    bar.Clear();
    if (!flags.report.json) PrintRow(measured);
    if (!flags.report.json && flags.profile) PrintProfile(profile);
    if (i > 0) out += ',';
    AppendRun(out, measured, options, model.options.profile);
  }
  if (flags.report.json) fmt::print("{}]}}\n", out);
  return {};
}

}  // namespace

void DeclareBenchLatency(Flags& bench) {
  Flags& command = bench.Command("latency", "Batches of fixed shapes on an engine in this process");
  const auto flags = std::make_shared<LatencyFlags>();
  AddModelFlags(command, &flags->model);
  command.Add("--batch-size,--concurrency", &flags->batch_sizes,
              "requests per batch; several values are measured one after another [1]");
  command.Add("--input-len,--prompt-tokens", &flags->input_lens, "tokens of a prompt; one or several values [128]");
  command.Add("--output-len,--completion-tokens", &flags->output_lens,
              "tokens of an answer; one or several values [64]");
  command.Add("--num-iters,--test-round", &flags->repeats, "batches of each shape that are measured", {1, 1e6});
  command.Add("--num-iters-warmup,--warmup-round", &flags->warmup, "warm-up batches of each shape", {0, 1e6});
  command.Add("--seed", &flags->seed, "the same seed draws the same prompts");
  command.Add("--metric-percentiles,--percentiles", &flags->report.percentiles, "with --json: which percentiles");
  command.Add("--profile", &flags->profile, "time every op of the forward passes, and print where the time goes");
  command.Add("--json", &flags->report.json, "one JSON object");
  command.Example("ingot bench latency smollm2 --input-len 512 --output-len 32 --profile");
  command.Example("ingot bench latency smollm2 --batch-size 1 8 32 --input-len 128,512 --output-len 64");
  command.OnRun([flags] { return Latency(*flags); });
}

}  // namespace ingot::cli
