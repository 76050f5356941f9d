// The routes that answer: how a body becomes a question, and how its answer is written.
#pragma once

#include <memory>
#include <string>

#include "answers/answer.h"
#include "answers/api_schemas.h"
#include "answers/fields.h"
#include "answers/format.h"
#include "answers/served_models.h"
#include "llm/sessions.h"

namespace ingot::answers {

struct Prepared {
  Question question;
  std::unique_ptr<Format> format;
  bool stream = false;
};

struct Caller {
  std::string request_id;
  bool always_include_usage = false;  // in streams, too, that do not ask for it
};

// Of a checked body. The error is of what a schema cannot say; status.field() names the field.
using Reader = Result<Prepared> (*)(const Fields& fields, const ServedModel& model, const Caller& caller);
Result<Prepared> ReadChat(const Fields& fields, const ServedModel& model, const Caller& caller);
Result<Prepared> ReadCompletion(const Fields& fields, const ServedModel& model, const Caller& caller);
Result<Prepared> ReadGenerate(const Fields& fields, const ServedModel& model, const Caller& caller);

struct Route {
  const char *path, *summary, *tag;
  const Schema ApiSchemas::* request;
  const Schema ApiSchemas::* response;
  const Schema ApiSchemas::* chunk;
  Reader read;
};
inline constexpr Route kRoutes[] = {
    {"/v1/chat/completions", "Answer a conversation", "OpenAI", &ApiSchemas::chat_request, &ApiSchemas::chat_response,
     &ApiSchemas::chat_chunk, ReadChat},
    {"/v1/completions", "Complete text", "OpenAI", &ApiSchemas::completion_request, &ApiSchemas::completion_response,
     &ApiSchemas::completion_response, ReadCompletion},
    {"/generate", "Text or ids in, text and ids out", "LMDeploy", &ApiSchemas::generate_request,
     &ApiSchemas::generate_response, &ApiSchemas::generate_response, ReadGenerate},
};

// Routes that clients of others try, to be told more than that there is no such route.
struct UnsupportedRoute {
  const char *path, *what;
};
inline constexpr UnsupportedRoute kUnsupportedRoutes[] = {
    {"/v1/embeddings", "embeddings are not made here"},
    {"/v1/responses", "responses are not kept here; a conversation goes to /v1/chat/completions"},
    {"/v1/messages", "conversations are answered at /v1/chat/completions"},
    {"/v1/rerank", "texts are not ranked here"},
    {"/v1/score", "texts are not ranked here"},
    {"/v1/moderations", "texts are not judged here"},
    {"/v1/audio/{task}", "audio is not supported"},
    {"/v1/images/{task}", "images are not supported"},
    {"/v1/files", "files are not kept here; `ingot batch` answers a file of requests"},
    {"/v1/batches", "files are not kept here; `ingot batch` answers a file of requests"}};

// Content-Type of a stream of JSON objects, one a line.
inline constexpr const char* kJsonLines = "application/x-ndjson; charset=utf-8";

// A turn of a session: LMDeploy's stateful chat, which sends what is new.
Result<Prepared> ReadTurn(const Fields& fields, const ServedModel& model, llm::Sessions& sessions,
                          const llm::SessionKey& key);
// What such a turn is answered with that only stops a session's answer, or forgets it.
std::string EmptyTurn(int64_t session_id);

}  // namespace ingot::answers
