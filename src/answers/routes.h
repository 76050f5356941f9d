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
  std::string at_once = {};  // not empty: this is the answer, and there is no question
};

struct Caller {
  std::string request_id;
  bool always_include_usage = false;  // in streams, too, that do not ask for it
  const Writers* writers = &JsonWriters();
};

// Of a checked body. The error is of what a schema cannot say; status.field() names the field.
using Reader = Result<Prepared> (*)(const Fields& fields, const ServedModel& model, const Caller& caller);
Result<Prepared> ReadChat(const Fields& fields, const ServedModel& model, const Caller& caller);
Result<Prepared> ReadCompletion(const Fields& fields, const ServedModel& model, const Caller& caller);
Result<Prepared> ReadGenerate(const Fields& fields, const ServedModel& model, const Caller& caller);
Result<Prepared> ReadLlamaCompletion(const Fields& fields, const ServedModel& model, const Caller& caller);
Result<Prepared> ReadOllamaChat(const Fields& fields, const ServedModel& model, const Caller& caller);
Result<Prepared> ReadOllamaGenerate(const Fields& fields, const ServedModel& model, const Caller& caller);

// Content-Type of streams: server-sent events; JSON objects, one a line.
inline constexpr const char* kEvents = "text/event-stream; charset=utf-8";
inline constexpr const char* kJsonLines = "application/x-ndjson; charset=utf-8";

struct Route {
  const char *path, *summary, *tag;
  const Schema ApiSchemas::* request;
  const Schema ApiSchemas::* response;
  const Schema ApiSchemas::* chunk;
  Reader read;
  const char* stream_type = kEvents;
  const ErrorStyle* errors = &kOpenAiErrors;
};
inline constexpr Route kRoutes[] = {
    {"/v1/chat/completions", "Answer a conversation", "OpenAI", &ApiSchemas::chat_request, &ApiSchemas::chat_response,
     &ApiSchemas::chat_chunk, ReadChat},
    {"/v1/completions", "Complete text", "OpenAI", &ApiSchemas::completion_request, &ApiSchemas::completion_response,
     &ApiSchemas::completion_response, ReadCompletion},
    {"/generate", "Text or ids in, text and ids out", "LMDeploy", &ApiSchemas::generate_request,
     &ApiSchemas::generate_response, &ApiSchemas::generate_response, ReadGenerate},
    {"/completion", "Complete text", "llama.cpp", &ApiSchemas::llama_request, &ApiSchemas::llama_response,
     &ApiSchemas::llama_chunk, ReadLlamaCompletion},
    {"/api/chat", "Answer a conversation", "ollama", &ApiSchemas::ollama_chat_request,
     &ApiSchemas::ollama_chat_response, &ApiSchemas::ollama_chat_response, ReadOllamaChat, kJsonLines, &kFlatErrors},
    {"/api/generate", "Answer a prompt", "ollama", &ApiSchemas::ollama_generate_request,
     &ApiSchemas::ollama_generate_response, &ApiSchemas::ollama_generate_response, ReadOllamaGenerate, kJsonLines,
     &kFlatErrors},
};

// Other paths of these and other routes, as llama-server has them.
struct Alias {
  const char *path, *of;
};
inline constexpr Alias kAliases[] = {
    {"/completions", "/completion"}, {"/chat/completions", "/v1/chat/completions"}, {"/models", "/v1/models"}};

// Routes that clients of others try, to be told more than that there is no such route.
struct UnsupportedRoute {
  const char *path, *what;
  const char* method = "POST";
  const ErrorStyle* errors = &kOpenAiErrors;
};
inline constexpr const char* kNoEmbeddings = "embeddings are not made here";
inline constexpr const char* kNoRanking = "texts are not ranked here";
inline constexpr const char* kNoModelStore =
    "models are not fetched, made or removed here; the server was started with its model";
inline constexpr UnsupportedRoute kUnsupportedRoutes[] = {
    {"/v1/embeddings", kNoEmbeddings},
    {"/v1/responses", "responses are not kept here; a conversation goes to /v1/chat/completions"},
    {"/v1/messages", "conversations are answered at /v1/chat/completions"},
    {"/v1/rerank", kNoRanking},
    {"/v1/score", kNoRanking},
    {"/v1/moderations", "texts are not judged here"},
    {"/v1/audio/{task}", "audio is not supported"},
    {"/v1/images/{task}", "images are not supported"},
    {"/v1/files", "files are not kept here; `ingot batch` answers a file of requests"},
    {"/v1/batches", "files are not kept here; `ingot batch` answers a file of requests"},
    {"/embedding", kNoEmbeddings},
    {"/embeddings", kNoEmbeddings},
    {"/rerank", kNoRanking},
    {"/reranking", kNoRanking},
    {"/infill", "filling in is not supported"},
    {"/slots/{id}", "caches of slots are not saved; /v1/chat/interactive keeps conversations"},
    {"/lora-adapters", "adapters are not supported"},
    {"/api/embed", kNoEmbeddings, "POST", &kFlatErrors},
    {"/api/embeddings", kNoEmbeddings, "POST", &kFlatErrors},
    {"/api/pull", kNoModelStore, "POST", &kFlatErrors},
    {"/api/push", kNoModelStore, "POST", &kFlatErrors},
    {"/api/create", kNoModelStore, "POST", &kFlatErrors},
    {"/api/copy", kNoModelStore, "POST", &kFlatErrors},
    {"/api/delete", kNoModelStore, "DELETE", &kFlatErrors}};

// What llama-server tells of itself and its slots.
std::string LlamaProps(const ServedModel& model, std::string_view version);
std::string LlamaSlots(const ServedModel& model);
// What ollama tells of its models: those there are, those that are loaded (here the same), one.
std::string OllamaTags(const ServedModels& models);
std::string OllamaProcesses(const ServedModels& models);
std::string OllamaModel(const ServedModel& model);

// A turn of a session: LMDeploy's stateful chat, which sends what is new.
struct SessionTurn {
  llm::Sessions& sessions;
  llm::SessionKey key;
};
Result<Prepared> ReadTurn(const Fields& fields, const ServedModel& model, const SessionTurn& session,
                          const Caller& caller);

}  // namespace ingot::answers
