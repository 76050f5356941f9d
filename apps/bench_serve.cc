// ingot bench serve --base-url http://HOST:PORT
#include <boost/json/serialize.hpp>

#include "base/json.h"
#include "bench.h"
#include "formats/checkpoint.h"
#include "progress_bar.h"
#include "remote.h"
#include "tokenizer/tokenizer.h"

namespace ingot::cli {
namespace {

struct ServeFlags {
  std::string base_url = "http://127.0.0.1:23333", endpoint = "completions", tokenizer, extra_body;
  ServerFlags server;
  PromptFlags prompts;
  ReportFlags report;
  std::optional<double> request_rate;  // none, or infinite: all at once
  int max_concurrency = 0;
  int64_t num_warmups = 0;
  double temperature = 0;
  bool ignore_eos = false, token_ids = false;
};

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kCompletions = "/v1/completions";

// Turns prompts into requests as the flags want them.
class RequestMaker {
 public:
  // `tokenizer` may be null.
  RequestMaker(const ServeFlags& flags, std::string model, const tokenizer::Tokenizer* tokenizer,
               boost::json::object extra)
      : flags_(flags),
        model_(std::move(model)),
        tokenizer_(tokenizer),
        extra_(std::move(extra)),
        path_(flags.endpoint.find("chat") != std::string::npos ? kChat : kCompletions) {}

  const char* path() const { return path_; }

  std::vector<bench::LoadRequest> Random(int64_t count, uint64_t seed) const {
    const PromptFlags& prompts = flags_.prompts;
    bench::RandomPrompts random(seed);
    const auto ids = tokenizer_ != nullptr ? bench::OrdinaryIds(*tokenizer_) : std::vector<int32_t>();
    const boost::json::value prefix = Draw(random, ids, prompts.prefix_len);
    std::vector<bench::LoadRequest> requests;
    for (int64_t i = 0; i < count; ++i) {
      boost::json::object body;
      const int64_t length = random.Length(prompts.input_len, prompts.range_ratio);
      SetPrompt(body, Join(prefix, Draw(random, ids, length)));
      const int64_t output_len = random.Length(prompts.output_len.value_or(kOutputLen), prompts.range_ratio);
      requests.push_back(Finish(std::move(body), path_, output_len));
    }
    return requests;
  }

  bench::LoadRequest FromEntry(const bench::DatasetEntry& entry) const {
    boost::json::object body = entry.body;
    if (body.empty()) SetPrompt(body, boost::json::string(entry.prompt));
    return Finish(std::move(body), entry.body.empty() ? path_ : entry.url,
                  OutputLength(flags_.prompts, entry, tokenizer_));
  }

 private:
  // Token ids where they are to be sent, else text; words where there is no tokenizer.
  boost::json::value Draw(bench::RandomPrompts& random, const std::vector<int32_t>& ids, int64_t count) const {
    if (tokenizer_ == nullptr) return boost::json::string(random.Words(count));
    if (!flags_.token_ids) return boost::json::string(count > 0 ? random.Text(*tokenizer_, ids, count) : "");
    const auto drawn = random.Ids(ids, count);
    return boost::json::array(drawn.begin(), drawn.end());
  }

  static boost::json::value Join(const boost::json::value& prefix, boost::json::value rest) {
    if (rest.is_array()) {
      const auto& first = prefix.get_array();
      rest.get_array().insert(rest.get_array().begin(), first.begin(), first.end());
      return rest;
    }
    if (prefix.get_string().empty()) return rest;
    return boost::json::string(std::string(prefix.get_string()) + " " + std::string(rest.get_string()));
  }

  void SetPrompt(boost::json::object& body, boost::json::value prompt) const {
    if (path_ == kCompletions) {
      body["prompt"] = std::move(prompt);
    } else {
      body["messages"] = {{{"role", "user"}, {"content", std::move(prompt)}}};
    }
  }

  bench::LoadRequest Finish(boost::json::object body, std::string path, int64_t output_len) const {
    body["model"] = model_;
    const bool limited = body.contains("max_tokens") || body.contains("max_completion_tokens");
    if (!limited || flags_.prompts.output_len) body["max_tokens"] = output_len;
    if (!body.contains("temperature") && flags_.temperature >= 0) body["temperature"] = flags_.temperature;
    if (flags_.ignore_eos) body["ignore_eos"] = true;
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    for (const auto& [key, value] : extra_) body[key] = value;
    return {std::move(path), boost::json::serialize(body)};
  }

  const ServeFlags& flags_;
  const std::string model_;
  const tokenizer::Tokenizer* const tokenizer_;
  const boost::json::object extra_;
  const char* const path_;
};

Status CheckFlags(const ServeFlags& flags) {
  if (flags.request_rate && !(*flags.request_rate > 0))
    return InvalidArgument("--request-rate {} is not above 0", *flags.request_rate);
  if (flags.token_ids && flags.tokenizer.empty())
    return InvalidArgument("--send-token-ids needs --tokenizer MODEL, which says what ids there are");
  if (flags.token_ids && flags.endpoint.find("chat") != std::string::npos)
    return InvalidArgument("--send-token-ids: only /v1/completions takes token ids");
  return {};
}

Result<std::unique_ptr<tokenizer::Tokenizer>> LoadTokenizer(const std::string& model) {
  INGOT_ASSIGN_OR_RETURN(const auto checkpoint, OpenModel(model, {.weights = false}));
  return tokenizer::Tokenizer::Create(checkpoint->vocabulary());
}

Result<boost::json::object> ParseExtraBody(const std::string& text) {
  if (text.empty()) return boost::json::object();
  INGOT_ASSIGN_OR_RETURN(const auto json, ParseJson(text, "--extra-body"));
  INGOT_ASSIGN_OR_RETURN(const auto* object, JsonView(json, "--extra-body").AsObject());
  return *object;
}

std::string HeadJson(const ServeFlags& flags, const std::string& model, const char* path) {
  std::string out = R"({"benchmark":"serve","base_url":)";
  AppendJsonString(out, flags.base_url);
  out += R"(,"model":)";
  AppendJsonString(out, model);
  out += fmt::format(R"(,"endpoint":"{}","num_prompts":{},"request_rate":)", path, flags.prompts.num_prompts);
  AppendJsonNumber(out, flags.request_rate.value_or(std::numeric_limits<double>::infinity()));
  out += fmt::format(R"(,"max_concurrency":{},"seed":{},)", flags.max_concurrency, flags.prompts.seed);
  return out;
}

Result<std::vector<bench::LoadRequest>> MakeRequests(const ServeFlags& flags, const RequestMaker& maker) {
  if (flags.prompts.dataset.empty())
    return maker.Random(flags.prompts.num_prompts, static_cast<uint64_t>(flags.prompts.seed));
  INGOT_ASSIGN_OR_RETURN(const auto entries, ReadPrompts(flags.prompts));
  std::vector<bench::LoadRequest> requests;
  for (const bench::DatasetEntry& entry : entries) requests.push_back(maker.FromEntry(entry));
  return requests;
}

// Requests that are not measured, with prompts of their own.
Status WarmUp(client::HttpClient& http, const ServeFlags& flags, const RequestMaker& maker) {
  if (flags.num_warmups == 0) return {};
  const auto result = GenerateLoad(http, maker.Random(flags.num_warmups, ~static_cast<uint64_t>(flags.prompts.seed)),
                                   {.max_concurrency = flags.max_concurrency});
  for (const bench::RequestRecord& record : result.records) {
    if (!record.ok()) return Unavailable("a warm-up request failed: {}", record.message);
  }
  return {};
}

Status ServeBench(const ServeFlags& flags) {
  INGOT_RETURN_IF_ERROR(CheckFlags(flags));
  INGOT_ASSIGN_OR_RETURN(const auto options, ToReportOptions(flags.report));
  INGOT_ASSIGN_OR_RETURN(auto extra, ParseExtraBody(flags.extra_body));
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  if (!flags.tokenizer.empty()) {
    INGOT_ASSIGN_OR_RETURN(tokenizer, LoadTokenizer(flags.tokenizer));
  }
  INGOT_ASSIGN_OR_RETURN(const auto http, ConnectServer(flags.base_url, flags.server));
  INGOT_ASSIGN_OR_RETURN(const std::string model, ChooseModel(*http, flags.server));
  const RequestMaker maker(flags, model, tokenizer.get(), std::move(extra));
  INGOT_ASSIGN_OR_RETURN(auto requests, MakeRequests(flags, maker));
  INGOT_RETURN_IF_ERROR(WarmUp(*http, flags, maker));
  bench::LoadResult result;
  bool interrupted = false;
  {
    ProgressBar bar("requests");
    const InterruptGuard interrupt;
    const bench::LoadOptions load{
        .request_rate = flags.request_rate.value_or(std::numeric_limits<double>::infinity()),
        .seed = static_cast<uint64_t>(flags.prompts.seed),
        .max_concurrency = flags.max_concurrency,
        .interrupted = [&] { return interrupted = interrupt.interrupted(); },
        .on_progress = [&](int64_t done) { bar.UpdateCount(done, flags.prompts.num_prompts); }};
    result = GenerateLoad(*http, std::move(requests), load);
  }
  PrintReport(HeadJson(flags, model, maker.path()), fmt::format("{} at {}{}", model, flags.base_url, maker.path()),
              result, flags.report, options);
  return OutcomeOf(result, interrupted);
}

void AddLoadFlags(Flags& command, ServeFlags* flags) {
  command.Add("--request-rate", &flags->request_rate,
              "requests a second, arriving at random (Poisson); default, or inf: all at once");
  command.Add("-c,--max-concurrency,--concurrency", &flags->max_concurrency,
              "requests at once at most, the next sent when one ends; 0: no limit", {0, 1 << 20});
  command.Add("--num-warmups", &flags->num_warmups, "warm-up requests", {0, 1e6});
  command.Add("--ignore-eos", &flags->ignore_eos, "ask for answers of the full length, if the server supports it");
  command.Add("--temperature", &flags->temperature, "of requests without one; below 0: the server's default");
  command.Add("--extra-body,--extra-request-body", &flags->extra_body, "a JSON object that is added to every request");
}

}  // namespace

void DeclareBenchServe(Flags& bench) {
  Flags& command = bench.Command("serve", "Many requests to any OpenAI server, over HTTP");
  const auto flags = std::make_shared<ServeFlags>();
  command.Add("--base-url", &flags->base_url, "the server");
  command.AddChoice("--endpoint", &flags->endpoint, {"completions", "chat", kCompletions, kChat},
                    "which of the server's answers are asked for");
  command.Add("--model-name,--model,--served-model-name", &flags->server.model_name,
              "the model's name; default: the first that the server lists");
  command.Add("--tokenizer", &flags->tokenizer,
              "a model whose tokens random prompts are made of; default: they are English words");
  command.Add("--send-token-ids", &flags->token_ids, "send random prompts as token ids, if the server accepts them");
  AddServerFlags(command, &flags->server);
  AddPromptFlags(command, &flags->prompts);
  AddLoadFlags(command, flags.get());
  AddReportFlags(command, &flags->report);
  command.Example("ingot bench serve --base-url http://127.0.0.1:8000 --tokenizer smollm2 -n 200 --max-concurrency 32");
  command.Example("ingot bench serve --dataset-path ShareGPT.json --request-rate 4 --goodput ttft:500 tpot:50");
  command.OnRun([flags] { return ServeBench(*flags); });
}

}  // namespace ingot::cli
