// /v1/chat/interactive and /v1/sessions…
#include <limits>

#include "answers/writers.h"
#include "base/json_writer.h"
#include "server/model_routes.h"

namespace ingot::server {
namespace {

using answers::Integer;
using answers::String;

constexpr int64_t kPage = 100, kMaxPage = 1000;

std::string SessionJson(const llm::SessionInfo& info, bool for_admin) {
  JsonObject json;
  json.Add("session_id", info.key.id).Add("tokens", info.tokens).Add("turns", info.turns);
  json.Add("created", info.created).Add("last_used", info.used).Add("running", info.running);
  if (for_admin) json.Add("owner", info.key.owner);
  return json.Text();
}

// Whose sessions a request means: its key's; for an administrator, any key's.
std::string OwnerOf(const HttpRequest& http) {
  if (!http.is_admin) return http.key_id;
  return QueryParameter(http.query, "owner").value_or(http.key_id);
}

Status NoSession(int64_t id) { return Status(NotFound("there is no session {}", id)).Of("session_id"); }

// The session that the path names; answers the exchange where it can be none.
std::optional<llm::SessionKey> KeyOfPath(Exchange& exchange, std::string_view pattern) {
  const std::string text = PathParameter(pattern, exchange.request().path);
  if (const auto id = WholeNumber(text); id && *id >= 0) return llm::SessionKey{OwnerOf(exchange.request()), *id};
  exchange.Respond(ErrorResponse({404, "not_found_error", "not_found", "session_id",
                                  fmt::format("there is no session '{}'", text.substr(0, 64))}));
  return std::nullopt;
}

void List(llm::Sessions& sessions, Exchange& exchange) {
  const HttpRequest& http = exchange.request();
  const auto number = [&](const char* name) -> std::optional<int64_t> {
    const auto text = QueryParameter(http.query, name);
    return text ? WholeNumber(*text) : std::nullopt;
  };
  const int64_t limit = number("limit").value_or(kPage);
  const std::optional<int64_t> after = number("after");
  // An administrator who names no owner goes through all of them; `after` alone then means one's own.
  const auto after_owner = QueryParameter(http.query, "after_owner");
  std::optional<std::string> owner = OwnerOf(http);
  if (http.is_admin && !QueryParameter(http.query, "owner")) owner.reset();
  std::optional<llm::SessionKey> last;
  if (after) last = {owner ? *owner : after_owner.value_or(http.key_id), *after};
  const auto list = sessions.List(owner, last, static_cast<size_t>(limit) + 1);
  const std::span shown(list.data(), std::min(list.size(), static_cast<size_t>(limit)));
  const auto data = JsonList(shown, [&](const llm::SessionInfo& info) { return SessionJson(info, http.is_admin); });
  const bool has_more = list.size() > shown.size();
  exchange.Respond({.body = JsonObject().AddJson("data", data).Add("has_more", has_more).Text()});
}

void Get(llm::Sessions& sessions, Exchange& exchange) {
  const auto key = KeyOfPath(exchange, "/v1/sessions/{session_id}");
  if (!key) return;
  const auto info = sessions.Find(*key);
  if (!info) return Refuse(exchange, NoSession(key->id));
  exchange.Respond({.body = SessionJson(*info, exchange.request().is_admin)});
}

void Delete(llm::Sessions& sessions, const std::shared_ptr<Exchange>& exchange) {
  const auto key = KeyOfPath(*exchange, "/v1/sessions/{session_id}");
  if (!key) return;
  const Status status = sessions.Remove(*key, [exchange](const llm::SessionInfo& info) {
    exchange->Respond({.body = SessionJson(info, exchange->request().is_admin)});
  });
  if (!status.ok()) Refuse(*exchange, status.Of("session_id"));
}

void Rewind(llm::Sessions& sessions, const Fields& fields, const std::shared_ptr<Exchange>& exchange) {
  const auto key = KeyOfPath(*exchange, "/v1/sessions/{session_id}/rewind");
  if (!key) return;
  const auto tokens = sessions.Rewind(*key, *fields.Int("step"), [&sessions, exchange, key = *key] {
    const auto info = sessions.Find(key);
    if (!info) return Refuse(*exchange, NoSession(key.id));
    exchange->Respond({.body = SessionJson(*info, exchange->request().is_admin)});
  });
  if (!tokens) Refuse(*exchange, tokens.error().Of("session_id"));
}

// What is no turn: {cancel}, and forgetting with an empty prompt and no output. A stream of it is one line. True:
// answered.
bool AnswerCommand(const Fields& fields, const answers::SessionTurn& session, const answers::Writers& writers,
                   const std::shared_ptr<Exchange>& exchange) {
  const auto& [sessions, key] = session;
  const boost::json::value* stop = fields.Find("stop");
  const bool cancels = fields.Bool("cancel", false) || (stop != nullptr && stop->is_bool() && stop->get_bool());
  const boost::json::value& prompt = *fields.Find("prompt");
  const bool forgets = !cancels && !fields.Bool("interactive_mode", false) && prompt.is_string() &&
                       prompt.get_string().empty() && fields.Int("request_output_len") == 0;
  if (!cancels && !forgets) return false;
  if (key.id < 0) {
    Refuse(*exchange, Status(InvalidArgument("session_id -1 names no session")).Of("session_id"));
    return true;
  }
  const auto done = [exchange, id = key.id, &writers, stream = fields.Bool("stream", false)] {
    HttpResponse response{.body = writers.EmptyTurn(id, stream)};
    if (stream) response.content_type = answers::kJsonLines;
    exchange->Respond(std::move(response));
  };
  if (cancels) {
    sessions.Cancel(key, done);
    return true;
  }
  const Status status = sessions.Remove(key, [done](const llm::SessionInfo&) { done(); });
  if (status.code() == Code::kConflict) {
    Refuse(*exchange, status.Of("session_id"));
  } else if (!status.ok()) {
    done();  // there is none: all the better
  }
  return true;
}

}  // namespace

HttpHandler TurnHandler(const ServerContext& context, const Schema& request, llm::Sessions& sessions,
                        const answers::Writers& writers) {
  return OnBody(context, request,
                [&](const ServedModel& model, const Fields& fields, const std::shared_ptr<Exchange>& exchange) {
                  const answers::SessionTurn session{
                      sessions, {exchange->request().key_id, fields.Int("session_id").value_or(-1)}};
                  if (AnswerCommand(fields, session, writers, exchange)) return;
                  auto prepared = answers::ReadTurn(fields, model, session, {.writers = &writers});
                  if (!prepared) return Refuse(*exchange, prepared.error());
                  Answer(context, model, exchange, *std::move(prepared));
                });
}

void AddSessionRoutes(Router& router, const ApiSchemas& schemas, const ServerContext& context,
                      llm::Sessions& sessions) {
  constexpr int64_t kMaxId = std::numeric_limits<int64_t>::max();
  const Parameter id{"session_id", true, Integer(0, kMaxId)};
  const Parameter owner{"owner", false, String(0, 64).Describe("whose; for administrators, who see it in lists")};
  const ResponseInfo one{200, "the session", "application/json", &schemas.session};
  router.Add({"POST",
              "/v1/chat/interactive",
              {.summary = "A turn of a session: the server keeps the conversation",
               .tag = "Sessions",
               .request = &schemas.interactive_request,
               .responses = {{200, "the answer", "application/json", &schemas.interactive_response},
                             {200, "with stream: such an object a line; the last may be an error", answers::kJsonLines,
                              &schemas.interactive_response}}},
              TurnHandler(context, schemas.interactive_request, sessions, answers::JsonWriters())});
  router.Add({"GET",
              "/v1/sessions",
              {.summary = "The key's sessions; all of them with an admin key",
               .tag = "Sessions",
               .parameters = {{"limit", false, Integer(1, kMaxPage)},
                              {"after", false, Integer(0, kMaxId).Describe("the last id of the page before")},
                              owner,
                              {"after_owner", false, String(0, 64).Describe("its owner, where all are listed")}},
               .responses = {{200, "sessions, by id", "application/json", &schemas.session_list}}},
              [&](auto exchange) { List(sessions, *exchange); }});
  router.Add({"GET",
              "/v1/sessions/{session_id}",
              {.summary = "A session", .tag = "Sessions", .parameters = {id, owner}, .responses = {one}},
              [&](auto exchange) { Get(sessions, *exchange); }});
  router.Add({"DELETE",
              "/v1/sessions/{session_id}",
              {.summary = "Forget a session", .tag = "Sessions", .parameters = {id, owner}, .responses = {one}},
              [&](auto exchange) { Delete(sessions, exchange); }});
  router.Add({"POST",
              "/v1/sessions/{session_id}/rewind",
              {.summary = "Cut a session to its first tokens",
               .tag = "Sessions",
               .request = &schemas.rewind_request,
               .parameters = {id, owner},
               .responses = {one}},
              OnBody(context, schemas.rewind_request,
                     [&](const ServedModel&, const Fields& fields, const std::shared_ptr<Exchange>& exchange) {
                       Rewind(sessions, fields, exchange);
                     })});
}

}  // namespace ingot::server
