#include "server/outbox.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace ingot::server {
namespace {

// The handler's end of an Outbox.
class ExchangeImpl : public Exchange {
 public:
  ExchangeImpl(HttpRequest request, std::shared_ptr<Outbox> outbox)
      : request_(std::move(request)), outbox_(std::move(outbox)) {}
  ~ExchangeImpl() override {
    if (stage_ == Stage::kNew && !outbox_->closed()) {
      const WireError error = InternalError("it was dropped without an answer", request_.request_id);
      Respond(ErrorResponse(error, *request_.errors));
    } else if (stage_ == Stage::kStreaming) {
      Abort();
    }
  }

  const HttpRequest& request() const override { return request_; }
  HttpRequest& mutable_request() override { return request_; }
  void Respond(HttpResponse response) override {
    stage_ = Stage::kDone;
    outbox_->Push({Outbox::Item::Kind::kWhole, std::move(response), {}});
  }
  void StartStream(HttpResponse head) override {
    stage_ = Stage::kStreaming;
    outbox_->Push({Outbox::Item::Kind::kHead, std::move(head), {}});
  }
  bool Send(std::string chunk) override {
    return chunk.empty() || outbox_->Push({Outbox::Item::Kind::kChunk, {}, std::move(chunk)});
  }
  void Finish() override {
    stage_ = Stage::kDone;
    outbox_->Push({Outbox::Item::Kind::kEnd, {}, {}});
  }
  void FailStream(HttpResponse instead, std::string last) override {
    stage_ = Stage::kDone;
    outbox_->Push({Outbox::Item::Kind::kFailure, std::move(instead), std::move(last)});
  }
  void Abort() override {
    stage_ = Stage::kDone;
    outbox_->Push({Outbox::Item::Kind::kAbort, {}, {}});
  }
  void Note(LogFields note) override { outbox_->SetNote(std::move(note)); }
  void OnClose(std::function<void()> on_close) override { outbox_->OnClose(std::move(on_close)); }
  void OnStop(std::function<void()> on_stop) override { outbox_->OnStop(std::move(on_stop)); }
  bool closed() override { return outbox_->closed(); }

 private:
  enum class Stage { kNew, kStreaming, kDone };
  HttpRequest request_;
  const std::shared_ptr<Outbox> outbox_;
  std::atomic<Stage> stage_ = Stage::kNew;
};

}  // namespace

Outbox::Outbox(std::shared_ptr<asio::io_context> io, size_t max_buffered)
    : io_(std::move(io)), timer_(*io_, asio::steady_timer::time_point::max()), max_buffered_(max_buffered) {}

std::shared_ptr<Outbox> Outbox::Make(std::shared_ptr<asio::io_context> io, size_t max_buffered) {
  auto outbox = std::make_shared<Outbox>(std::move(io), max_buffered);
  outbox->self_ = outbox;
  return outbox;
}

bool Outbox::Push(Item item) {
  std::function<void()> on_close;
  bool is_over = false;
  {
    const MutexLock lock(mutex_);
    if (closed_) return false;
    // Of what waited before, not of this one: a client that reads may be sent what is larger than max_buffered_.
    is_over = !item.chunk.empty() && buffered_ > max_buffered_;
    buffered_ += item.chunk.size();
    if (is_over) {
      items_.clear();
      items_.push_back({Item::Kind::kAbort, {}, {}});
      slow_ = true;
      on_close = CloseLocked();
    } else {
      items_.push_back(std::move(item));
    }
  }
  // Weak: what an io_context that does not run any more has been posted would keep the two of them forever.
  asio::post(*io_, [weak = self_] {
    if (const auto self = weak.lock()) self->timer_.cancel();
  });
  if (on_close) on_close();
  return !is_over;
}

void Outbox::OnClose(std::function<void()> on_close) {
  {
    const MutexLock lock(mutex_);
    if (!closed_) {
      on_close_ = std::move(on_close);
      return;
    }
    if (complete_) return;
  }
  on_close();
}

void Outbox::OnStop(std::function<void()> on_stop) {
  {
    const MutexLock lock(mutex_);
    if (closed_) return;
    if (!stopped_) {
      on_stop_ = std::move(on_stop);
      return;
    }
  }
  on_stop();
}

void Outbox::Stop() {
  std::function<void()> on_stop;
  {
    const MutexLock lock(mutex_);
    stopped_ = true;
    on_stop = std::exchange(on_stop_, nullptr);
  }
  if (on_stop) on_stop();
}

bool Outbox::closed() {
  const MutexLock lock(mutex_);
  return closed_;
}

void Outbox::SetSlow() {
  const MutexLock lock(mutex_);
  slow_ = true;
}

bool Outbox::slow() {
  const MutexLock lock(mutex_);
  return slow_;
}

void Outbox::SetNote(LogFields note) {
  const MutexLock lock(mutex_);
  note_ = std::move(note);
}

LogFields Outbox::note() {
  const MutexLock lock(mutex_);
  return note_;
}

void Outbox::Close(bool complete) {
  std::function<void()> on_close;
  {
    const MutexLock lock(mutex_);
    if (closed_) return;
    complete_ = complete;
    on_close = CloseLocked();
  }
  if (on_close && !complete) on_close();
  timer_.cancel();
}

asio::awaitable<Outbox::Item> Outbox::Next(std::chrono::seconds patience) {
  for (;;) {
    {
      const MutexLock lock(mutex_);
      if (!items_.empty()) co_return PopLocked();
      if (closed_) co_return Item{Item::Kind::kAbort, {}, {}};
    }
    timer_.expires_at(patience.count() > 0 ? std::chrono::steady_clock::now() + patience
                                           : asio::steady_timer::time_point::max());
    // One I/O thread: a Push after the look above cancels this wait only once it has begun.
    const auto [cancelled] = co_await timer_.async_wait(kAwait);
    if (!cancelled) co_return Item{Item::Kind::kPing, {}, {}};
  }
}

std::function<void()> Outbox::CloseLocked() {
  closed_ = true;
  on_stop_ = nullptr;
  return std::exchange(on_close_, nullptr);
}

Outbox::Item Outbox::PopLocked() {
  Item item = std::move(items_.front());
  items_.pop_front();
  while (item.kind == Item::Kind::kChunk && !items_.empty() && items_.front().kind == Item::Kind::kChunk) {
    item.chunk += items_.front().chunk;
    items_.pop_front();
  }
  buffered_ -= std::min(buffered_, item.chunk.size());
  return item;
}

asio::awaitable<void> WatchForClose(asio::ip::tcp::socket& socket, std::shared_ptr<Outbox> outbox) {
  co_await asio::this_coro::throw_if_cancelled(false);
  // A wait that had ended when the cancellation came, but was not resumed yet, does not report it.
  const asio::cancellation_state cancellation = co_await asio::this_coro::cancellation_state;
  const auto is_cancelled = [&] { return cancellation.cancelled() != asio::cancellation_type::none; };
  const int fd = socket.native_handle();
  asio::steady_timer pause(socket.get_executor());
  for (;;) {
    const auto [wait_error] = co_await socket.async_wait(asio::ip::tcp::socket::wait_read, kAwait);
    if (wait_error || is_cancelled()) co_return;
    pollfd entry{fd, POLLRDHUP, 0};
    if (poll(&entry, 1, 0) > 0) {
      outbox->Close(false);
      co_return;
    }
    pause.expires_after(std::chrono::milliseconds(200));
    const auto [pause_error] = co_await pause.async_wait(kAwait);
    if (pause_error || is_cancelled()) co_return;
  }
}

std::shared_ptr<Exchange> MakeExchange(HttpRequest request, std::shared_ptr<Outbox> outbox) {
  return std::make_shared<ExchangeImpl>(std::move(request), std::move(outbox));
}

}  // namespace ingot::server
