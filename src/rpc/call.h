// A call of gRPC and the exchanges that answer it.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/support/byte_buffer.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "rpc/rpc_server.h"

namespace ingot::rpc {

class Call;

// What the calls of a server share.
struct Core {
  RpcOptions options;
  std::function<void(const server::AnsweredRequest&)> on_answered;

  std::mutex mutex;  // guards what follows
  std::shared_ptr<const server::Router> router;
  std::set<Call*> calls;
  std::condition_variable changed;

  std::shared_ptr<const server::Router> CurrentRouter() {
    const std::lock_guard lock(mutex);
    return router;
  }
};

// The way back of a call: messages in order, then its status. Thread safety: all methods from any thread. Outlives the
// call for those that still answer it.
class Outlet {
 public:
  Outlet(Call* call, size_t max_buffered_bytes) : call_(call), max_buffered_bytes_(max_buffered_bytes) {}
  // False where the call is over, or its client reads so slowly that the buffer is full, which ends it.
  bool Push(std::string message);
  // After what was pushed. The first one counts. `retry_after`: seconds, for the trailers; "": none.
  void End(::grpc::Status status, std::string retry_after = "");
  // The call is not finished between these two.
  void Hold();
  void Release();
  bool closed();
  bool slow();
  // Of the call, on its threads.
  void OnWritten(bool ok);
  void OnGone();  // the client has gone

 private:
  // What is to be called once the mutex is free.
  enum class Next { kNothing, kWrite, kFinish };
  Next NextLocked();
  void Do(Next next);

  Call* const call_;  // lives until it was finished
  const size_t max_buffered_bytes_;
  std::mutex mutex_;  // guards what follows
  std::deque<std::string> waiting_;
  size_t buffered_ = 0;
  ::grpc::ByteBuffer current_;  // is being written
  int num_holds_ = 0;
  bool is_writing_ = false, is_gone_ = false, is_slow_ = false, has_finished_ = false;
  std::optional<::grpc::Status> end_;
  std::string retry_after_;
};

// One request of a call: its only one, or one of a stream of them. Ends once.
class RpcExchange : public server::Exchange {
 public:
  RpcExchange(std::shared_ptr<Core> core, std::shared_ptr<Outlet> outlet, server::HttpRequest request);
  ~RpcExchange() override;
  const server::HttpRequest& request() const override { return request_; }
  server::HttpRequest& mutable_request() override { return request_; }
  void Respond(server::HttpResponse response) override;
  void StartStream(server::HttpResponse) override {}
  bool Send(std::string chunk) override { return chunk.empty() || outlet_->Push(std::move(chunk)); }
  void Finish() override;
  void FailStream(server::HttpResponse instead, std::string last) override;
  void Abort() override;
  void Note(LogFields note) override;
  void OnClose(std::function<void()> on_close) override;
  void OnStop(std::function<void()> on_stop) override;
  bool closed() override;

  void ClientGone();
  void Stop();
  // Of a request in a stream, whose errors are messages: how an error is written, and what follows its end. Until then
  // the call is not finished.
  void InStream(std::function<std::string(const std::string& message)> error_message, std::function<void()> on_end) {
    error_message_ = std::move(error_message);
    on_end_ = std::move(on_end);
    outlet_->Hold();
  }

 private:
  bool Over(int status, bool complete);
  void Fail(const server::HttpResponse& response);
  void EndInStream();

  const std::shared_ptr<Core> core_;
  const std::shared_ptr<Outlet> outlet_;
  const std::shared_ptr<const server::Router> router_;
  server::HttpRequest request_;
  std::function<std::string(const std::string&)> error_message_;
  std::function<void()> on_end_;
  std::mutex mutex_;  // guards what follows
  std::function<void()> on_close_, on_stop_;
  bool is_over_ = false, is_gone_ = false, is_stopped_ = false;
  LogFields note_;
};

// Deletes itself when gRPC is done with it.
class Call : public ::grpc::ServerGenericBidiReactor {
 public:
  Call(std::shared_ptr<Core> core, ::grpc::GenericCallbackServerContext* context);
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override { outlet_->OnWritten(ok); }
  void OnCancel() override;
  void OnDone() override;
  std::vector<std::shared_ptr<RpcExchange>> Running();
  void CancelCall() { context_->TryCancel(); }
  void AddTrailer(const std::string& name, const std::string& value) { context_->AddTrailingMetadata(name, value); }

 private:
  ~Call() override = default;
  server::HttpRequest RequestOf(std::string body) const;
  void Begin(std::string body);
  void EndOfOne();

  const std::shared_ptr<Core> core_;
  ::grpc::GenericCallbackServerContext* const context_;
  const std::shared_ptr<Outlet> outlet_;
  const bool is_stream_;  // of requests
  ::grpc::ByteBuffer incoming_;

  std::mutex mutex_;  // guards what follows
  std::vector<std::weak_ptr<RpcExchange>> exchanges_;
  int num_running_ = 0;
  bool has_read_all_ = false, is_reading_ = true;
};

// gRPC's status for an error of HTTP, with the same words.
::grpc::Status StatusOf(const server::HttpResponse& response);

}  // namespace ingot::rpc
