#include "server/interactive/session_routes.h"

#include <limits>

#include "server/answers/request_fields.h"
#include "server/interactive/interactive.h"

namespace ingot::server {
namespace {

constexpr int64_t kPage = 100, kMaxPage = 1000;

std::string SessionJson(const llm::SessionInfo& info, bool for_admin) {
  std::string out = fmt::format(R"({{"session_id":{},"tokens":{},"turns":{},"created":{},"last_used":{},"running":{})",
                                info.key.id, info.tokens, info.turns, info.created, info.used, info.running);
  if (for_admin) out += fmt::format(R"(,"owner":"{}")", info.key.owner);
  return out + "}";
}

// Whose sessions a request means: its key's; for an administrator, any key's.
std::string OwnerOf(const HttpRequest& http) {
  if (!http.is_admin) return http.key_id;
  return QueryParameter(http.query, "owner").value_or(http.key_id);
}

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
  std::string out;
  const size_t shown = std::min(list.size(), static_cast<size_t>(limit));
  for (size_t i = 0; i < shown; ++i) out += (i > 0 ? "," : "") + SessionJson(list[i], http.is_admin);
  exchange.Respond({.body = fmt::format(R"({{"data":[{}],"has_more":{}}})", out, list.size() > shown)});
}

void Get(llm::Sessions& sessions, Exchange& exchange) {
  const auto key = KeyOfPath(exchange, "/v1/sessions/{session_id}");
  if (!key) return;
  const auto info = sessions.Find(*key);
  if (!info) return Refuse(exchange, {"session_id", NotFound("there is no session {}", key->id).value()});
  exchange.Respond({.body = SessionJson(*info, exchange.request().is_admin)});
}

void Delete(llm::Sessions& sessions, const std::shared_ptr<Exchange>& exchange) {
  const auto key = KeyOfPath(*exchange, "/v1/sessions/{session_id}");
  if (!key) return;
  const Status status = sessions.Remove(*key, [exchange](const llm::SessionInfo& info) {
    exchange->Respond({.body = SessionJson(info, exchange->request().is_admin)});
  });
  if (!status.ok()) Refuse(*exchange, {"session_id", status});
}

void Rewind(llm::Sessions& sessions, const Schema& schema, const std::shared_ptr<Exchange>& exchange) {
  const auto body = ReadBody(*exchange, schema);
  if (!body) return;
  const auto key = KeyOfPath(*exchange, "/v1/sessions/{session_id}/rewind");
  if (!key) return;
  const auto tokens = sessions.Rewind(*key, *Fields(*body).Int("step"), [&sessions, exchange, key = *key] {
    const auto info = sessions.Find(key);
    if (!info) return Refuse(*exchange, {"session_id", NotFound("there is no session {}", key.id).value()});
    exchange->Respond({.body = SessionJson(*info, exchange->request().is_admin)});
  });
  if (!tokens) Refuse(*exchange, {"session_id", tokens.error()});
}

}  // namespace

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
                             {200, "with stream: such an object a line; the last may be an error", kLines,
                              &schemas.interactive_response}}},
              [&](const std::shared_ptr<Exchange>& exchange) {
                OnTextThread(context, exchange,
                             [&, exchange] { Interactive(context, sessions, schemas.interactive_request, exchange); });
              }});
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
              [&](const std::shared_ptr<Exchange>& exchange) {
                OnTextThread(context, exchange, [&, exchange] { Rewind(sessions, schemas.rewind_request, exchange); });
              }});
}

}  // namespace ingot::server
