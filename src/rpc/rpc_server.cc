#include "rpc/rpc_server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <iterator>

#include "rpc/call.h"
#include "rpc/credentials.h"
#include "rpc/routes.h"

namespace ingot::rpc {
namespace {

using std::chrono::duration;
using std::chrono::system_clock;

constexpr int kKeepAliveMs = 60'000, kKeepAliveTimeoutMs = 20'000, kMinPingMs = 10'000;
constexpr int kMaxMetadataBytes = 16 << 10;  // as of HTTP's headers
constexpr std::chrono::seconds kToEnd{1};    // for calls that were told to end

class Service : public ::grpc::CallbackGenericService {
 public:
  explicit Service(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ::grpc::ServerGenericBidiReactor* CreateReactor(::grpc::GenericCallbackServerContext* context) override {
    return new Call(core_, context);  // deletes itself
  }

 private:
  const std::shared_ptr<Core> core_;
};

class TransportImpl : public server::Transport {
 public:
  explicit TransportImpl(const RpcOptions& options) { core_->options = options; }
  ~TransportImpl() override { Stop(0); }

  server::Router MakeRouter(const server::TransportParts& parts) const override {
    server::Router router;
    AddInferenceRoutes(router, parts);
    AddGenerationRoutes(router, parts);
    if (parts.http != nullptr) AddReflectionRoutes(router);
    return router;
  }

  Status Listen(server::Router router, std::function<void(const server::AnsweredRequest&)> on_answered) override {
    const RpcOptions& options = core_->options;
    core_->on_answered = std::move(on_answered);
    core_->router = std::make_shared<const server::Router>(std::move(router));
    INGOT_ASSIGN_OR_RETURN(credentials_, MakeCredentials(options.tls));
    ::grpc::EnableDefaultHealthCheckService(true);
    ::grpc::ServerBuilder builder;
    const std::string host = options.address == "localhost" ? "127.0.0.1" : options.address;
    const std::string address =
        fmt::format("{}:{}", host.find(':') != std::string::npos ? "[" + host + "]" : host, options.port);
    builder.AddListeningPort(address, credentials_->ForServer(), &port_);
    builder.RegisterCallbackGenericService(&service_);
    builder.SetMaxReceiveMessageSize(static_cast<int>(std::min<size_t>(options.max_message_bytes, 1U << 30)));
    builder.SetMaxSendMessageSize(-1);
    builder.SetResourceQuota(::grpc::ResourceQuota("ingot").Resize(options.max_memory));
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port that is in use is an error
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveTimeoutMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingMs);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0)
      return Io("cannot listen for gRPC at {}: the port may be in use (--grpc-port)", address);
    SetServing(false);
    return {};
  }

  void SetRouter(server::Router router) override {
    {
      const std::lock_guard lock(core_->mutex);
      core_->router = std::make_shared<const server::Router>(std::move(router));
    }
    SetServing(true);
  }
  int port() const override { return port_; }
  Status ReloadTls() override { return credentials_->Reload(); }

  // Calls that come meanwhile are refused by the router's guards.
  void Stop(double drain_seconds) override {
    if (server_ == nullptr) return;
    SetServing(false);
    WaitForCalls(duration<double>(drain_seconds));
    std::vector<std::shared_ptr<RpcExchange>> running;
    {
      const std::lock_guard lock(core_->mutex);  // none of them goes meanwhile
      for (Call* call : core_->calls) std::ranges::move(call->Running(), std::back_inserter(running));
    }
    for (const auto& exchange : running) exchange->Stop();
    running.clear();
    WaitForCalls(kToEnd);
    server_->Shutdown(system_clock::now());
    server_->Wait();
    server_.reset();
  }

 private:
  void SetServing(bool serving) {
    for (const char* name : {"", kInferenceService, kGenerationService})
      server_->GetHealthCheckService()->SetServingStatus(name, serving);
  }
  void WaitForCalls(duration<double> at_most) {
    std::unique_lock lock(core_->mutex);
    core_->changed.wait_for(lock, at_most, [this] { return core_->calls.empty(); });
  }

  const std::shared_ptr<Core> core_ = std::make_shared<Core>();
  Service service_{core_};
  std::shared_ptr<Credentials> credentials_;
  std::unique_ptr<::grpc::Server> server_;
  int port_ = 0;
};

}  // namespace

std::shared_ptr<server::Transport> MakeTransport(const RpcOptions& options) {
  return std::make_shared<TransportImpl>(options);
}

}  // namespace ingot::rpc
