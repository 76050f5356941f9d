// What clients of llama-server and ollama ask beside answers.
#include "answers/ollama.h"
#include "base/json_writer.h"
#include "server/model_routes.h"

namespace ingot::server {
namespace {

constexpr const char* kLlama = "llama.cpp";
constexpr const char* kOllama = "ollama";

void AddLlamaServerRoutes(Router& router, const ApiSchemas& schemas, const ServerContext& context,
                          const std::string& version) {
  const ServedModel& model = *context.models.all().front();
  router.Add({"GET",
              "/props",
              {.summary = "The server's properties",
               .tag = kLlama,
               .responses = {{200, "the properties", "application/json", &schemas.props}}},
              [&model, version](auto exchange) { exchange->Respond({.body = answers::LlamaProps(model, version)}); }});
  const auto slots = [&model](const std::shared_ptr<Exchange>& exchange) {
    const bool needs_free = QueryParameter(exchange->request().query, "fail_on_no_slot") == "1";
    if (needs_free && model.llm.stats().running >= model.llm.options().max_batch_size)
      return Refuse(*exchange, WireError{503, "unavailable_error", "no_slot", "", "no slot is free"});
    exchange->Respond({.body = answers::LlamaSlots(model)});
  };
  router.Add({"GET",
              "/slots",
              {.summary = "The slots, and which of them compute",
               .tag = kLlama,
               .parameters = {{"fail_on_no_slot", false, answers::Integer(0, 1).Describe("1: 503 while none is free")}},
               .responses = {{200, "the slots", "application/json", &schemas.slots}}},
              slots});
  const auto apply = [](const ServedModel& served, const Fields& fields, const std::shared_ptr<Exchange>& exchange) {
    llm::Request request;
    Status status = ReadTemplateOptions(fields, &request);
    if (status.ok()) status = answers::ReadMessages(*fields.Find("messages"), "messages", served.llm, &request);
    if (!status.ok()) return Refuse(*exchange, status);
    const auto text = served.llm.ApplyTemplate(request);
    if (!text) return Refuse(*exchange, text.error().Of("messages"));
    exchange->Respond({.body = JsonObject().Add("prompt", *text).Text()});
  };
  router.Add({"POST",
              "/apply-template",
              {.summary = "The text that a conversation becomes",
               .tag = kLlama,
               .request = &schemas.apply_template_request,
               .responses = {{200, "the text", "application/json", &schemas.apply_template_response}}},
              OnBody(context, schemas.apply_template_request, apply)});
  router.Add({"GET", "/lora-adapters", {.hidden = true}, [](auto exchange) { exchange->Respond({.body = "[]"}); }});
}

void AddOllamaRoutes(Router& router, const ApiSchemas& schemas, const ServerContext& context,
                     const std::string& version) {
  const auto get = [&](const char* path, const char* summary, const Schema& schema, auto body) {
    router.Add({"GET",
                path,
                {.summary = summary,
                 .tag = kOllama,
                 .responses = {{200, "the answer", "application/json", &schema}},
                 .errors = &answers::kFlatErrors},
                [body](auto exchange) { exchange->Respond({.body = body()}); }});
  };
  const ServedModels& models = context.models;
  get("/api/tags", "The served models", schemas.ollama_tags, [&models] { return answers::OllamaTags(models); });
  get("/api/ps", "The served models, which are all loaded", schemas.ollama_ps,
      [&models] { return answers::OllamaProcesses(models); });
  get("/api/version", "Ingot's version", schemas.version,
      [version] { return JsonObject().Add("version", version).Text(); });
  const auto show = [&models](const ServedModel& named, const Fields& fields,
                              const std::shared_ptr<Exchange>& exchange) {
    const std::string older = fields.Text("name").value_or("");
    const ServedModel* model = older.empty() ? &named : models.Find(older);
    if (model == nullptr) return Refuse(*exchange, models.Unknown(older));
    exchange->Respond({.body = answers::OllamaModel(*model)});
  };
  router.Add({"POST",
              "/api/show",
              {.summary = "A served model",
               .tag = kOllama,
               .request = &schemas.ollama_show_request,
               .responses = {{200, "the model", "application/json", &schemas.ollama_show_response}},
               .errors = &answers::kFlatErrors},
              OnBody(context, schemas.ollama_show_request, show)});
}

}  // namespace

void AddCompatRoutes(Router& router, const ApiSchemas& schemas, const ServerContext& context,
                     const std::string& version) {
  AddLlamaServerRoutes(router, schemas, context, version);
  AddOllamaRoutes(router, schemas, context, version);
}

}  // namespace ingot::server
