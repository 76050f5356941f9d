#include "server/ui/pages.h"

namespace ingot::server {
namespace {

// Nothing from elsewhere, no code but the files', no embedding in frames.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri "
    "'none'; "
    "form-action 'none'; frame-ancestors 'none'";
// Swagger UI sets styles from its code.
constexpr const char* kDocsPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src "
    "'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

HttpResponse Answer(const Asset& asset, const HttpRequest& request, const char* policy) {
  HttpResponse response{.content_type = std::string(asset.type),
                        .headers = {{"ETag", std::string(asset.etag)},
                                    {"Cache-Control", "no-cache"},  // ask whether it is still the same
                                    {"Content-Security-Policy", policy},
                                    {"X-Content-Type-Options", "nosniff"},
                                    {"Referrer-Policy", "no-referrer"}}};
  // One or several tags, which a proxy that compresses marks as weak (W/"…").
  const std::string_view known = request.Header("If-None-Match");
  if (known == "*" || known.find(asset.etag) != std::string_view::npos) {
    response.status = 304;
    return response;
  }
  response.body = std::string(asset.content);
  return response;
}

void AddPage(Router& router, const std::string& path, const Asset& asset) {
  const char* policy = path.starts_with("/chat") ? kPolicy : kDocsPolicy;
  router.Add("GET", path, [asset, policy](const std::shared_ptr<Exchange>& exchange) {
    exchange->Respond(Answer(asset, exchange->request(), policy));
  });
}

}  // namespace

void AddPages(Router& router) {
  for (const Asset& asset : Assets()) {
    AddPage(router, std::string(asset.path), asset);
    if (asset.path == "/favicon.svg") AddPage(router, "/favicon.ico", asset);
    if (asset.path == "/docs") AddPage(router, "/", asset);
  }
}

}  // namespace ingot::server
