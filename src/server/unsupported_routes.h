// What clients of others ask for, to be told more than that there is no such route.
#pragma once

namespace ingot::server {

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

}  // namespace ingot::server
