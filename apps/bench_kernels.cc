// ingot bench kernels
#include <map>

#include "base/json_writer.h"
#include "base/topology.h"
#include "bench.h"
#include "bench_limits.h"
#include "kernel_steps.h"
#include "ops/isa_info.h"

namespace ingot::cli {
namespace {

constexpr int64_t kMaxRows = 1 << 16, kMaxContext = 1 << 20;
constexpr int64_t kReadBytes = int64_t{1} << 30;
constexpr double kLimitSeconds = 0.03;

struct NamedKvFormat {
  const char* name;
  ops::KvFormat format;
};
constexpr NamedKvFormat kKvFormats[] = {{"f16", ops::KvFormat::kF16},
                                        {"bf16", ops::KvFormat::kBF16},
                                        {"i8", ops::KvFormat::kI8},
                                        {"i4", ops::KvFormat::kI4}};

struct KernelFlags {
  std::string shape = "1b", ops = "all", compute = "fast";
  std::vector<std::string> formats = {"q4_0,q4_k,awq,q8_0,bf16"}, rows = {"1,32,512"};
  std::vector<std::string> kv_formats = {"f16,i8,i4"}, contexts = {"2048,8192"}, chunks = {"1,512"};
  int64_t batch_size = 1, threads = 0, repeats = 5;
  bool json = false;
};

// What the rounds gave of one op: by call.
struct Series {
  ops::OpWork work;
  std::string format;  // of weights or of the cache; "": neither
  int64_t context;     // positions of a sequence; 0: no matter
  int64_t calls;       // of a step
  std::string limit;   // the multiplication that bounds it; "": none does alone
  std::vector<double> seconds, read_share, multiply_share;
};

// The multiplication that bounds a product on this instruction set; with int8 activations AVX2 takes several.
std::string LimitOf(const std::string& isa, int bits, bool exact) {
  const bool wide = isa == "avx512" || isa == "amx";
  if (exact || bits == 0 || bits == 32) return wide ? "fp32_avx512" : "fp32_avx2";
  if (isa == "amx") return "bf16_amx";
  if (bits == 16) return wide ? "bf16_avx512" : "fp32_avx2";
  return wide ? "int8_avx512" : isa == "avx2vnni" ? "int8_avx2vnni" : "";
}

class KernelBench {
 public:
  KernelBench(const KernelFlags& flags, std::unique_ptr<ops::Backend> backend, Buffer memory)
      : flags_(flags), isa_(ops::GetIsaInfo().chosen), backend_(std::move(backend)), memory_(std::move(memory)) {
    for (const ops::MultiplyLimit& limit : ops::MultiplyLimits()) limits_.emplace(limit.name, limit);
  }

  // Runs `step` in rounds. Each round measures the machine's limits and the ops within moments of each other, because
  // a shared machine changes its speed from minute to minute.
  Status Measure(const std::string& format, int64_t context_len, int64_t scratch_bytes,
                 const std::function<void(const ops::Context&)>& step) {
    INGOT_ASSIGN_OR_RETURN(ops::Scratch scratch, ops::Scratch::Allocate(*backend_, scratch_bytes));
    ops::Profile profile;
    const ops::Context context{.backend = backend_.get(),
                               .scratch = &scratch,
                               .compute = flags_.compute == "exact" ? ops::Compute::kExact : ops::Compute::kFast,
                               .profile = &profile};
    std::vector<Series> all;
    step(context);  // warms up
    for (int64_t round = 0; round < flags_.repeats; ++round) {
      const double read = ReadRate(*backend_->host().pool, memory_, kReadBytes, kLimitSeconds);
      std::map<std::string, double> multiply = {{"", 0}};
      profile.Clear();
      step(context);
      for (const ops::Profile::Stage& stage : profile.stages()) {
        if (std::string_view(stage.work.op) == "begin_step") continue;
        Series& series = SeriesOf(stage, format, context_len, &all);
        const auto calls = static_cast<double>(stage.calls);
        if (!multiply.contains(series.limit))
          multiply[series.limit] = MultiplyRate(*backend_->host().pool, limits_.at(series.limit), kLimitSeconds);
        series.seconds.push_back(stage.seconds / calls);
        series.read_share.push_back(stage.work.bytes / stage.seconds / read);
        if (!series.limit.empty())
          series.multiply_share.push_back(stage.work.products / stage.seconds / multiply[series.limit]);
      }
    }
    for (Series& series : all) {
      if (!flags_.json) Print(series);
      series_.push_back(std::move(series));
    }
    return {};
  }

  Status Products(const NamedFormat& format, const std::vector<int64_t>& rows) {
    INGOT_ASSIGN_OR_RETURN(const ProductSteps steps,
                           ProductSteps::Make(*backend_, ModelShapeNamed(flags_.shape), format.format));
    for (const int64_t count : rows) {
      INGOT_RETURN_IF_ERROR(Measure(format.name, 0, steps.ScratchBytes(*backend_, count),
                                    [&](const ops::Context& context) { steps.Run(context, count); }));
    }
    return {};
  }

  Status Attention(const NamedKvFormat& format, AttentionSize size) {
    INGOT_ASSIGN_OR_RETURN(AttentionSteps steps,
                           AttentionSteps::Make(*backend_, ModelShapeNamed(flags_.shape), format.format, size));
    return Measure(format.name, size.context, steps.ScratchBytes(*backend_),
                   [&](const ops::Context& context) { steps.Run(context); });
  }

  static void PrintHeader() {
    fmt::print("{:<28}{:<8}{:>6}{:>9}{:>12}{:>20}{:>9}{:>9}{:>13}{:>12}\n", "op", "format", "rows", "context",
               "us/call", "min…max", "GB/s", "of read", "G mul-add/s", "of multiply");
  }

  std::string Json() const {
    return JsonObject()
        .Add("benchmark", "kernels")
        .Add("isa", isa_)
        .Add("threads", backend_->host().pool->num_threads())
        .Add("shape", flags_.shape)
        .Add("compute", flags_.compute)
        .Add("num_iters", flags_.repeats)
        .AddJson("ops", JsonList(series_, ToJson))
        .Text();
  }

 private:
  Series& SeriesOf(const ops::Profile::Stage& stage, const std::string& format, int64_t context_len,
                   std::vector<Series>* all) const {
    const ops::OpWork& work = stage.work;
    const bool is_cached = std::string_view(work.op) == "attention" || std::string_view(work.op) == "rope_kv_write";
    const auto found = std::ranges::find_if(*all, [&](const Series& s) { return ops::IsSameStage(s.work, work); });
    if (found != all->end()) return *found;
    Series series{.work = work,
                  .format = work.bits > 0 || is_cached ? format : "",
                  .context = is_cached ? context_len : 0,
                  .calls = stage.calls,
                  .limit = work.products > 0 ? LimitOf(isa_, work.bits, flags_.compute == "exact") : ""};
    if (!series.limit.empty() && !limits_.contains(series.limit)) series.limit = LimitOf(isa_, 0, true);
    series.work.bytes /= static_cast<double>(stage.calls);
    series.work.products /= static_cast<double>(stage.calls);
    return all->emplace_back(std::move(series));
  }

  static void Print(const Series& series) {
    const bench::Summary seconds = bench::Summarize(series.seconds, {});
    const auto percent = [](const std::vector<double>& shares) {
      return shares.empty() ? std::string("-") : fmt::format("{:.0f}%", 100 * bench::Summarize(shares, {}).median);
    };
    fmt::print("{:<28}{:<8}{:>6}{:>9}{:>12.1f}{:>20}{:>9.2f}{:>9}{:>13.1f}{:>12}\n", StageName(series.work),
               series.format, series.work.rows, series.context > 0 ? std::to_string(series.context) : "",
               seconds.median * 1e6, fmt::format("{:.1f}…{:.1f}", seconds.min * 1e6, seconds.max * 1e6),
               series.work.bytes / seconds.median / 1e9, percent(series.read_share),
               series.work.products / seconds.median / 1e9, percent(series.multiply_share));
    std::fflush(stdout);
  }

  static std::string ToJson(const Series& series) {
    const bench::Summary seconds = bench::Summarize(series.seconds, {});
    JsonObject json;
    json.Add("op", series.work.op)
        .Add("format", series.format)
        .Add("rows", series.work.rows)
        .Add("calls", series.calls);
    if (series.context > 0) json.Add("context", series.context);
    if (series.work.out_features > 0)
      json.Add("out_features", series.work.out_features).Add("in_features", series.work.in_features);
    json.Add("us", seconds.median * 1e6).Add("min_us", seconds.min * 1e6).Add("max_us", seconds.max * 1e6);
    json.Add("gbyte_per_s", series.work.bytes / seconds.median / 1e9);
    json.Add("read_share", bench::Summarize(series.read_share, {}).median);
    if (!series.multiply_share.empty()) {
      json.Add("gmac_per_s", series.work.products / seconds.median / 1e9).Add("multiply_limit", series.limit);
      json.Add("multiply_share", bench::Summarize(series.multiply_share, {}).median);
    }
    return json.Text();
  }

  const KernelFlags& flags_;
  const std::string isa_;
  const std::unique_ptr<ops::Backend> backend_;
  const Buffer memory_;
  std::map<std::string, ops::MultiplyLimit> limits_;
  std::vector<Series> series_;
};

// The entries of `known` that "a b,c" names.
template <typename Known>
Result<std::vector<typename Known::value_type>> Pick(const char* flag, const std::vector<std::string>& texts,
                                                     Known known) {
  std::vector<typename Known::value_type> picked;
  for (const std::string& name : SplitList(texts)) {
    const auto found = std::ranges::find_if(known, [&](const auto& entry) { return name == entry.name; });
    if (found == known.end()) {
      std::string names;
      for (const auto& entry : known) names += (names.empty() ? "" : ", ") + std::string(entry.name);
      return InvalidArgument("{}: no format '{}'; there are {}", flag, name, names);
    }
    picked.push_back(*found);
  }
  return picked;
}

Status Kernels(const KernelFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const auto rows, ParseList("--rows", flags.rows, kMaxRows));
  INGOT_ASSIGN_OR_RETURN(const auto contexts, ParseList("--contexts", flags.contexts, kMaxContext));
  INGOT_ASSIGN_OR_RETURN(const auto chunks, ParseList("--chunks", flags.chunks, kMaxRows));
  INGOT_ASSIGN_OR_RETURN(const auto formats, Pick("--formats", flags.formats, WeightFormats()));
  INGOT_ASSIGN_OR_RETURN(const auto kv_formats,
                         Pick("--kv-formats", flags.kv_formats, std::span<const NamedKvFormat>(kKvFormats)));
  const int threads = flags.threads > 0 ? static_cast<int>(flags.threads) : GetCpuAllowance().usable_threads;
  INGOT_ASSIGN_OR_RETURN(Buffer memory, TouchedBuffer(kReadBytes));
  KernelBench bench(flags, ops::MakeCpuBackend(threads), std::move(memory));
  if (!flags.json) KernelBench::PrintHeader();
  for (const NamedFormat& format : formats) {
    if (flags.ops != "attention") INGOT_RETURN_IF_ERROR(bench.Products(format, rows));
  }
  for (const NamedKvFormat& format : kv_formats) {
    for (const int64_t context : contexts) {
      for (const int64_t chunk : chunks) {
        if (flags.ops == "linear") continue;
        const AttentionSize size{static_cast<int>(flags.batch_size), static_cast<int>(context),
                                 static_cast<int>(std::min(chunk, context))};
        INGOT_RETURN_IF_ERROR(bench.Attention(format, size));
      }
    }
  }
  if (flags.json) fmt::print("{}\n", bench.Json());
  return {};
}

}  // namespace

void DeclareBenchKernels(Flags& bench) {
  Flags& command = bench.Command("kernels", "The ops of a step, each compared with what the machine does at most");
  const auto flags = std::make_shared<KernelFlags>();
  std::vector<std::string> shapes;
  for (const ModelShape& shape : ModelShapes()) shapes.emplace_back(shape.name);
  command.AddChoice("--shape", &flags->shape, shapes, "the Llama-shaped model whose matrices and heads are taken");
  command.AddChoice("--ops", &flags->ops, {"all", "linear", "attention"}, "which ops");
  command.AddChoice("--compute", &flags->compute, {"fast", "exact"}, "the products' arithmetic");
  command.Add("--formats", &flags->formats, "formats of weights [q4_0,q4_k,awq,q8_0,bf16]");
  command.Add("--rows", &flags->rows, "tokens of a step, for products [1,32,512]");
  command.Add("--kv-formats", &flags->kv_formats, "formats of the cache [f16,i8,i4]");
  command.Add("--contexts", &flags->contexts, "positions of a sequence, for attention [2048,8192]");
  command.Add("--chunks", &flags->chunks, "tokens of a sequence that are computed, for attention [1,512]");
  command.Add("--batch-size", &flags->batch_size, "sequences, for attention", {1, 4096});
  command.Add("-t,--threads", &flags->threads, "threads; 0: all that this process may use", {0, 1023});
  command.Add("--num-iters", &flags->repeats, "measurements of each figure", {1, 1e6});
  command.Add("--json", &flags->json, "one JSON object");
  command.Example("ingot bench kernels --shape 1b --formats q4_0,awq --rows 1,512");
  command.OnRun([flags] { return Kernels(*flags); });
}

}  // namespace ingot::cli
