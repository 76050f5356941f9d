// ingot bench throughput MODEL
#include "bench.h"
#include "progress_bar.h"

namespace ingot::cli {
namespace {

constexpr int kMaxQueue = 1 << 20;  // as many requests as may wait, so that none is refused

struct ThroughputFlags {
  ModelFlags model;
  PromptFlags prompts;
  ReportFlags report;
  int64_t max_concurrency = 0;
};

llm::Request MakeRequest(int64_t output_len) {
  llm::Request request;
  request.sampling.temperature = 0;
  request.max_tokens = output_len;
  request.ignore_eos = true;
  return request;
}

std::vector<llm::Request> RandomRequests(const PromptFlags& flags, const llm::Llm& llm) {
  const auto ids = bench::OrdinaryIds(llm.tokenizer());
  bench::RandomPrompts random(static_cast<uint64_t>(flags.seed));
  const std::vector<int32_t> prefix = random.Ids(ids, flags.prefix_len);
  std::vector<llm::Request> requests;
  for (int64_t i = 0; i < flags.num_prompts; ++i) {
    requests.push_back(MakeRequest(random.Length(flags.output_len.value_or(kOutputLen), flags.range_ratio)));
    std::vector<int32_t>& prompt = requests.back().token_ids;
    prompt = random.Ids(ids, random.Length(flags.input_len, flags.range_ratio));
    prompt.insert(prompt.begin(), prefix.begin(), prefix.end());
  }
  return requests;
}

// Of a body, the prompt and the length: how it is sampled is not what is measured.
Result<llm::Request> FromBody(const boost::json::object& body, int64_t output_len) {
  llm::Request request = MakeRequest(output_len);
  if (const auto* messages = body.if_contains("messages"); messages != nullptr && messages->is_array()) {
    request.messages = messages->get_array();
    return request;
  }
  const auto* prompt = body.if_contains("prompt");
  if (prompt != nullptr && prompt->is_string()) {
    request.prompt = std::string(prompt->get_string());
    return request;
  }
  const bool is_list = prompt != nullptr && prompt->is_array();
  for (size_t i = 0; is_list && i < prompt->get_array().size(); ++i) {
    const auto& id = prompt->get_array()[i];
    if (!id.is_int64()) break;
    request.token_ids.push_back(static_cast<int32_t>(id.get_int64()));
  }
  if (!is_list || request.token_ids.size() != prompt->get_array().size())
    return InvalidArgument("a request of the dataset has neither messages, nor one prompt of text or token ids");
  return request;
}

Result<std::vector<llm::Request>> DatasetRequests(const PromptFlags& flags, const llm::Llm& llm) {
  INGOT_ASSIGN_OR_RETURN(const auto entries, ReadPrompts(flags));
  std::vector<llm::Request> requests;
  for (const bench::DatasetEntry& entry : entries) {
    const int64_t output_len = OutputLength(flags, entry, &llm.tokenizer());
    if (!entry.body.empty()) {
      INGOT_ASSIGN_OR_RETURN(llm::Request request, FromBody(entry.body, output_len));
      requests.push_back(std::move(request));
    } else {
      requests.push_back(MakeRequest(output_len));
      requests.back().prompt = entry.prompt;
    }
  }
  return requests;
}

Status Throughput(const ThroughputFlags& flags) {
  INGOT_ASSIGN_OR_RETURN(const auto options, ToReportOptions(flags.report));
  ModelFlags model = flags.model;
  model.options.max_queue = kMaxQueue;
  INGOT_ASSIGN_OR_RETURN(const auto llm, LoadModel(model));
  std::vector<llm::Request> requests;
  if (flags.prompts.dataset.empty()) {
    requests = RandomRequests(flags.prompts, *llm);
  } else {
    INGOT_ASSIGN_OR_RETURN(requests, DatasetRequests(flags.prompts, *llm));
  }
  const int64_t concurrency = flags.max_concurrency > 0 ? flags.max_concurrency : kMaxQueue;
  bench::LoadResult result;
  bool interrupted = false;
  {
    ProgressBar bar("requests");
    const InterruptGuard interrupt;
    result = RunEngine(*llm, requests,
                       {.max_concurrency = concurrency,
                        .interrupted = [&] { return interrupted = interrupt.interrupted(); },
                        .on_progress = [&](int64_t done) { bar.UpdateCount(done, flags.prompts.num_prompts); }});
  }
  const std::string head =
      fmt::format(R"({{"benchmark":"throughput",{}"num_prompts":{},"max_concurrency":{},"seed":{},)",
                  EngineJson(flags.model, *llm), flags.prompts.num_prompts, flags.max_concurrency, flags.prompts.seed);
  PrintReport(head, flags.model.options.model, result, flags.report, options);
  return OutcomeOf(result, interrupted);
}

}  // namespace

void DeclareBenchThroughput(Flags& bench) {
  Flags& command = bench.Command("throughput", "Many requests to an engine in this process");
  const auto flags = std::make_shared<ThroughputFlags>();
  AddModelFlags(command, &flags->model);
  AddPromptFlags(command, &flags->prompts);
  command.Add("-c,--max-concurrency,--concurrency", &flags->max_concurrency,
              "requests at once; 0: all, and times count from then on", {0, kMaxQueue});
  AddReportFlags(command, &flags->report);
  command.Example("ingot bench throughput smollm2 --input-len 128 --output-len 64 -n 64 -c 32");
  command.Example("ingot bench throughput smollm2 --dataset-path ShareGPT.json -n 200");
  command.OnRun([flags] { return Throughput(*flags); });
}

}  // namespace ingot::cli
