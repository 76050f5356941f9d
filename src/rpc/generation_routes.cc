// ingot.v1.Generation: the routes of REST with typed messages. A request becomes the body of the route by the names of
// fields, so that checks, defaults and errors are the same. Answers of the model are written as messages
// (rpc/message_writers.h); what other routes answer becomes a message by the names of fields, too.
#include <ingot/v1/generation.pb.h>

#include <boost/json/serialize.hpp>
#include <limits>

#include "base/json.h"
#include "base/json_writer.h"
#include "rpc/message_writers.h"
#include "rpc/messages.h"
#include "rpc/routes.h"
#include "server/exchange_wrapper.h"
#include "server/model_routes.h"

namespace ingot::rpc {
namespace {

using google::protobuf::Message;
using server::Exchange;
using server::HttpRequest;
using server::HttpResponse;

// A call whose body is REST's JSON instead of a message.
class RestExchange : public server::ExchangeWrapper {
 public:
  RestExchange(std::shared_ptr<Exchange> inner, HttpRequest request)
      : ExchangeWrapper(std::move(inner)), request_(std::move(request)) {}
  const HttpRequest& request() const override { return request_; }
  HttpRequest& mutable_request() override { return request_; }

 private:
  HttpRequest request_;
};

// The same for a route that answers in JSON, which becomes a message like `response`.
class JsonExchange : public RestExchange {
 public:
  JsonExchange(std::shared_ptr<Exchange> inner, HttpRequest request, const Message& response)
      : RestExchange(std::move(inner), std::move(request)), response_(response) {}
  void Respond(HttpResponse response) override {
    if (response.status != 200) return inner().Respond(std::move(response));
    const std::unique_ptr<Message> message(response_.New());
    const Status status = FromJson(response.body, message.get());
    if (!status.ok()) return inner().Respond(server::ErrorResponse(answers::ToWireError(status, request().request_id)));
    inner().Respond({.body = message->SerializeAsString()});
  }

 private:
  const Message& response_;  // an empty one
};

// A method that the model answers. Answers are written as messages.
struct AnswerMethod {
  const char* name;
  const Message& request;  // an empty one
  const server::Schema answers::ApiSchemas::* schema;
  answers::Reader read;  // null: a turn of a session
  bool stream = false;
};
std::span<const AnswerMethod> AnswerMethods() {
  using answers::ApiSchemas;
  static const AnswerMethod kMethods[] = {
      {"Chat", v1::ChatRequest::default_instance(), &ApiSchemas::chat_request, answers::ReadChat},
      {"ChatStream", v1::ChatRequest::default_instance(), &ApiSchemas::chat_request, answers::ReadChat, true},
      {"Complete", v1::CompleteRequest::default_instance(), &ApiSchemas::completion_request, answers::ReadCompletion},
      {"CompleteStream", v1::CompleteRequest::default_instance(), &ApiSchemas::completion_request,
       answers::ReadCompletion, true},
      {"Turn", v1::TurnRequest::default_instance(), &ApiSchemas::interactive_request, nullptr},
      {"TurnStream", v1::TurnRequest::default_instance(), &ApiSchemas::interactive_request, nullptr, true}};
  return kMethods;
}

// A method that a route of HTTP answers in JSON.
struct RouteMethod {
  const char* name;
  const Message &request, &response;  // empty ones
  const char *verb, *path;            // {session_id} stands for the request's
};
std::span<const RouteMethod> RouteMethods() {
  static const RouteMethod kMethods[] = {{"RewindSession", v1::RewindSessionRequest::default_instance(),
                                          v1::Session::default_instance(), "POST", "/v1/sessions/{session_id}/rewind"},
                                         {"CloseSession", v1::CloseSessionRequest::default_instance(),
                                          v1::Session::default_instance(), "DELETE", "/v1/sessions/{session_id}"},
                                         {"Tokenize", v1::TokenizeRequest::default_instance(),
                                          v1::TokenizeResponse::default_instance(), "POST", "/tokenize"},
                                         {"Detokenize", v1::DetokenizeRequest::default_instance(),
                                          v1::DetokenizeResponse::default_instance(), "POST", "/detokenize"}};
  return kMethods;
}

// What REST calls otherwise.
void Rename(const AnswerMethod& method, boost::json::object* body) {
  if (boost::json::value* ids = body->if_contains("prompt_token_ids")) {
    boost::json::value moved = std::move(*ids);
    body->erase("prompt_token_ids");
    (*body)["prompt"] = std::move(moved);
  }
  if (method.read == nullptr) {
    body->emplace("interactive_mode", true);
    body->emplace("prompt", "");
  }
  if (method.stream) (*body)["stream"] = true;
}

// Numbers as REST's clients write them: the shortest form that reads back.
void AppendValue(const boost::json::value& value, std::string* out) {
  if (value.is_double()) return AppendJson(*out, value.get_double());
  if (value.is_object()) {
    *out += '{';
    for (const auto& member : value.get_object()) {
      if (out->back() != '{') *out += ',';
      AppendJson(*out, std::string_view(member.key()));
      *out += ':';
      AppendValue(member.value(), out);
    }
    *out += '}';
  } else if (value.is_array()) {
    *out += '[';
    for (const auto& item : value.get_array()) {
      if (out->back() != '[') *out += ',';
      AppendValue(item, out);
    }
    *out += ']';
  } else {
    *out += boost::json::serialize(value);
  }
}

// The set fields of the call's message. Answers the exchange where it is no such message.
std::optional<boost::json::object> ReadMessage(const Message& type, Exchange& exchange) {
  const std::unique_ptr<Message> message(type.New());
  const Status status = Parse(exchange.request().body, message.get());
  exchange.mutable_request().DropBody();
  if (!status.ok()) {
    server::Refuse(exchange, status);
    return std::nullopt;
  }
  auto body = ToJson(*message);
  if (body) return *std::move(body);
  server::Refuse(exchange, body.error());
  return std::nullopt;
}

// A request like the call, without its message.
HttpRequest RequestLike(const HttpRequest& call) {
  HttpRequest request;
  request.method = "POST";
  request.path = call.path;
  request.headers = call.headers;
  std::erase_if(request.headers, [](const auto& header) { return header.first == "content-type"; });
  request.request_id = call.request_id;
  request.client = call.client;
  request.received = call.received;
  request.key_id = call.key_id;
  request.is_admin = call.is_admin;
  return request;
}

void CallModel(const server::HttpHandler& handler, const AnswerMethod& method,
               const std::shared_ptr<Exchange>& exchange) {
  auto body = ReadMessage(method.request, *exchange);
  if (!body) return;
  Rename(method, &*body);
  HttpRequest request = RequestLike(exchange->request());
  AppendValue(*body, &request.body);
  handler(std::make_shared<RestExchange>(exchange, std::move(request)));
}

void CallRoute(const server::Router& http, const RouteMethod& method, const std::shared_ptr<Exchange>& exchange) {
  auto body = ReadMessage(method.request, *exchange);
  if (!body) return;
  HttpRequest request = RequestLike(exchange->request());
  request.method = method.verb;
  request.path = method.path;
  if (const size_t at = request.path.find("{session_id}"); at != std::string::npos) {
    const boost::json::value* id = body->if_contains("session_id");
    request.path.replace(at, 12, std::to_string(id != nullptr ? id->get_int64() : 0));
    body->erase("session_id");
  }
  AppendValue(*body, &request.body);
  http.Dispatch(std::make_shared<JsonExchange>(exchange, std::move(request), method.response));
}

void OpenSession(const server::TransportParts& parts, const std::shared_ptr<Exchange>& exchange) {
  v1::OpenSessionRequest message;
  const Status status = Parse(exchange->request().body, &message);
  if (!status.ok()) return server::Refuse(*exchange, status);
  if (message.has_session_id() && message.session_id() < 0) {
    return server::Refuse(*exchange,
                          Status(InvalidArgument("session_id is {}, outside 0…{}; not set: the server chooses",
                                                 message.session_id(), std::numeric_limits<int64_t>::max()))
                              .Of("session_id"));
  }
  const auto info =
      parts.sessions->Begin({exchange->request().key_id, message.has_session_id() ? message.session_id() : -1});
  if (!info) return server::Refuse(*exchange, info.error());
  v1::Session session;
  session.set_session_id(info->key.id);
  session.set_created(info->created);
  session.set_last_used(info->used);
  exchange->Respond({.body = session.SerializeAsString()});
}

}  // namespace

void AddGenerationRoutes(server::Router& router, const server::TransportParts& parts) {
  if (parts.http == nullptr) return;
  const auto add = [&](const char* name, server::HttpHandler handler) {
    router.Add("POST", fmt::format("/{}/{}", kGenerationService, name), std::move(handler));
  };
  for (const AnswerMethod& method : AnswerMethods()) {
    const server::Schema& schema = parts.schemas->*method.schema;
    const server::AnswerRoute route{schema, method.read, answers::kEvents, MessageWriters()};
    server::HttpHandler handler = method.read == nullptr
                                      ? server::TurnHandler(*parts.context, schema, *parts.sessions, MessageWriters())
                                      : server::AnswerHandler(*parts.context, parts.generator->model().llm, route);
    add(method.name,
        [&method, handler = std::move(handler)](const auto& exchange) { CallModel(handler, method, exchange); });
  }
  for (const RouteMethod& method : RouteMethods())
    add(method.name, [parts, &method](const auto& exchange) { CallRoute(*parts.http, method, exchange); });
  add("OpenSession", [parts](const auto& exchange) { OpenSession(parts, exchange); });
}

}  // namespace ingot::rpc
