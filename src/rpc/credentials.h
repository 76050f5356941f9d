// TLS for gRPC, from the same files as HTTP's, read again without a restart.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "server/http.h"

namespace ingot::rpc {

class Credentials {
 public:
  virtual ~Credentials() = default;
  // Reads the files again, for connections from then on; on an error the old ones hold.
  virtual Status Reload() = 0;
  virtual std::shared_ptr<::grpc::ServerCredentials> ForServer() = 0;
};
// Plain where the options name no certificate. Errors name the file.
Result<std::shared_ptr<Credentials>> MakeCredentials(const server::TlsOptions& options);

}  // namespace ingot::rpc
