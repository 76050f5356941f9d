// ingot.v1.Generation: the routes of REST with typed messages. A request becomes the body of the route, and what the
// route answers becomes messages, both by the names of fields: so checks, defaults and errors are the same.
#include <ingot/v1/generation.pb.h>

#include <boost/json/serialize.hpp>
#include <limits>

#include "base/json.h"
#include "base/json_writer.h"
#include "rpc/messages.h"
#include "rpc/routes.h"
#include "server/exchange_wrapper.h"

namespace ingot::rpc {
namespace {

using google::protobuf::Message;
using server::Exchange;
using server::HttpRequest;
using server::HttpResponse;

// A request to a route of REST, whose JSON goes back as messages.
class RestExchange : public server::ExchangeWrapper {
 public:
  RestExchange(std::shared_ptr<Exchange> inner, HttpRequest request, const Message& response)
      : ExchangeWrapper(std::move(inner)), request_(std::move(request)), response_(response) {}
  const HttpRequest& request() const override { return request_; }
  HttpRequest& mutable_request() override { return request_; }
  void Respond(HttpResponse response) override {
    if (response.status == 200) {
      const auto bytes = ToMessage(response.body);
      if (!bytes)
        return inner().Respond(server::ErrorResponse(answers::ToWireError(bytes.error(), request_.request_id)));
      response.body = *bytes;
    }
    inner().Respond(std::move(response));
  }
  // Of server-sent events, or lines of JSON.
  bool Send(std::string chunk) override {
    std::string_view rest = chunk;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      std::string_view line = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (line.starts_with("data: ")) line.remove_prefix(6);
      if (!line.starts_with('{')) continue;
      const auto bytes = ToMessage(line);
      if (!bytes || !inner().Send(*bytes)) return false;
    }
    return true;
  }

 private:
  Result<std::string> ToMessage(std::string_view json) const {
    const std::unique_ptr<Message> message(response_.New());
    INGOT_RETURN_IF_ERROR(FromJson(json, message.get()));
    return message->SerializeAsString();
  }

  HttpRequest request_;
  const Message& response_;  // an empty one
};

struct Method {
  const char* name;
  const Message& request;  // empty ones
  const Message& response;
  const char *verb, *path;  // {session_id} stands for the request's
  bool stream = false;
};

std::span<const Method> Methods() {
  static const Method kMethods[] = {{"Chat", v1::ChatRequest::default_instance(), v1::ChatResponse::default_instance(),
                                     "POST", "/v1/chat/completions"},
                                    {"ChatStream", v1::ChatRequest::default_instance(),
                                     v1::ChatChunk::default_instance(), "POST", "/v1/chat/completions", true},
                                    {"Complete", v1::CompleteRequest::default_instance(),
                                     v1::CompleteResponse::default_instance(), "POST", "/v1/completions"},
                                    {"CompleteStream", v1::CompleteRequest::default_instance(),
                                     v1::CompleteResponse::default_instance(), "POST", "/v1/completions", true},
                                    {"Turn", v1::TurnRequest::default_instance(), v1::TurnResponse::default_instance(),
                                     "POST", "/v1/chat/interactive"},
                                    {"TurnStream", v1::TurnRequest::default_instance(),
                                     v1::TurnResponse::default_instance(), "POST", "/v1/chat/interactive", true},
                                    {"RewindSession", v1::RewindSessionRequest::default_instance(),
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
void Rename(const Method& method, boost::json::object* body) {
  if (boost::json::value* ids = body->if_contains("prompt_token_ids")) {
    boost::json::value moved = std::move(*ids);
    body->erase("prompt_token_ids");
    (*body)["prompt"] = std::move(moved);
  }
  if (&method.request == &v1::TurnRequest::default_instance()) {
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

void CallRoute(const server::Router& http, const Method& method, const std::shared_ptr<Exchange>& exchange) {
  const std::unique_ptr<Message> message(method.request.New());
  const Status status = Parse(exchange->request().body, message.get());
  if (!status.ok()) return server::Refuse(*exchange, status);
  auto body = ToJson(*message);
  if (!body) return server::Refuse(*exchange, body.error());
  const HttpRequest& call = exchange->request();
  HttpRequest request;
  request.method = method.verb;
  request.path = method.path;
  request.headers = call.headers;
  std::erase_if(request.headers, [](const auto& header) { return header.first == "content-type"; });
  request.request_id = call.request_id;
  request.client = call.client;
  request.received = call.received;
  request.key_id = call.key_id;
  request.is_admin = call.is_admin;
  if (const size_t at = request.path.find("{session_id}"); at != std::string::npos) {
    const boost::json::value* id = body->if_contains("session_id");
    request.path.replace(at, 12, std::to_string(id != nullptr ? id->get_int64() : 0));
    body->erase("session_id");
  }
  Rename(method, &*body);
  AppendValue(*body, &request.body);
  exchange->mutable_request().DropBody();
  http.Dispatch(std::make_shared<RestExchange>(exchange, std::move(request), method.response));
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
  for (const Method& method : Methods()) {
    router.Add(
        "POST", fmt::format("/{}/{}", kGenerationService, method.name),
        [parts, &method](const std::shared_ptr<Exchange>& exchange) { CallRoute(*parts.http, method, exchange); });
  }
  router.Add("POST", fmt::format("/{}/OpenSession", kGenerationService),
             [parts](const std::shared_ptr<Exchange>& exchange) { OpenSession(parts, exchange); });
}

}  // namespace ingot::rpc
