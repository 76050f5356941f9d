// Sends requests to an OpenAI server, in an open or a closed loop, and records what came when.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "bench/report.h"
#include "client/openai_client.h"

namespace ingot::bench {

// A Poisson process: seconds from the start, the first at 0, with exponential gaps of 1 / rate on average.
// REQUIRES: rate > 0. Infinite: all at 0.
std::vector<double> PoissonArrivals(size_t count, double rate, uint64_t seed);

struct LoadRequest {
  std::string path, body;
};

struct LoadOptions {
  // Requests a second, arriving at random (PoissonArrivals); infinite: all at once. Both this and max_concurrency: who
  // arrives while so many are under way waits.
  double request_rate = std::numeric_limits<double>::infinity();
  uint64_t seed = 0;
  int max_concurrency = 0;                        // 0: as many as have arrived
  std::function<bool()> interrupted;              // asked some times a second; true: what is left is cancelled
  std::function<void(int64_t done)> on_progress;  // either may be empty
};

struct LoadResult {
  std::vector<RequestRecord> records;  // one a request, in their order
  double duration = 0;                 // seconds until the last one ended
};
// An answer that is refused, broken off or late is a record with a failure, never an error; nothing is sent twice.
LoadResult GenerateLoad(client::HttpClient& http, std::vector<LoadRequest> requests, const LoadOptions& options);

}  // namespace ingot::bench
