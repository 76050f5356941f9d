// The gRPC server: another transport of the same routes' machinery. A call is a request whose path is its method,
// "/inference.GRPCInferenceService/ModelInfer", and whose body is its message.
#pragma once

#include <memory>
#include <string>

#include "server/transport.h"

namespace ingot::rpc {

struct RpcOptions {
  server::TlsOptions tls;
  std::string address = "127.0.0.1";
  int port = 0;                                 // 0: any free one
  size_t max_message_bytes = size_t{16} << 20;  // of a request
  size_t max_memory = size_t{1} << 30;          // of all messages at once
  int max_streams = 4096;                       // calls at once on a connection
  size_t max_buffered_bytes = 256 << 10;        // of a stream that its client does not read
};

std::shared_ptr<server::Transport> MakeTransport(const RpcOptions& options);

}  // namespace ingot::rpc
