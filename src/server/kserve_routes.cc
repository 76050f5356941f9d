// KServe v2 over HTTP, with Triton's generate extension: /v2…
#include "base/json_writer.h"
#include "kserve/wire_http.h"
#include "server/exchange_wrapper.h"
#include "server/model_routes.h"
#include "server/statistics.h"

namespace ingot::server {
namespace {

using kserve::Generation;
using kserve::Generator;

// The response says where its JSON ends.
struct InferAnswer {
  kserve::HttpInfer asked;
  size_t json_length = 0;
};

class InferFormat : public answers::Format {
 public:
  InferFormat(std::shared_ptr<kserve::Outputs> outputs, std::shared_ptr<InferAnswer> answer)
      : outputs_(std::move(outputs)), answer_(std::move(answer)) {}
  std::string Piece(const answers::Choice&, const llm::Event&) override { return ""; }
  std::string End(const llm::Usage&) override { return ""; }
  std::string Whole(const std::vector<answers::Choice>& choices, const llm::Usage&) override {
    kserve::HttpBody body = WriteInfer(outputs_->Whole(choices), answer_->asked);
    answer_->json_length = body.json_length;
    return std::move(body.text);
  }

 private:
  const std::shared_ptr<kserve::Outputs> outputs_;
  const std::shared_ptr<InferAnswer> answer_;
};

class InferExchange : public ExchangeWrapper {
 public:
  InferExchange(std::shared_ptr<Exchange> inner, std::shared_ptr<InferAnswer> answer)
      : ExchangeWrapper(std::move(inner)), answer_(std::move(answer)) {}
  void Respond(HttpResponse response) override {
    if (response.status == 200 && answer_->json_length > 0) {
      response.content_type = "application/octet-stream";
      response.headers.emplace_back(kserve::kJsonLengthHeader, std::to_string(answer_->json_length));
    }
    inner().Respond(std::move(response));
  }

 private:
  const std::shared_ptr<InferAnswer> answer_;
};

// A flat object, or server-sent events of such.
class GenerateFormat : public answers::Format {
 public:
  explicit GenerateFormat(std::shared_ptr<kserve::Outputs> outputs) : outputs_(std::move(outputs)) {}
  std::string Piece(const answers::Choice& choice, const llm::Event& event) override {
    if (event.text.empty() && event.token_ids.empty() && !event.finish) return "";
    return "data: " + WriteGenerate(outputs_->Piece(choice, event)) + "\n\n";
  }
  std::string End(const llm::Usage&) override { return ""; }
  std::string Failure(const WireError& error) override {
    return "data: " + JsonObject().Add("error", error.message).Text() + "\n\n";
  }
  std::string Whole(const std::vector<answers::Choice>& choices, const llm::Usage&) override {
    return WriteGenerate(outputs_->Whole(choices));
  }

 private:
  const std::shared_ptr<kserve::Outputs> outputs_;
};

// A stream of one event: what comes whole where an event stream is read.
class OneEventFormat : public GenerateFormat {
 public:
  using GenerateFormat::GenerateFormat;
  std::string Whole(const std::vector<answers::Choice>& choices, const llm::Usage& usage) override {
    return "data: " + GenerateFormat::Whole(choices, usage) + "\n\n";
  }
};

class EventStreamExchange : public ExchangeWrapper {
 public:
  using ExchangeWrapper::ExchangeWrapper;
  void Respond(HttpResponse response) override {
    if (response.status == 200) response.content_type = "text/event-stream; charset=utf-8";
    inner().Respond(std::move(response));
  }
};

constexpr const char *kModel = "/v2/models/{model}", *kVersion = "/versions/1";

// "infer" of a model, with its version or without.
std::vector<std::string> Paths(const std::string& verb) {
  return {fmt::format("{}{}", kModel, verb), fmt::format("{}{}{}", kModel, kVersion, verb)};
}

// Answers the exchange where the path names no model that is served.
bool NamesModel(const Generator& generator, Exchange& exchange, const std::string& pattern) {
  const std::string name = PathParameter(pattern, exchange.request().path);
  if (name == generator.model().name) return true;
  exchange.Respond(
      ErrorResponse({404, "not_found_error", "model_not_found", "",
                     fmt::format("model '{}' is not served here; this server has '{}'", name, generator.model().name)},
                    *exchange.request().errors));
  return false;
}

void Infer(const ServerContext& context, const Generator& generator, const std::shared_ptr<Exchange>& exchange) {
  const auto answer = std::make_shared<InferAnswer>();
  const HttpRequest& http = exchange->request();
  auto asked = kserve::ParseInfer(http.body, http.Header(kserve::kJsonLengthHeader));
  exchange->mutable_request().DropBody();
  if (!asked) return Refuse(*exchange, asked.error());
  answer->asked = *std::move(asked);
  auto generation = generator.FromTensors(answer->asked.request, http.key_id);
  if (!generation) return Refuse(*exchange, generation.error());
  answer->asked.request.inputs.clear();
  if (generation->stream) {
    return Refuse(*exchange, Status(InvalidArgument("input 'stream': an answer to /infer comes whole; pieces come from "
                                                    "/generate_stream, or over gRPC from ModelStreamInfer"))
                                 .Of("stream"));
  }
  Answer(context, generator.model(), std::make_shared<InferExchange>(exchange, answer),
         {std::move(generation->question), std::make_unique<InferFormat>(generation->outputs, answer), false});
}

void Generate(const ServerContext& context, const Generator& generator, const std::shared_ptr<Exchange>& exchange,
              bool as_stream) {
  auto generation = generator.FromBody(exchange->request().body, exchange->request().key_id);
  exchange->mutable_request().DropBody();
  if (!generation) return Refuse(*exchange, generation.error());
  if (!as_stream || generation->stream) {
    return Answer(context, generator.model(), exchange,
                  {std::move(generation->question), std::make_unique<GenerateFormat>(generation->outputs), as_stream});
  }
  Answer(context, generator.model(), std::make_shared<EventStreamExchange>(exchange),
         {std::move(generation->question), std::make_unique<OneEventFormat>(generation->outputs), false});
}

}  // namespace

void AddKserveRoutes(Router& router, const ServerContext& context, const Generator& generator,
                     const std::string& version) {
  const RouteInfo info{.errors = &answers::kFlatErrors, .hidden = true};
  const auto get = [&](const std::string& path, std::function<std::string()> body) {
    router.Add(
        {"GET", path, info, [&generator, path, body = std::move(body)](const std::shared_ptr<Exchange>& exchange) {
           if (path.find('{') == std::string::npos || NamesModel(generator, *exchange, path))
             exchange->Respond({.body = body()});
         }});
  };
  using Ask = std::function<void(const std::shared_ptr<Exchange>&)>;
  const auto post = [&](const char* verb, const Ask& ask) {
    for (const std::string& path : Paths(verb)) {
      router.Add({"POST", path, info, [&, path, ask](const std::shared_ptr<Exchange>& exchange) {
                    if (!NamesModel(generator, *exchange, path)) return;
                    OnTextThread(context, exchange, [ask, exchange] { ask(exchange); });
                  }});
    }
  };
  get("/v2", [version] { return kserve::ServerMetadataJson(version); });
  for (const std::string& path : Paths(""))
    get(path, [&] { return kserve::ModelMetadataJson(generator.model().name); });
  for (const std::string& path : Paths("/config"))
    get(path, [&] { return kserve::ModelConfigJson(generator.model().name); });
  const auto statistics = [&] {
    const answers::ServedModel& model = generator.model();
    return kserve::ModelStatisticsJson(model.name, StatisticsOf(context, model.llm));
  };
  for (const std::string& path : Paths("/stats")) get(path, statistics);
  get("/v2/models/stats", statistics);
  for (const std::string& path : Paths("/ready")) get(path, [] { return std::string(); });
  post("/infer", [&](const auto& exchange) { Infer(context, generator, exchange); });
  post("/generate", [&](const auto& exchange) { Generate(context, generator, exchange, /*as_stream=*/false); });
  post("/generate_stream", [&](const auto& exchange) { Generate(context, generator, exchange, /*as_stream=*/true); });
}

}  // namespace ingot::server
