#include "server/model_routes.h"

#include "base/json.h"
#include "models/model.h"
#include "server/interactive/session_routes.h"
#include "server/native/generate.h"
#include "server/native/tokens.h"
#include "server/openai/chat.h"
#include "server/openai/completions.h"
#include "server/unsupported_routes.h"

namespace ingot::server {
namespace {

// Bodies of the largest size that wait for a text thread at most.
constexpr size_t kTextQueueBodies = 8;

// As many requests may wait for a text thread as for the engine, but not all of them with the largest body.
TaskPool::Limits TextLimits(const ApiServerOptions& options) {
  return {static_cast<size_t>(options.max_queue), kTextQueueBodies * options.http.max_body_bytes};
}

ModelLimits LimitsOf(const llm::Llm& llm, const ApiServerOptions& options) {
  return {.model_name = options.model_name,
          .session_len = llm.session_len(),
          .vocab_size = llm.model().spec().vocab_size,
          .max_output_len = options.max_output_len};
}

std::string ModelJson(const ServedModel& model) {
  std::string body = R"({"id":)";
  AppendJsonString(body, model.name);
  body += fmt::format(R"(,"object":"model","created":{},"owned_by":"ingot","root":)", model.created);
  AppendJsonString(body, model.root);
  body += fmt::format(R"(,"permission":[],"max_model_len":{}}})", model.llm.session_len());
  return body;
}

void ListModels(const ServedModels& served, Exchange& exchange) {
  std::string models;
  for (const auto& model : served.all()) models += (models.empty() ? "" : ",") + ModelJson(*model);
  exchange.Respond({.body = fmt::format(R"({{"object":"list","data":[{}]}})", models)});
}
void GetModel(const ServedModels& served, Exchange& exchange) {
  const std::string id = PathParameter("/v1/models/{model}", exchange.request().path);
  const ServedModel* model = served.Find(id);
  if (model == nullptr) return exchange.Respond(ErrorResponse(served.Unknown(id)));
  exchange.Respond({.body = ModelJson(*model)});
}

}  // namespace

ModelRoutes::ModelRoutes(llm::Llm& llm, const ApiServerOptions& options, Metrics& metrics)
    : llm_(llm),
      options_(options),
      schemas_(LimitsOf(llm, options)),
      text_pool_(options.text_threads, TextLimits(options)),
      context_{models_, metrics, text_pool_, options.answers} {
  models_.Add({llm, options.model_name, std::time(nullptr), LimitsOf(llm, options),
               options.model_root.empty() ? options.model_name : options.model_root});
}

Status ModelRoutes::OpenSessions() {
  INGOT_ASSIGN_OR_RETURN(sessions_, llm::Sessions::Open(llm_, options_.sessions));
  return {};
}

void ModelRoutes::AddTo(Router& router) {
  AddModels(router);
  AddAnswers(router);
  AddTokens(router);
  AddSessionRoutes(router, schemas_, context_, *sessions_);
  for (const auto& [path, what] : kUnsupportedRoutes) {
    router.Add("POST", path, [what](auto exchange) { Refuse(*exchange, {"", Unsupported("{}", what).value()}); });
  }
}

void ModelRoutes::AddModels(Router& router) {
  router.Add({"GET",
              "/v1/models",
              {.summary = "The served models",
               .tag = "Models",
               .responses = {{200, "the models", "application/json", &schemas_.model_list}}},
              [this](auto exchange) { ListModels(models_, *exchange); }});
  router.Add({"GET",
              "/v1/models/{model}",
              {.summary = "A served model",
               .tag = "Models",
               .parameters = {{"model", true, String(1, 4096).Example(boost::json::string(options_.model_name))}},
               .responses = {{200, "the model", "application/json", &schemas_.model}}},
              [this](auto exchange) { GetModel(models_, *exchange); }});
}

void ModelRoutes::AddPost(Router& router, const Post& post) {
  RouteInfo info{.summary = post.summary,
                 .tag = post.tag,
                 .request = post.request,
                 .responses = {{200, "the answer", "application/json", post.response}}};
  if (post.chunk != nullptr) {
    info.responses.push_back(
        {200, "with stream: server-sent events, then [DONE]", "text/event-stream; charset=utf-8", post.chunk});
  }
  router.Add({"POST", post.path, std::move(info), [this, post](const std::shared_ptr<Exchange>& exchange) {
                OnTextThread(context_, exchange,
                             [this, post, exchange] { post.handler(context_, *post.request, exchange); });
              }});
}

void ModelRoutes::AddAnswers(Router& router) {
  AddPost(router, {"/v1/chat/completions", "Answer a conversation", "OpenAI", &schemas_.chat_request,
                   &schemas_.chat_response, &schemas_.chat_chunk, ChatCompletions});
  AddPost(router, {"/v1/completions", "Complete text", "OpenAI", &schemas_.completion_request,
                   &schemas_.completion_response, &schemas_.completion_response, Completions});
  AddPost(router, {"/generate", "Text or ids in, text and ids out", "LMDeploy", &schemas_.generate_request,
                   &schemas_.generate_response, &schemas_.generate_response, Generate});
}

void ModelRoutes::AddTokens(Router& router) {
  AddPost(router, {"/v1/encode", "Text to ids, as LMDeploy has it", "LMDeploy", &schemas_.encode_request,
                   &schemas_.encode_response, nullptr, Encode});
  AddPost(router, {"/tokenize", "A prompt's or a conversation's ids", "Tokens", &schemas_.tokenize_request,
                   &schemas_.tokenize_response, nullptr, Tokenize});
  AddPost(router, {"/detokenize", "Ids to text", "Tokens", &schemas_.detokenize_request, &schemas_.detokenize_response,
                   nullptr, Detokenize});
}

}  // namespace ingot::server
