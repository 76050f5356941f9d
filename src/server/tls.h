// TLS as options and as a context: connections are made with it.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "base/status.h"
#include "server/http.h"

namespace ingot::server {

// Reads certificate and key (PEM), checks that they belong together. TLS 1.2 and 1.3. Errors name the file.
Result<std::shared_ptr<boost::asio::ssl::context>> LoadTls(const TlsOptions& options);

}  // namespace ingot::server
