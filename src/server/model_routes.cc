#include "server/model_routes.h"

#include "answers/wire.h"
#include "base/json_writer.h"
#include "models/model.h"
#include "text/utf8.h"
#include "tokenizer/tokenizer.h"

namespace ingot::server {
namespace {

// Bodies of the largest size that wait for a text thread at most.
constexpr size_t kTextQueueBodies = 8;

// As many requests may wait for a text thread as for the engine, but not all of them with the largest body.
TaskPool::Limits TextLimits(const ApiServerOptions& options) {
  return {static_cast<size_t>(options.max_queue), kTextQueueBodies * options.http.max_body_bytes};
}

answers::ModelLimits LimitsOf(const llm::Llm& llm, const ApiServerOptions& options) {
  return {.model_name = options.model_name,
          .session_len = llm.session_len(),
          .vocab_size = llm.model().spec().vocab_size,
          .max_output_len = options.max_output_len};
}

std::string ModelJson(const ServedModel& model) {
  return JsonObject()
      .Add("id", model.name)
      .Add("object", "model")
      .Add("created", model.created)
      .Add("owned_by", "ingot")
      .Add("root", model.root)
      .AddJson("permission", "[]")
      .Add("max_model_len", model.llm.session_len())
      .Text();
}

void ListModels(const ServedModels& served, Exchange& exchange) {
  const auto list = JsonList(served.all(), [](const auto& model) { return ModelJson(*model); });
  exchange.Respond({.body = JsonObject().Add("object", "list").AddJson("data", list).Text()});
}
void GetModel(const ServedModels& served, Exchange& exchange) {
  const std::string id = PathParameter("/v1/models/{model}", exchange.request().path);
  const ServedModel* model = served.Find(id);
  if (model == nullptr) return Refuse(exchange, served.Unknown(id));
  exchange.Respond({.body = ModelJson(*model)});
}

// Text to ids and back: /v1/encode (LMDeploy's), /tokenize and /detokenize (vLLM's).
void Encode(const ServedModel& model, const Fields& fields, const std::shared_ptr<Exchange>& exchange) {
  const boost::json::value& input = *fields.Find("input");
  std::vector<std::string> ids;
  std::vector<size_t> lengths;
  for (const std::string& text : answers::ToTexts(input)) {
    llm::Request request{.add_special_tokens = fields.Bool("add_bos", true)};
    if (fields.Bool("do_preprocess", false)) {
      request.messages = {{{"role", "user"}, {"content", text}}};
    } else {
      request.prompt = text;
    }
    const auto tokens = model.llm.Tokenize(request);
    if (!tokens) return Refuse(*exchange, tokens.error().Of("input"));
    ids.push_back(JsonList(*tokens));
    lengths.push_back(tokens->size());
  }
  JsonObject json;
  if (input.is_array()) {
    json.AddJson("input_ids", JsonList(ids, [](const std::string& list) { return list; }));
    json.AddJson("length", JsonList(lengths));
  } else {
    json.AddJson("input_ids", ids[0]).Add("length", lengths[0]);
  }
  exchange->Respond({.body = json.Text()});
}

// llama-server's: the text is `content`.
std::string TokenizeContent(const ServedModel& model, const Fields& fields) {
  const std::string content = *fields.Text("content");
  const MarkedText text =
      fields.Bool("parse_special", true) ? MarkedText::Trusted(content) : MarkedText::Untrusted(content);
  const tokenizer::Tokenizer& tokenizer = model.llm.tokenizer();
  const std::vector<int32_t> ids = tokenizer.Encode(text, {.add_special_tokens = fields.Bool("add_special", false)});
  const auto piece = [&](int32_t id) {
    const llm::TokenLogprob token{.id = id, .bytes = tokenizer.TokenBytes(id), .logprob = 0};
    JsonObject json;
    json.Add("id", id);
    return IsValidUtf8(token.bytes) ? json.Add("piece", token.bytes).Text()
                                    : json.AddJson("piece", answers::BytesJson(token)).Text();
  };
  return JsonObject()
      .Add("count", ids.size())
      .Add("max_model_len", model.llm.session_len())
      .AddJson("tokens", fields.Bool("with_pieces", false) ? JsonList(ids, piece) : JsonList(ids))
      .Add("token_strs", nullptr)
      .Text();
}

void Tokenize(const ServedModel& model, const Fields& fields, const std::shared_ptr<Exchange>& exchange) {
  if (fields.Has("content")) return exchange->Respond({.body = TokenizeContent(model, fields)});
  llm::Request request{.prompt = fields.Text("prompt"), .add_special_tokens = fields.Bool("add_special_tokens", true)};
  Status status = ReadTemplateOptions(fields, &request);
  const auto* messages = fields.Find("messages");
  if (status.ok() && messages != nullptr) status = answers::ReadMessages(*messages, "messages", model.llm, &request);
  if (!status.ok()) return Refuse(*exchange, status);
  const auto tokens = model.llm.Tokenize(request);
  if (!tokens) return Refuse(*exchange, tokens.error().Of(messages == nullptr ? "prompt" : "messages"));
  JsonObject json;
  json.Add("count", tokens->size()).Add("max_model_len", model.llm.session_len()).AddJson("tokens", JsonList(*tokens));
  std::vector<std::string> texts;
  for (const int32_t id : *tokens) texts.push_back(model.llm.tokenizer().IdToToken(id));
  json.AddJson("token_strs", fields.Bool("return_token_strs", false) ? JsonList(texts) : "null");
  exchange->Respond({.body = json.Text()});
}

void Detokenize(const ServedModel& model, const Fields& fields, const std::shared_ptr<Exchange>& exchange) {
  const std::string text = model.llm.tokenizer().Decode(fields.Ids("tokens"), /*skip_special_tokens=*/false);
  exchange->Respond({.body = JsonObject().Add("prompt", text).Add("content", text).Text()});
}

void AddModels(Router& router, const ApiSchemas& schemas, const ServedModels& served) {
  const std::string name = served.all().front()->name;
  router.Add({"GET",
              "/v1/models",
              {.summary = "The served models",
               .tag = "Models",
               .responses = {{200, "the models", "application/json", &schemas.model_list}}},
              [&served](auto exchange) { ListModels(served, *exchange); }});
  router.Add({"GET",
              "/v1/models/{model}",
              {.summary = "A served model",
               .tag = "Models",
               .parameters = {{"model", true, answers::String(1, 4096).Example(boost::json::string(name))}},
               .responses = {{200, "the model", "application/json", &schemas.model}}},
              [&served](auto exchange) { GetModel(served, *exchange); }});
}

HttpResponse AtOnce(const answers::Prepared& prepared, const char* stream_type) {
  if (!prepared.stream) return {.body = prepared.at_once};
  return {.content_type = stream_type, .body = prepared.at_once + "\n"};
}

void AddAnswers(Router& router, const ApiSchemas& schemas, const ServerContext& context, const llm::Llm& llm) {
  for (const answers::Route& route : answers::kRoutes) {
    const Schema& request = schemas.*route.request;
    RouteInfo info{.summary = route.summary,
                   .tag = route.tag,
                   .request = &request,
                   .responses = {{200, "the answer", "application/json", &(schemas.*route.response)},
                                 {200, "with stream: pieces of it", route.stream_type, &(schemas.*route.chunk)}},
                   .errors = route.errors};
    const AnswerRoute how{request, route.read, route.stream_type};
    router.Add({"POST", route.path, std::move(info), AnswerHandler(context, llm, how)});
  }
}

void AddTokens(Router& router, const ApiSchemas& schemas, const ServerContext& context) {
  const auto add = [&](const char* path, const char* summary, const char* tag,
                       std::pair<const Schema*, const Schema*> bodies, BodyHandler handler) {
    const auto& [request, response] = bodies;
    RouteInfo info{.summary = summary,
                   .tag = tag,
                   .request = request,
                   .responses = {{200, "the answer", "application/json", response}}};
    router.Add({"POST", path, std::move(info), OnBody(context, *request, std::move(handler))});
  };
  add("/v1/encode", "Text to ids, as LMDeploy has it", "LMDeploy", {&schemas.encode_request, &schemas.encode_response},
      Encode);
  add("/tokenize", "A prompt's or a conversation's ids", "Tokens",
      {&schemas.tokenize_request, &schemas.tokenize_response}, Tokenize);
  add("/detokenize", "Ids to text", "Tokens", {&schemas.detokenize_request, &schemas.detokenize_response}, Detokenize);
}

}  // namespace

HttpHandler AnswerHandler(const ServerContext& context, const llm::Llm& llm, const AnswerRoute& route) {
  const auto answer = [&context, read = route.read, stream_type = route.stream_type, writers = &route.writers](
                          const ServedModel& model, const Fields& fields, const std::shared_ptr<Exchange>& exchange) {
    auto prepared =
        read(fields, model, {exchange->request().request_id, context.answers.always_include_usage, writers});
    if (!prepared) return Refuse(*exchange, prepared.error());
    if (!prepared->at_once.empty()) return exchange->Respond(AtOnce(*prepared, stream_type));
    Answer(context, model, exchange, *std::move(prepared));
  };
  return [&context, &llm, on_body = OnBody(context, route.request, answer)](std::shared_ptr<Exchange> exchange) {
    if (!RefuseWhenFull(context, llm, *exchange)) on_body(std::move(exchange));
  };
}

ModelRoutes::ModelRoutes(llm::Llm& llm, const ApiServerOptions& options, Metrics& metrics)
    : llm_(llm),
      options_(options),
      schemas_(LimitsOf(llm, options)),
      text_pool_(options.text_threads, TextLimits(options)),
      context_{models_, metrics, text_pool_, options.answers} {
  models_.Add({llm, options.model_name, std::time(nullptr), LimitsOf(llm, options),
               options.model_root.empty() ? options.model_name : options.model_root,
               answers::SystemFingerprint(llm, options.version), options.model_typed});
}

Status ModelRoutes::OpenSessions() {
  INGOT_ASSIGN_OR_RETURN(sessions_, llm::Sessions::Open(llm_, options_.sessions));
  generator_.emplace(*models_.all().front(), sessions_.get());
  return {};
}

void ModelRoutes::AddTo(Router& router) {
  AddModels(router, schemas_, models_);
  AddAnswers(router, schemas_, context_, llm_);
  AddTokens(router, schemas_, context_);
  AddSessionRoutes(router, schemas_, context_, *sessions_);
  AddKserveRoutes(router, context_, *generator_, options_.version);
  AddCompatRoutes(router, schemas_, context_, options_.version);
  for (const auto& [path, of] : answers::kAliases) router.AddAlias(path, of);
  for (const answers::UnsupportedRoute& route : answers::kUnsupportedRoutes) {
    RouteInfo info{.errors = route.errors, .hidden = true};
    router.Add({route.method, route.path, std::move(info),
                [what = route.what](auto exchange) { Refuse(*exchange, Unsupported("{}", what).value()); }});
  }
}

}  // namespace ingot::server
