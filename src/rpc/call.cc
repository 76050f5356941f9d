#include "rpc/call.h"

#include <random>

#include "base/log.h"
#include "rpc/messages.h"
#include "rpc/routes.h"
#include "server/exchange_wrapper.h"

namespace ingot::rpc {
namespace {

using server::HttpRequest;
using server::HttpResponse;

// Requests of one stream that are answered at once; more are read when one has ended.
constexpr int kMaxRunning = 256;
constexpr int kClientLeft = 499;

// The client's where it is sane, else ours.
std::string RequestId(std::string_view from_client) {
  const auto is_sane = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  if (!from_client.empty() && from_client.size() <= 128 && std::ranges::all_of(from_client, is_sane))
    return std::string(from_client);
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("{:016x}{:016x}", generator(), generator());
}

std::optional<std::string> BytesOf(::grpc::ByteBuffer& buffer) {
  ::grpc::Slice slice;
  if (!buffer.DumpToSingleSlice(&slice).ok()) return std::nullopt;
  std::string bytes(reinterpret_cast<const char*>(slice.begin()), slice.size());
  buffer.Clear();
  return bytes;
}

::grpc::StatusCode CodeOf(int status) {
  constexpr std::pair<int, ::grpc::StatusCode> kCodes[] = {
      {400, ::grpc::StatusCode::INVALID_ARGUMENT},   {401, ::grpc::StatusCode::UNAUTHENTICATED},
      {403, ::grpc::StatusCode::PERMISSION_DENIED},  {404, ::grpc::StatusCode::NOT_FOUND},
      {405, ::grpc::StatusCode::UNIMPLEMENTED},      {409, ::grpc::StatusCode::ABORTED},
      {413, ::grpc::StatusCode::RESOURCE_EXHAUSTED}, {429, ::grpc::StatusCode::RESOURCE_EXHAUSTED},
      {499, ::grpc::StatusCode::CANCELLED},          {501, ::grpc::StatusCode::UNIMPLEMENTED},
      {503, ::grpc::StatusCode::UNAVAILABLE},        {504, ::grpc::StatusCode::DEADLINE_EXCEEDED}};
  for (const auto& [http, code] : kCodes) {
    if (status == http) return code;
  }
  return ::grpc::StatusCode::INTERNAL;
}

}  // namespace

::grpc::Status StatusOf(const HttpResponse& response) {
  const std::string message = server::ErrorMessage(response);
  if (message.starts_with("no route POST "))
    return {::grpc::StatusCode::UNIMPLEMENTED, "no method " + message.substr(14)};
  return {CodeOf(response.status), message};
}

// --- Outlet

Outlet::Next Outlet::NextLocked() {
  if (is_writing_ || has_finished_ || num_holds_ > 0) return Next::kNothing;
  if (!is_gone_ && !waiting_.empty()) {
    is_writing_ = true;
    ::grpc::Slice slice(waiting_.front());
    buffered_ -= waiting_.front().size();
    waiting_.pop_front();
    current_ = ::grpc::ByteBuffer(&slice, 1);
    return Next::kWrite;
  }
  if (!is_gone_ && !end_) return Next::kNothing;
  if (!end_) end_ = ::grpc::Status::CANCELLED;
  has_finished_ = true;
  return Next::kFinish;
}

void Outlet::Do(Next next) {
  if (next == Next::kWrite) call_->StartWrite(&current_);
  if (next != Next::kFinish) return;
  if (!retry_after_.empty()) call_->AddTrailer("retry-after", retry_after_);
  call_->Finish(*end_);
}

bool Outlet::Push(std::string message) {
  Next next = Next::kNothing;
  bool cancel = false;
  {
    const std::lock_guard lock(mutex_);
    if (is_gone_ || end_) return false;
    // What is alone is taken, however large.
    if (!waiting_.empty() && buffered_ + message.size() > max_buffered_bytes_) {
      cancel = !std::exchange(is_slow_, true);
      if (cancel) ++num_holds_;
    } else {
      buffered_ += message.size();
      waiting_.push_back(std::move(message));
      next = NextLocked();
    }
  }
  Do(next);
  if (!cancel) return !slow();
  call_->CancelCall();  // which comes to OnGone
  Release();
  return false;
}

void Outlet::End(::grpc::Status status, std::string retry_after) {
  Next next = Next::kNothing;
  {
    const std::lock_guard lock(mutex_);
    if (end_) return;
    end_ = std::move(status);
    retry_after_ = std::move(retry_after);
    next = NextLocked();
  }
  Do(next);
}

void Outlet::Hold() {
  const std::lock_guard lock(mutex_);
  ++num_holds_;
}

void Outlet::Release() {
  Next next = Next::kNothing;
  {
    const std::lock_guard lock(mutex_);
    --num_holds_;
    next = NextLocked();
  }
  Do(next);
}

void Outlet::OnWritten(bool ok) {
  Next next = Next::kNothing;
  {
    const std::lock_guard lock(mutex_);
    is_writing_ = false;
    if (!ok) is_gone_ = true;
    next = NextLocked();
  }
  Do(next);
}

void Outlet::OnGone() {
  Next next = Next::kNothing;
  {
    const std::lock_guard lock(mutex_);
    is_gone_ = true;
    waiting_.clear();
    buffered_ = 0;
    next = NextLocked();
  }
  Do(next);
}

bool Outlet::closed() {
  const std::lock_guard lock(mutex_);
  return is_gone_ || end_.has_value();
}

bool Outlet::slow() {
  const std::lock_guard lock(mutex_);
  return is_slow_;
}

// --- RpcExchange

RpcExchange::RpcExchange(std::shared_ptr<Core> core, std::shared_ptr<Outlet> outlet, HttpRequest request)
    : core_(std::move(core)),
      outlet_(std::move(outlet)),
      router_(core_->CurrentRouter()),
      request_(std::move(request)) {}

RpcExchange::~RpcExchange() {
  Fail(server::ErrorResponse(server::InternalError("it was dropped without an answer", request_.request_id)));
}

// True for the first that ends it: tells log and metrics.
bool RpcExchange::Over(int status, bool complete) {
  LogFields note;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(is_over_, true)) return false;
    on_stop_ = nullptr;
    if (complete) on_close_ = nullptr;
    note = note_;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - request_.received).count();
  core_->on_answered({.request = request_,
                      .router = *router_,
                      .status = status,
                      .seconds = seconds,
                      .complete = complete,
                      .note = std::move(note),
                      .slow = outlet_->slow()});
  return true;
}

void RpcExchange::Fail(const HttpResponse& response) {
  if (!Over(response.status, true)) return;
  const ::grpc::Status status = StatusOf(response);
  std::string retry_after;
  for (const auto& [name, value] : response.headers) {
    if (name == "Retry-After") retry_after = value;
  }
  // Without a key the whole stream ends.
  const bool ends_call = !error_message_ || response.status == 401 || response.status == 403;
  if (ends_call) outlet_->End(status, std::move(retry_after));
  if (!ends_call) outlet_->Push(error_message_(status.error_message()));
  EndInStream();
}

void RpcExchange::EndInStream() {
  if (!on_end_) return;
  on_end_();
  outlet_->Release();
}

void RpcExchange::Respond(HttpResponse response) {
  if (response.status >= 400) return Fail(response);
  if (!Over(response.status, true)) return;
  outlet_->Push(std::move(response.body));
  if (!on_end_) outlet_->End(::grpc::Status::OK);
  EndInStream();
}

void RpcExchange::Finish() {
  if (!Over(200, true)) return;
  if (!on_end_) outlet_->End(::grpc::Status::OK);
  EndInStream();
}

void RpcExchange::FailStream(HttpResponse instead, std::string) { Fail(instead); }

void RpcExchange::Abort() {
  Fail(server::ErrorResponse(server::InternalError("the answer was not completed", request_.request_id)));
}

void RpcExchange::Note(LogFields note) {
  const std::lock_guard lock(mutex_);
  note_ = std::move(note);
}

void RpcExchange::OnClose(std::function<void()> on_close) {
  {
    const std::lock_guard lock(mutex_);
    if (!is_gone_) {
      if (!is_over_) on_close_ = std::move(on_close);
      return;
    }
  }
  on_close();
}

void RpcExchange::OnStop(std::function<void()> on_stop) {
  {
    const std::lock_guard lock(mutex_);
    if (is_over_) return;
    if (!is_stopped_) {
      on_stop_ = std::move(on_stop);
      return;
    }
  }
  on_stop();
}

bool RpcExchange::closed() {
  const std::lock_guard lock(mutex_);
  return is_over_ || is_gone_;
}

void RpcExchange::ClientGone() {
  std::function<void()> on_close;
  {
    const std::lock_guard lock(mutex_);
    is_gone_ = true;
    on_close = std::exchange(on_close_, nullptr);
  }
  const bool ends = Over(kClientLeft, false);
  if (on_close) on_close();
  if (ends && on_end_) EndInStream();
}

void RpcExchange::Stop() {
  std::function<void()> on_stop;
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
    on_stop = std::exchange(on_stop_, nullptr);
  }
  if (on_stop) on_stop();
}

// --- Call

Call::Call(std::shared_ptr<Core> core, ::grpc::GenericCallbackServerContext* context)
    : core_(std::move(core)),
      context_(context),
      outlet_(std::make_shared<Outlet>(this, core_->options.max_buffered_bytes)),
      is_stream_(FindStream(context->method()) != nullptr) {
  {
    const std::lock_guard lock(core_->mutex);
    core_->calls.insert(this);
  }
  StartRead(&incoming_);
}

HttpRequest Call::RequestOf(std::string body) const {
  HttpRequest request;
  request.method = "POST";
  request.path = context_->method();
  for (const auto& [name, value] : context_->client_metadata())
    request.headers.emplace_back(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
  request.body = std::move(body);
  request.request_id = RequestId(request.Header("x-request-id"));
  request.client = context_->peer();
  return request;
}

void Call::Begin(std::string body) {
  const auto exchange = std::make_shared<RpcExchange>(core_, outlet_, RequestOf(std::move(body)));
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(exchanges_, [](const auto& weak) { return weak.expired(); });
    if (exchanges_.empty()) context_->AddInitialMetadata("x-request-id", exchange->request().request_id);
    exchanges_.push_back(exchange);
    ++num_running_;
  }
  if (const Stream* stream = FindStream(context_->method())) {
    exchange->InStream(stream->error_message, [this] { EndOfOne(); });
  }
  if (outlet_->closed()) return exchange->ClientGone();
  core_->CurrentRouter()->Dispatch(exchange);
}

void Call::OnReadDone(bool ok) {
  if (!ok) {
    bool none = false;
    {
      const std::lock_guard lock(mutex_);
      has_read_all_ = true;
      is_reading_ = false;
      none = num_running_ == 0;
    }
    if (none && is_stream_) outlet_->End(::grpc::Status::OK);
    if (none && !is_stream_) outlet_->End({::grpc::StatusCode::INVALID_ARGUMENT, "the call has no message"});
    return;
  }
  auto body = BytesOf(incoming_);
  if (!body) return outlet_->End({::grpc::StatusCode::INTERNAL, "the message cannot be read"});
  if (!is_stream_) return Begin(*std::move(body));
  // The request may be over, and all that is left with it, before Begin returns: what it decides is looked at first.
  bool read_on = false;
  {
    const std::lock_guard lock(mutex_);
    ++num_running_;  // until this has decided
  }
  Begin(*std::move(body));
  {
    const std::lock_guard lock(mutex_);
    read_on = num_running_ <= kMaxRunning;
    is_reading_ = read_on;
  }
  if (read_on) StartRead(&incoming_);
  EndOfOne();
}

// A request of a stream has ended.
void Call::EndOfOne() {
  bool read_on = false, over = false;
  {
    const std::lock_guard lock(mutex_);
    --num_running_;
    over = has_read_all_ && num_running_ == 0;
    read_on = !has_read_all_ && !is_reading_ && num_running_ <= kMaxRunning;
    is_reading_ = is_reading_ || read_on;
  }
  if (over) return outlet_->End(::grpc::Status::OK);
  if (read_on) StartRead(&incoming_);
}

std::vector<std::shared_ptr<RpcExchange>> Call::Running() {
  std::vector<std::shared_ptr<RpcExchange>> running;
  const std::lock_guard lock(mutex_);
  for (const auto& weak : exchanges_) {
    if (auto exchange = weak.lock()) running.push_back(std::move(exchange));
  }
  return running;
}

void Call::OnCancel() {
  const auto running = Running();
  for (const auto& exchange : running) exchange->ClientGone();
  outlet_->OnGone();
}

void Call::OnDone() {
  const auto core = core_;
  const std::lock_guard lock(core->mutex);
  core->calls.erase(this);
  core->changed.notify_all();
  delete this;
}

}  // namespace ingot::rpc
