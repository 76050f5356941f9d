// A route as data: who may call it, what it takes and what it answers. The router and the OpenAPI document are made of
// these.
#pragma once

#include <string>
#include <vector>

#include "server/schema/schema.h"

namespace ingot::server {

enum class Access : uint8_t {
  kOpen,  // anybody: liveness
  kKey,   // an API key, where the server asks for keys
  kAdmin  // an admin key
};

struct Parameter {
  std::string name;
  bool in_path = false;  // else in the query
  Schema schema;
};

struct ResponseInfo {
  int status = 200;
  std::string description;
  std::string content_type = "application/json";
  const Schema* schema = nullptr;  // of a stream: of an event. Outlives the router; null: no body, or plain text
};

struct RouteInfo {
  std::string summary, tag;
  Access access = Access::kKey;
  bool while_draining = false;      // answers, too, when the server is about to end
  const Schema* request = nullptr;  // outlives the router; null: no body
  std::vector<Parameter> parameters;
  std::vector<ResponseInfo> responses;  // of success; the errors are the same everywhere
  bool hidden = false;                  // pages and their parts: not in the document
};

}  // namespace ingot::server
