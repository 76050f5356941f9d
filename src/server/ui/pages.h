// The web pages: /chat for people, /docs (and /) for the API. Their files are in the program.
#pragma once

#include <string_view>
#include <vector>

#include "server/http.h"

namespace ingot::server {

struct Asset {
  std::string_view path;     // as a browser asks for it
  std::string_view type;     // MIME type
  std::string_view content;  // lives as long as the program
  std::string_view etag;     // a hash of the content, quoted
};

// All that the program carries; Swagger UI's files where they were there when it was built.
std::vector<Asset> Assets();

// Hidden routes, guarded like the others: browsers ask for the key as a password.
void AddPages(Router& router);

}  // namespace ingot::server
