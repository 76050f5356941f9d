// What the server counts: requests as they pass, and what the engine says of itself when it is asked.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "llm/llm.h"
#include "server/http.h"

namespace ingot::kserve {
struct Statistics;
}

namespace ingot::server {

struct MetricsOptions {
  std::string model_name, version;
  bool vllm_names = false, lmdeploy_names = false;  // --metrics-compat: aliases in addition to our own names
};

// One request on its way to an answer. Thread safety: one thread at a time, except ClientLeft. Ends once: the first of
// Reject, Fail, End counts.
class Observed {
 public:
  virtual ~Observed() = default;  // neither ended nor rejected: cancelled
  virtual void Tokens(const llm::Event& event) = 0;
  virtual void ClientLeft() = 0;  // any thread
  virtual void Reject(const WireError& error) = 0;
  virtual void Fail(const WireError& error) = 0;
  virtual void End(const llm::Usage& usage) = 0;
};

// Thread safety: all methods from any thread. Lives as long as any Observed: answers may end after their server.
class Metrics {
 public:
  static std::shared_ptr<Metrics> Make(const MetricsOptions& options);
  virtual ~Metrics() = default;

  virtual std::shared_ptr<Observed> Begin() = 0;
  // A request that was answered, whatever it was.
  virtual void Answered(const std::string& path, int status) = 0;
  virtual void SlowConsumer() = 0;
  // Of requests to the model that have ended: all but steps, which the engine counts.
  virtual kserve::Statistics statistics() const = 0;
  // For a request that found the queue full, by how long those that ended lately had a slot.
  virtual int RetryAfterSeconds(const llm::Stats& engine) const = 0;

  struct Server {  // what only the server knows
    llm::Stats engine;
    int block_tokens = 0;         // of a block of the KV cache
    bool prefix_caching = false;  // its blocks are shared
    size_t unread = 0;            // requests that wait for a thread to read them
    int connections = 0;
    size_t body_bytes = 0;  // of the current requests
    int64_t sessions = 0;
    int64_t failed_session_writes = 0;  // changes that --session-db did not take at first
    double startup_seconds = 0;
    llm::DeviceState device;
  };
  // Prometheus' text format.
  virtual std::string Scrape(const Server& server) = 0;
};

}  // namespace ingot::server
