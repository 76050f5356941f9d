// The OpenAPI document of a router's routes.
#pragma once

#include <string>

#include "server/http.h"

namespace ingot::server {

struct OpenApiOptions {
  std::string title, version, description;
  bool asks_for_keys = false;
  std::string root_path = {};  // of the server's address; "": the root
};

// OpenAPI 3.1. Every route that is not hidden is in it, with the errors that it can answer.
std::string OpenApiDocument(const Router& router, const OpenApiOptions& options);

}  // namespace ingot::server
