// A model that Triton serves: an engine, and the requests that it answers.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "answers/answer.h"
#include "kserve/generation.h"
#include "triton/model_config.h"
#include "triton/triton_api.h"

namespace ingot::triton {

class Reply;

// Thread safety: Execute from any thread. Its destructor waits for the requests that run.
class Model {
 public:
  static Result<std::unique_ptr<Model>> Load(const std::string& name, const ModelConfig& config);
  ~Model();
  // Takes the request: answers it, then releases it.
  void Execute(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request* request);

 private:
  friend class Reply;
  explicit Model(bool decoupled) : decoupled_(decoupled) {}
  void Watch();
  void Ended(Reply* reply);

  const bool decoupled_;
  std::unique_ptr<llm::Llm> llm_;
  std::shared_ptr<llm::Sessions> sessions_;
  std::unique_ptr<answers::ServedModel> served_;
  std::unique_ptr<kserve::Generator> generator_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::set<std::shared_ptr<Reply>> running_;
  bool stopping_ = false;
  std::thread watch_;  // looks for requests that were cancelled
};

// Deletes the error; its message.
Status ToStatus(TRITONSERVER_Error* error);
TRITONSERVER_Error* ToError(const Status& status);

}  // namespace ingot::triton
