#include "plan_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/json_writer.h"
#include "build_info.h"
#include "common.h"
#include "llm/compute.h"
#include "llm/memory_plan.h"
#include "llm/model_memory.h"
#include "text/bytes.h"

namespace ingot::cli {
namespace {

// An integer too long to read, shortened: 131072, 1.3 M.
std::string Count(int64_t count) {
  return count < 10'000'000 ? fmt::format("{}", count) : fmt::format("{:.1f} M", static_cast<double>(count) / 1e6);
}

void PrintShape(const PlanReport& report) {
  const models::ModelSpec& spec = report.spec;
  fmt::print("{}\n", report.model);
  fmt::print("  shape     {} layers, {} heads / {} KV heads of {}, {:.2f} G weights{}\n", spec.num_layers,
             spec.heads().num_heads, spec.heads().num_kv_heads, spec.heads().head_dim,
             static_cast<double>(ParametersOf(spec)) / 1e9,
             spec.num_experts > 0 ? fmt::format(", {:.2f} G of them a token",
                                                static_cast<double>(plan::ProductsOf(spec).per_token()) / 1e9)
                                  : "");
  fmt::print("  memory    {} ({})\n", FormatBytes(report.memory), report.memory_source);
  fmt::print("  wanted    {} sessions at once of {} tokens{}\n", report.options.max_batch_size,
             report.options.session_len,
             report.options.session_len > spec.max_position
                 ? fmt::format(", beyond the {} that the model was made for", spec.max_position)
                 : "");
}

void PrintRows(const PlanReport& report) {
  fmt::print("\n{:10} {:>10}  {:4} {:>10} {:>10} {:>9} {:>8} {:>9} {:>8}  {}\n", "weights", "", "KV", "a token", "free",
             "tokens", "at once", "longest", "of free", "--cache-max-entry-count");
  for (const PlanRow& row : report.rows) {
    const plan::Capacity& c = row.capacity;
    const std::string weights = PrecisionName(report, row.weights);
    if (c.free <= 0) {
      fmt::print("{:10} {:>10}  {:4} {:>10} {:>10}\n", weights, FormatBytes(c.weights), KvFormatName(row.options),
                 FormatBytes(c.kv_bytes_per_token), "none");
      continue;
    }
    fmt::print("{:10} {:>10}  {:4} {:>10} {:>10} {:>9} {:>8} {:>9} {:>8.2f}  {}\n", weights, FormatBytes(c.weights),
               KvFormatName(row.options), FormatBytes(c.kv_bytes_per_token), FormatBytes(c.free), Count(c.tokens),
               c.at_once, c.longest == plan::kLongestSession ? "any" : Count(c.longest), c.share_of_free,
               c.cache_max_entry_count ? fmt::format("{:.2f}", *c.cache_max_entry_count) : "does not fit");
  }
  fmt::print(
      "free: after the weights. at once: sessions of {} tokens. longest: of {} sessions. of free: what the cache of "
      "the sessions wanted takes.\n",
      report.options.session_len, report.options.max_batch_size);
}

void PrintDevices(const PlanReport& report) {
  if (report.devices.empty()) return;
  fmt::print(
      "\nDecode is bound by memory below these batch sizes and by arithmetic above (tokens/s of one session):\n");
  fmt::print("{:10}", "");
  for (const plan::Scheme scheme : plan::kSchemes) fmt::print(" {:>18}", SchemeName(scheme));
  fmt::print("   never in FP16 from\n");
  for (const DeviceRow& row : report.devices) {
    fmt::print("{:10}", row.device->name);
    for (const plan::Crossover& c : row.crossovers) {
      fmt::print(" {:>18}", fmt::format("{} ({:.0f})", c.batch, c.tokens_per_second_alone));
    }
    const auto& context = row.crossovers[0].hopeless_context;
    fmt::print("   {}\n", context ? fmt::format("{} tokens of context", *context) : "-");
  }
}

void PrintMeasured(const PlanReport& report) {
  const plan::Measured& m = *report.measured;
  fmt::print("\nmeasured with random weights in {} under a cap of {}:\n", PrecisionName(report, report.chosen->weights),
             FormatBytes(report.memory));
  fmt::print("  planned   {}: program {}, weights {}, workspace {}, cache {} of {} filled\n", FormatBytes(m.predicted),
             FormatBytes(m.program), FormatBytes(m.plan.weights), FormatBytes(m.plan.workspace + m.plan.kv_tails),
             FormatBytes(m.kv_touched), FormatBytes(m.plan.kv));
  fmt::print("  peak      {} ({:.1f} % of the plan); at most {} once the cache is full\n", FormatBytes(m.peak),
             100.0 * static_cast<double>(m.peak) / static_cast<double>(m.predicted), FormatBytes(m.at_most));
  fmt::print("  speed     prefill {:.1f} tokens/s, decode {:.1f} tokens/s with {} at once; loaded in {:.1f} s\n",
             m.prefill_tokens_per_second, m.decode_tokens_per_second, m.plan.max_batch_size, m.load_seconds);
}

std::string RowJson(const PlanReport& report, const PlanRow& row) {
  const plan::Capacity& c = row.capacity;
  JsonObject json;
  json.Add("weights", WeightsName(row.weights)).Add("quant_policy", row.options.quant_policy);
  json.Add("weight_bytes", c.weights).Add("kv_bytes_per_token", c.kv_bytes_per_token).Add("free_bytes", c.free);
  json.Add("workspace_bytes", c.workspace).Add("kv_bytes", c.kv).Add("tokens", c.tokens).Add("at_once", c.at_once);
  json.Add("longest", c.longest).Add("share_of_free", c.share_of_free).Add("fits", c.cache_max_entry_count.has_value());
  if (!c.cache_max_entry_count) return json.Text();
  json.Add("cache_max_entry_count", *c.cache_max_entry_count).Add("command", ServeCommand(report, row));
  json.Add("ledger", FormatLedger(*c.plan, row.options, {.total_bytes = report.memory, .available_bytes = c.free}));
  return json.Text();
}

std::string DeviceJson(const DeviceRow& row) {
  const plan::Device& device = *row.device;
  JsonObject json;
  json.Add("device", device.name).Add("memory_bytes", device.memory).Add("bytes_per_second", device.bandwidth);
  json.Add("fp16_flops", device.fp16_flops).Add("int8_ops", device.int8_ops);
  for (size_t i = 0; i < std::size(plan::kSchemes); ++i) {
    const plan::Crossover& c = row.crossovers[i];
    json.AddJson(SchemeName(plan::kSchemes[i]), JsonObject()
                                                    .Add("batch", c.batch)
                                                    .Add("tokens_per_second_alone", c.tokens_per_second_alone)
                                                    .Add("tokens_per_second", c.tokens_per_second)
                                                    .Add("hopeless_context", c.hopeless_context)
                                                    .Text());
  }
  return json.Text();
}

std::string MeasuredJson(const plan::Measured& m) {
  JsonObject json;
  json.Add("planned_bytes", m.predicted).Add("peak_bytes", m.peak).Add("at_most_bytes", m.at_most);
  json.Add("program_bytes", m.program).Add("weight_bytes", m.plan.weights);
  json.Add("workspace_bytes", m.plan.workspace + m.plan.kv_tails).Add("kv_bytes", m.plan.kv);
  json.Add("kv_touched_bytes", m.kv_touched).Add("load_seconds", m.load_seconds);
  json.Add("prefill_tokens_per_second", m.prefill_tokens_per_second);
  json.Add("decode_tokens_per_second", m.decode_tokens_per_second);
  return json.Text();
}

}  // namespace

int64_t ParametersOf(const models::ModelSpec& spec) {
  const plan::Products products = plan::ProductsOf(spec);
  const int64_t table = spec.tied_embeddings ? 0 : spec.vocab_size * spec.hidden_size;
  return products.shared + products.expert * products.experts + products.head + table;
}

std::string PrecisionName(const PlanReport& report, plan::Weights weights) {
  if (weights == plan::Weights::kW4) return fmt::format("w4 g{}", report.group_size);
  return weights == plan::Weights::kStored ? "as it is" : plan::WeightsName(weights);
}

std::string ServeCommand(const PlanReport& report, const PlanRow& row) {
  const llm::LoadOptions& o = row.options;
  std::string line = fmt::format("ingot serve api_server {} --session-len {} --max-batch-size {}",
                                 row.weights == plan::Weights::kStored ? ShellQuoted(report.model) : "MODEL",
                                 o.session_len, o.max_batch_size);
  if (o.quant_policy != 0) line += fmt::format(" --quant-policy {}", o.quant_policy);
  line += fmt::format(" --cache-max-entry-count {:.2f}", row.capacity.cache_max_entry_count.value_or(1.0));
  const llm::LoadOptions usual = llm::WithDefaults({});
  if (llm::ComputeOf(o) != llm::ChooseCompute(llm::Compute::kAuto, report.spec).compute)
    line += fmt::format(" --compute {}", llm::ComputeName(llm::ComputeOf(o)));
  if (report.serves_on_cuda) line += " --device cuda";
  if (o.num_threads != usual.num_threads) line += fmt::format(" --threads {}", o.num_threads);
  if (o.cache_block_seq_len != usual.cache_block_seq_len)
    line += fmt::format(" --cache-block-seq-len {}", o.cache_block_seq_len);
  if (o.max_prefill_token_num != usual.max_prefill_token_num) {
    line += fmt::format(" --max-prefill-token-num {}", o.max_prefill_token_num);
  }
  return line;
}

void PrintPlan(const PlanReport& report) {
  PrintShape(report);
  PrintRows(report);
  if (report.chosen != nullptr) {
    fmt::print("\nThe most precise that fits:\n  {}\n", ServeCommand(report, *report.chosen));
    if (report.chosen->weights != plan::Weights::kStored) {
      fmt::print("MODEL: the model with its weights in {}.\n", PrecisionName(report, report.chosen->weights));
    }
    if (report.device != nullptr) {
      fmt::print("That is planned for {}; {}.\n", report.device->title, INGOT_COMPUTES_ON);
    }
  }
  PrintDevices(report);
  if (report.measured) PrintMeasured(report);
}

void PrintPlanJson(const PlanReport& report) {
  const auto row_json = [&](const PlanRow& row) { return RowJson(report, row); };
  const bool has_chosen = report.chosen != nullptr;
  JsonObject json;
  json.Add("model", report.model).Add("family", report.spec.family).Add("parameters", ParametersOf(report.spec));
  json.Add("max_position", report.spec.max_position).Add("memory_bytes", report.memory);
  json.Add("session_len", report.options.session_len).Add("max_batch_size", report.options.max_batch_size);
  json.AddJson("rows", JsonList(report.rows, row_json));
  json.Add("chosen", has_chosen ? std::optional(report.chosen - report.rows.data()) : std::nullopt);
  json.AddJson("devices", JsonList(report.devices, DeviceJson));
  if (report.measured) json.AddJson("measured", MeasuredJson(*report.measured));
  fmt::print("{}\n", json.Text());
}

Status NothingFits(const PlanReport& report) {
  const auto needs = [&](const PlanRow& row) {
    const plan::Capacity& c = row.capacity;
    return c.weights + c.workspace +
           static_cast<int64_t>(std::ceil(static_cast<double>(c.kv) / report.options.cache_max_entry_count));
  };
  const PlanRow& least = *std::ranges::min_element(report.rows, {}, needs);
  const plan::Capacity& c = least.capacity;
  const std::string what = fmt::format("{} sessions of {} tokens do not fit in {}", report.options.max_batch_size,
                                       report.options.session_len, FormatBytes(report.memory));
  const std::string with =
      fmt::format("weights in {} and a cache in {}", PrecisionName(report, least.weights), KvFormatName(least.options));
  std::string could = fmt::format("{} with {} would hold them", FormatBytes(needs(least)), with);
  if (c.at_once > 0) could = fmt::format("--max-batch-size {} fits with {}; ", c.at_once, with) + could;
  if (c.longest > 0) could = fmt::format("--session-len {} or ", c.longest) + could;
  if (c.at_once == 0 && c.longest == 0) {
    could = fmt::format("the weights alone take {} in {}; a smaller model, or fewer bits, may fit; ",
                        FormatBytes(c.weights), PrecisionName(report, least.weights)) +
            could;
  }
  return ResourceExhausted("{}: {}", what, could);
}

}  // namespace ingot::cli
