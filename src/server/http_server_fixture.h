// For tests: an HttpServer with routes, and what it logged.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/http.h"
#include "server/test_client.h"

namespace ingot::server {

// Set once, waited for by another thread.
class Flag {
 public:
  void Set() {
    const MutexLock lock(mutex_);
    set_ = true;
    changed_.NotifyAll();
  }
  bool WaitFor(int milliseconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    const MutexLock lock(mutex_);
    while (!set_ && changed_.WaitUntil(mutex_, end)) continue;
    return set_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool set_ INGOT_GUARDED_BY(mutex_) = false;
};

class HttpServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.port = 0;
    options_.max_body_bytes = 1000;
    options_.max_header_bytes = 2000;
    options_.header_timeout_seconds = options_.body_timeout_seconds = 1;
    options_.max_buffered_bytes = 64 << 10;
    options_.on_answered = [this](const AnsweredRequest& answered) {
      if (answered.slow) slow_.Set();
      const MutexLock lock(mutex_);
      log_lines_.push_back(fmt::format("{} {} {} {} id={}{}", answered.request.method, answered.request.path,
                                       answered.status, TextOf(answered.note), answered.request.request_id,
                                       answered.complete ? "" : " left"));
      has_client_ = has_client_ && answered.request.client.starts_with("127.0.0.1:");
    };
    router_.Add("GET", "/hello", [](auto exchange) { exchange->Respond({.body = "\"hello\""}); });
    router_.Add("POST", "/echo", [](auto exchange) {
      exchange->Respond({.content_type = "text/plain", .body = exchange->request().body});
    });
    router_.Add("GET", "/items/{id}", [](auto exchange) { exchange->Respond({.body = exchange->request().path}); });
    router_.Add("GET", "/dropped", [](auto) {});
    router_.Add("GET", "/throws", [](auto) { throw std::runtime_error("no good"); });
    router_.Add("GET", "/stream", [this](auto exchange) {
      exchange->OnClose([this] { closed_.Set(); });
      exchange->StartStream({.content_type = "text/event-stream"});
      for (int i = 0; i < 3; ++i) exchange->Send(fmt::format("data: {}\n\n", i));
      exchange->Finish();
    });
    router_.Add("GET", "/held", [this](auto exchange) {
      exchange->OnClose([this] { closed_.Set(); });
      const MutexLock lock(mutex_);
      held_ = exchange;
    });
    Start();
  }
  void TearDown() override {
    server_.reset();
    const MutexLock lock(mutex_);
    held_.reset();
  }
  void Start() {
    auto server = HttpServer::Listen(options_, router_);
    ASSERT_TRUE(server) << server.error().ToString();
    server_ = *std::move(server);
    server_->Run();
  }
  // Until `is_so`, or long enough for anything to come. Polls, since not everything that is waited for has a
  // notification.
  template <typename Condition>
  static bool Until(Condition is_so) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!is_so() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return is_so();
  }
  std::shared_ptr<Exchange> TakeHeld() {
    std::shared_ptr<Exchange> held;
    EXPECT_TRUE(Until([&] {
      const MutexLock lock(mutex_);
      return held || (held = std::exchange(held_, nullptr));
    }));
    return held;
  }
  // What was lines of the requests since the last call; once there is something.
  std::vector<std::string> TakeLogLines() {
    std::vector<std::string> lines;
    EXPECT_TRUE(Until([&] {
      const MutexLock lock(mutex_);
      if (lines.empty()) lines.swap(log_lines_);
      return !lines.empty();
    }));
    return lines;
  }
  void WaitForBodyBytes(size_t bytes) {
    Until([&] { return server_->body_bytes() == bytes; });
    ASSERT_EQ(server_->body_bytes(), bytes);
  }
  std::string Ask(const std::string& request) {
    TestClient client(server_->port());
    client.Send(request);
    return client.ReadResponse();
  }

  HttpOptions options_;
  Router router_;
  std::unique_ptr<HttpServer> server_;
  Mutex mutex_;
  std::shared_ptr<Exchange> held_ INGOT_GUARDED_BY(mutex_);
  std::vector<std::string> log_lines_ INGOT_GUARDED_BY(mutex_);
  bool has_client_ INGOT_GUARDED_BY(mutex_) = true;
  Flag closed_, slow_;
};

}  // namespace ingot::server
