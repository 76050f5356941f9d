// The same streams over REST and over gRPC, alternating: tokens/s, time to the first token, and CPU time per token of
// the server and of the client. Both clients are C++ and parse nothing, so that they cost little.
//   ingot serve api_server smollm2 --model-name m --session-len 2048 --max-batch-size 32 --grpc-port 8001
//   compare_transports http://127.0.0.1:23333 127.0.0.1:8001 --pid $(pidof ingot) --at-once 32 --tokens 64 --rounds 7
#include <fmt/format.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <ingot/v1/generation.pb.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "client/http_client.h"

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void Fail(const std::string& message) {
  fmt::print(stderr, "compare_transports: {}\n", message);
  std::exit(1);
}

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::string Line(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

// CPU time of a process's threads in milliseconds: threads that compute the model, and the others.
struct CpuTimes {
  double model = 0, others = 0;
};
CpuTimes CpuTimesOf(const std::string& pid) {
  CpuTimes times;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + pid + "/task", error)) {
    const std::string name = Line(task.path() / "comm"), stat = Line(task.path() / "schedstat");
    if (stat.empty()) continue;  // the thread has ended
    const bool computes = name == "ingot-engine" || name == "ingot-worker";
    (computes ? times.model : times.others) += std::stod(stat.substr(0, stat.find(' '))) * 1e-6;
  }
  return times;
}

struct Options {
  std::string url, address, pid;
  int at_once = 32, tokens = 64, rounds = 7;
};

struct Round {
  double tokens_per_second = 0, first_ms = 0;  // the median of the streams
  // CPU time per token, in microseconds: the server's threads that compute the model, its other threads, the client.
  double model_us = 0, transport_us = 0, client_us = 0;
};

std::string PromptOf(int stream) { return fmt::format("Story {}. Once upon a time there was a lighthouse", stream); }

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

// Streams over REST; the seconds to each one's first token.
std::vector<double> OverRest(const Options& options, int seed) {
  ingot::client::HttpClientOptions http{.url = ingot::client::ParseUrl(options.url).value()};
  const auto client = ingot::client::HttpClient::Make(http).value();
  std::vector<double> first(static_cast<size_t>(options.at_once), 0);
  const auto begin = Clock::now();
  for (int i = 0; i < options.at_once; ++i) {
    const std::string body =
        fmt::format(R"({{"prompt":"{}","stream":true,"max_tokens":{},"ignore_eos":true,"seed":{},"temperature":0.8}})",
                    PromptOf(i), options.tokens, seed);
    double* mine = &first[static_cast<size_t>(i)];
    client->Send({.method = "POST", .path = "/v1/completions", .content_type = "application/json", .body = body},
                 {.on_head = {},
                  .on_data =
                      [mine, begin](std::string_view data) {
                        if (*mine == 0 && data.find("data: {") != std::string_view::npos) *mine = SecondsSince(begin);
                      },
                  .on_end =
                      [](const ingot::Status& status) {
                        if (!status.ok()) Fail("REST: " + status.message());
                      }});
  }
  client->Run();
  return first;
}

// One stream. `group->running` counts those that have not ended.
class Reader : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  struct Group {
    std::mutex mutex;
    std::condition_variable changed;
    int running = 0;
    Clock::time_point begin = Clock::now();
  };
  Reader(grpc::GenericStub& stub, const ingot::v1::CompleteRequest& request, Group* group)
      : begin_(group->begin), group_(group) {
    const std::string bytes = request.SerializeAsString();
    const grpc::Slice slice(bytes);
    request_ = grpc::ByteBuffer(&slice, 1);
    stub.PrepareBidiStreamingCall(&context_, "/ingot.v1.Generation/CompleteStream", {}, this);
    StartWriteLast(&request_, {});
    StartRead(&chunk_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (first_ == 0) first_ = SecondsSince(begin_);
    StartRead(&chunk_);
  }
  void OnDone(const grpc::Status& status) override {
    status_ = status;
    const std::lock_guard lock(group_->mutex);
    --group_->running;
    group_->changed.notify_all();
  }
  double first() const { return first_; }
  const grpc::Status& status() const { return status_; }

 private:
  const Clock::time_point begin_;
  Group* const group_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_, chunk_;
  double first_ = 0;
  grpc::Status status_;
};

std::vector<double> OverGrpc(const Options& options, grpc::GenericStub& stub, int seed) {
  Reader::Group group{.running = options.at_once};
  std::vector<std::unique_ptr<Reader>> readers;
  for (int i = 0; i < options.at_once; ++i) {
    ingot::v1::CompleteRequest request;
    request.add_prompt(PromptOf(i));
    request.set_max_tokens(options.tokens);
    request.set_ignore_eos(true);
    request.set_seed(seed);
    request.set_temperature(0.8);
    readers.push_back(std::make_unique<Reader>(stub, request, &group));
  }
  {
    std::unique_lock lock(group.mutex);
    group.changed.wait(lock, [&] { return group.running == 0; });
  }
  std::vector<double> first;
  for (const auto& reader : readers) {
    if (!reader->status().ok()) Fail("gRPC: " + reader->status().error_message());
    first.push_back(reader->first());
  }
  return first;
}

template <typename Ask>
Round Measure(const Options& options, const Ask& ask) {
  const CpuTimes server = CpuTimesOf(options.pid), client = CpuTimesOf("self");
  const auto begin = Clock::now();
  const std::vector<double> first = ask();
  const double seconds = SecondsSince(begin);
  if (std::ranges::count(first, 0.0) != 0) Fail("a stream had no token: see the server's log");
  const CpuTimes server_now = CpuTimesOf(options.pid), client_now = CpuTimesOf("self");
  const double tokens = static_cast<double>(options.at_once) * options.tokens;
  return {.tokens_per_second = tokens / seconds,
          .first_ms = Median(first) * 1e3,
          .model_us = (server_now.model - server.model) * 1e3 / tokens,
          .transport_us = (server_now.others - server.others) * 1e3 / tokens,
          .client_us = (client_now.others - client.others) * 1e3 / tokens};
}

// "median (min…max)"
std::string Spread(const std::vector<Round>& rounds, double Round::* figure) {
  std::vector<double> values;
  for (const Round& round : rounds) values.push_back(round.*figure);
  const auto [min, max] = std::ranges::minmax(values);
  return fmt::format("{:9.3f} ({:.3f}…{:.3f})", Median(values), min, max);
}

void Report(const char* name, const std::vector<Round>& rounds) {
  fmt::print("{:12} tokens/s {}  first ms {}\n{:12} us/token: model {}  transport {}  client {}\n", name,
             Spread(rounds, &Round::tokens_per_second), Spread(rounds, &Round::first_ms), "",
             Spread(rounds, &Round::model_us), Spread(rounds, &Round::transport_us), Spread(rounds, &Round::client_us));
}

// gRPC's figures divided by REST's of the same round.
std::vector<Round> Ratios(const std::vector<Round>& grpc, const std::vector<Round>& rest) {
  std::vector<Round> ratios;
  for (size_t i = 0; i < grpc.size(); ++i) {
    const auto of = [&](double Round::* figure) { return grpc[i].*figure / rest[i].*figure; };
    ratios.push_back({of(&Round::tokens_per_second), of(&Round::first_ms), of(&Round::model_us),
                      of(&Round::transport_us), of(&Round::client_us)});
  }
  return ratios;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares REST with gRPC");
  Options options;
  app.add_option("url", options.url, "of the API server")->required();
  app.add_option("address", options.address, "of its gRPC")->required();
  app.add_option("--pid", options.pid, "of the server, which runs on this machine")->required();
  app.add_option("--at-once", options.at_once, "streams");
  app.add_option("--tokens", options.tokens, "of each answer");
  app.add_option("--rounds", options.rounds, "measured ones, after one to warm up");
  CLI11_PARSE(app, argc, argv);
  grpc::GenericStub stub(grpc::CreateChannel(options.address, grpc::InsecureChannelCredentials()));
  std::vector<Round> rest, grpc;
  for (int round = 0; round <= options.rounds; ++round) {
    const auto over_rest = [&] { rest.push_back(Measure(options, [&] { return OverRest(options, round); })); };
    const auto over_grpc = [&] { grpc.push_back(Measure(options, [&] { return OverGrpc(options, stub, round); })); };
    // Which is first alternates, too.
    if (round % 2 == 0) over_rest();
    over_grpc();
    if (round % 2 == 1) over_rest();
    if (round > 0) continue;  // round 0 warms up
    rest.clear();
    grpc.clear();
  }
  Report("REST", rest);
  Report("gRPC", grpc);
  Report("gRPC / REST", Ratios(grpc, rest));
}
