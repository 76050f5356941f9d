#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <optional>
#include <set>
#include <thread>

#include "base/log.h"
#include "base/mutex.h"
#include "base/signal_stack.h"
#include "server/connection.h"
#include "server/http.h"
#include "server/tls.h"

namespace ingot::server {
namespace {

using boost::system::error_code;
using tcp = asio::ip::tcp;

void Begin(const std::shared_ptr<Core>& core, tcp::socket socket) {
  const bool is_full = core->connections.size() >= static_cast<size_t>(core->options.max_connections);
  const auto connection = std::make_shared<Connection>(core, std::move(socket));
  asio::co_spawn(*core->io, is_full ? TurnAway(connection) : ServeConnection(connection), asio::detached);
}

asio::awaitable<void> Accept(std::shared_ptr<Core> core, tcp::acceptor& acceptor) {
  constexpr std::chrono::seconds kBetweenWarnings{60};
  std::optional<std::chrono::steady_clock::time_point> last_warning;
  for (;;) {
    std::string problem;
    try {
      auto [error, socket] = co_await acceptor.async_accept(kAwait);
      if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) co_return;
      if (!error) {
        Begin(core, std::move(socket));
        continue;
      }
      problem = error.message();
    } catch (const std::exception& error) {
      problem = error.what();
    }
    // Out of descriptors, of memory or the like: let some connections end first. Clients wait until then.
    const auto now = std::chrono::steady_clock::now();
    if (!last_warning || now - *last_warning >= kBetweenWarnings) {
      Log(LogLevel::kWarning,
          "cannot accept connections: {}; new ones wait until others end (ulimit -n, "
          "--max-connections)",
          problem);
      last_warning = now;
    }
    asio::steady_timer pause(*core->io, std::chrono::milliseconds(100));
    co_await pause.async_wait(kAwait);
  }
}

class BeastServer : public HttpServer {
 public:
  BeastServer(std::shared_ptr<Core> core, tcp::acceptor acceptor)
      : core_(std::move(core)), acceptor_(std::move(acceptor)) {
    port_ = acceptor_.local_endpoint().port();
  }
  ~BeastServer() override { Stop(0); }

  void SetRouter(Router router) override { core_->SetRouter(std::make_shared<const Router>(std::move(router))); }

  void Run() override {
    asio::co_spawn(*core_->io, Accept(core_, acceptor_), asio::detached);
    thread_ = std::thread([core = core_] {
      const SignalStack signal_stack;
      core->io->run();
      const MutexLock lock(core->mutex);
      core->stopped = true;
      core->changed.NotifyAll();
    });
  }

  uint16_t port() const override { return port_; }
  int open_connections() const override {
    const MutexLock lock(core_->mutex);
    return core_->num_connections;
  }

  size_t body_bytes() const override { return core_->body_memory->used(); }

  Status ReloadTls() override {
    if (!core_->options.tls.enabled()) return {};
    INGOT_ASSIGN_OR_RETURN(auto tls, LoadTls(core_->options.tls));
    asio::post(*core_->io, [core = core_, tls = std::move(tls)]() mutable { core->tls = std::move(tls); });
    return {};
  }

  void Stop(double drain_seconds) override {
    if (!thread_.joinable()) return;
    const auto close = [this](bool all) {
      asio::post(*core_->io, [this, all] {
        core_->draining = true;
        error_code ignored;
        if (all) acceptor_.close(ignored);
        const std::set<Connection*> connections = core_->connections;
        for (Connection* connection : connections) {
          if (all || connection->idle) connection->Close();
        }
      });
    };
    close(false);
    const auto after = [](double delay) {
      using Clock = std::chrono::steady_clock;
      return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(delay));
    };
    if (!core_->WaitUntilIdle(after(drain_seconds))) {
      asio::post(*core_->io, [core = core_] {
        const std::set<Connection*> connections = core->connections;
        for (const Connection* connection : connections) {
          if (connection->outbox) connection->outbox->Stop();
        }
      });
      core_->WaitUntilIdle(after(1));
    }
    close(true);
    // Without connections and acceptor every coroutine ends, and run() returns; stop() is for one that a bug keeps.
    if (!core_->WaitUntilStopped(after(2))) core_->io->stop();
    thread_.join();
  }

 private:
  const std::shared_ptr<Core> core_;
  tcp::acceptor acceptor_;
  uint16_t port_ = 0;
  std::thread thread_;
};

Result<tcp::acceptor> OpenAcceptor(asio::io_context& io, const HttpOptions& options) {
  error_code error;
  const auto address = asio::ip::make_address(options.address == "localhost" ? "127.0.0.1" : options.address, error);
  if (error) return InvalidArgument("server-name '{}' is no IP address", options.address);
  const tcp::endpoint endpoint(address, options.port);
  tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(1024, error);
  if (!error) return acceptor;
  const bool of_the_port = error == asio::error::address_in_use || error == asio::error::access_denied;
  return Io("cannot listen on {} port {}: {}{}", options.address, options.port, error.message(),
            of_the_port ? "; choose another with --server-port" : "");
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Listen(const HttpOptions& options, Router router) {
  auto core = std::make_shared<Core>();
  core->options = options;
  core->body_memory = std::make_shared<BodyMemory>(BodyMemoryOf(options));
  core->SetRouter(std::make_shared<const Router>(std::move(router)));
  if (options.tls.enabled()) {
    INGOT_ASSIGN_OR_RETURN(core->tls, LoadTls(options.tls));
  }
  INGOT_ASSIGN_OR_RETURN(tcp::acceptor acceptor, OpenAcceptor(*core->io, options));
  return std::make_unique<BeastServer>(std::move(core), std::move(acceptor));
}

}  // namespace ingot::server
