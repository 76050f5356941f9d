// An exchange that changes what passes through it, or only some of it.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "server/http.h"

namespace ingot::server {

class ExchangeWrapper : public Exchange {
 public:
  explicit ExchangeWrapper(std::shared_ptr<Exchange> inner) : inner_(std::move(inner)) {}
  const HttpRequest& request() const override { return inner_->request(); }
  HttpRequest& mutable_request() override { return inner_->mutable_request(); }
  void Respond(HttpResponse response) override { inner_->Respond(std::move(response)); }
  void StartStream(HttpResponse head) override { inner_->StartStream(std::move(head)); }
  bool Send(std::string chunk) override { return inner_->Send(std::move(chunk)); }
  void Finish() override { inner_->Finish(); }
  void FailStream(HttpResponse instead, std::string last) override {
    inner_->FailStream(std::move(instead), std::move(last));
  }
  void Abort() override { inner_->Abort(); }
  void Note(LogFields note) override { inner_->Note(std::move(note)); }
  void OnClose(std::function<void()> on_close) override { inner_->OnClose(std::move(on_close)); }
  void OnStop(std::function<void()> on_stop) override { inner_->OnStop(std::move(on_stop)); }
  bool closed() override { return inner_->closed(); }

 protected:
  Exchange& inner() { return *inner_; }

 private:
  const std::shared_ptr<Exchange> inner_;
};

// The message of an error's body, {"error": {"message": …}}; "" where it is none.
std::string ErrorMessage(const HttpResponse& response);
// Whether a path is one of KServe's v2 protocol.
bool IsKservePath(std::string_view path);

}  // namespace ingot::server
