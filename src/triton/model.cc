#include "triton/model.h"

#include <chrono>
#include <cstring>
#include <ctime>

#include "models/model.h"

namespace ingot::triton {
namespace {

using Clock = std::chrono::steady_clock;

// How soon the engine hears of a request that was cancelled while no token of it comes.
constexpr std::chrono::milliseconds kWatchEvery{10};

uint64_t NowNs() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count());
}

#define INGOT_TRITON_RETURN(call)                           \
  do {                                                      \
    ::ingot::Status triton_status_ = ToStatus(call);        \
    if (!triton_status_.ok()) return Error(triton_status_); \
  } while (false)

constexpr std::pair<int, kserve::DataType> kTypes[] = {
    {1, kserve::DataType::kBool},   {2, kserve::DataType::kUint8},  {3, kserve::DataType::kUint16},
    {4, kserve::DataType::kUint32}, {5, kserve::DataType::kUint64}, {6, kserve::DataType::kInt8},
    {7, kserve::DataType::kInt16},  {8, kserve::DataType::kInt32},  {9, kserve::DataType::kInt64},
    {10, kserve::DataType::kFp16},  {11, kserve::DataType::kFp32},  {12, kserve::DataType::kFp64},
    {13, kserve::DataType::kBytes}, {14, kserve::DataType::kBf16}};

Result<kserve::DataType> TypeOf(int triton) {
  for (const auto& [number, type] : kTypes) {
    if (number == triton) return type;
  }
  return Unsupported("an input has data type {} of Triton, which is not known", triton);
}
int NumberOf(kserve::DataType type) {
  for (const auto& [number, known] : kTypes) {
    if (known == type) return number;
  }
  return 0;
}

Result<kserve::Tensor> ReadInput(TRITONBACKEND_Input* input) {
  const char* name = nullptr;
  int type = 0;
  const int64_t* shape = nullptr;
  uint32_t dims = 0, buffers = 0;
  uint64_t bytes = 0;
  INGOT_TRITON_RETURN(TRITONBACKEND_InputProperties(input, &name, &type, &shape, &dims, &bytes, &buffers));
  kserve::Tensor tensor{name, kserve::DataType::kBytes, {shape, shape + dims}, {}};
  INGOT_ASSIGN_OR_RETURN(tensor.type, TypeOf(type));
  for (uint32_t i = 0; i < buffers; ++i) {
    const void* buffer = nullptr;
    int memory = kCpu;
    int64_t memory_id = 0;
    INGOT_TRITON_RETURN(TRITONBACKEND_InputBuffer(input, i, &buffer, &bytes, &memory, &memory_id));
    if (memory == kGpu) return Unsupported("input '{}' is in a GPU's memory; send it in the host's", name);
    tensor.data.append(static_cast<const char*>(buffer), bytes);
  }
  return tensor;
}

boost::json::value ParameterValue(int type, const void* value) {
  switch (type) {
    case kString:
      return boost::json::string(static_cast<const char*>(value));
    case kInt:
      return *static_cast<const int64_t*>(value);
    case kBool:
      return *static_cast<const bool*>(value);
    case kDouble:
      return *static_cast<const double*>(value);
    default:
      return nullptr;
  }
}

Result<kserve::InferRequest> ReadRequest(TRITONBACKEND_Request* request) {
  kserve::InferRequest read;
  const char* text = nullptr;
  INGOT_TRITON_RETURN(TRITONBACKEND_RequestId(request, &text));
  read.id = text;
  uint64_t session = 0;
  // A text as correlation ID is an error of this call.
  INGOT_TRITON_RETURN(TRITONBACKEND_RequestCorrelationId(request, &session));
  if (session != 0) {
    uint32_t flags = 0;
    INGOT_TRITON_RETURN(TRITONBACKEND_RequestFlags(request, &flags));
    read.parameters["sequence_id"] = session;
    read.parameters["sequence_start"] = (flags & kSequenceStart) != 0;
    read.parameters["sequence_end"] = (flags & kSequenceEnd) != 0;
  }
  uint32_t count = 0;
  INGOT_TRITON_RETURN(TRITONBACKEND_RequestParameterCount(request, &count));
  for (uint32_t i = 0; i < count; ++i) {
    int type = 0;
    const void* value = nullptr;
    INGOT_TRITON_RETURN(TRITONBACKEND_RequestParameter(request, i, &text, &type, &value));
    read.parameters[text] = ParameterValue(type, value);
  }
  INGOT_TRITON_RETURN(TRITONBACKEND_RequestInputCount(request, &count));
  for (uint32_t i = 0; i < count; ++i) {
    TRITONBACKEND_Input* input = nullptr;
    INGOT_TRITON_RETURN(TRITONBACKEND_RequestInputByIndex(request, i, &input));
    INGOT_ASSIGN_OR_RETURN(kserve::Tensor tensor, ReadInput(input));
    read.inputs.push_back(std::move(tensor));
  }
  // Triton lists all outputs where the client names none: what only appears when it is asked for is not asked for so.
  INGOT_TRITON_RETURN(TRITONBACKEND_RequestOutputCount(request, &count));
  for (uint32_t i = 0; i < count && count < kserve::AllOutputs().size(); ++i) {
    INGOT_TRITON_RETURN(TRITONBACKEND_RequestOutputName(request, i, &text));
    read.outputs.emplace_back(text);
  }
  return read;
}

Status AddOutput(const kserve::Tensor& tensor, TRITONBACKEND_Response* response) {
  TRITONBACKEND_Output* output = nullptr;
  void* buffer = nullptr;
  int memory = kCpu;
  int64_t memory_id = 0;
  INGOT_TRITON_RETURN(TRITONBACKEND_ResponseOutput(response, &output, tensor.name.c_str(), NumberOf(tensor.type),
                                                   tensor.shape.data(), static_cast<uint32_t>(tensor.shape.size())));
  INGOT_TRITON_RETURN(TRITONBACKEND_OutputBuffer(output, &buffer, tensor.data.size(), &memory, &memory_id));
  if (memory == kGpu) return Unsupported("output '{}' is wanted in a GPU's memory", tensor.name);
  std::memcpy(buffer, tensor.data.data(), tensor.data.size());
  return {};
}

}  // namespace

Status ToStatus(TRITONSERVER_Error* error) {
  if (error == nullptr) return {};
  Status status(Code::kInternal, TRITONSERVER_ErrorMessage(error));
  TRITONSERVER_ErrorDelete(error);
  return status;
}

TRITONSERVER_Error* ToError(const Status& status) {
  constexpr std::pair<Code, ErrorCode> kCodes[] = {
      {Code::kInvalidArgument, kInvalidArg}, {Code::kTooLong, kInvalidArg},
      {Code::kNotFound, kNotFound},          {Code::kUnsupported, kUnsupported},
      {Code::kConflict, kUnavailable},       {Code::kResourceExhausted, kUnavailable},
      {Code::kQuotaExceeded, kUnavailable},  {Code::kUnavailable, kUnavailable},
      {Code::kCancelled, kCancelled},        {Code::kDeadlineExceeded, kUnavailable}};
  int code = kInternal;
  for (const auto& [ours, triton] : kCodes) code = ours == status.code() ? triton : code;
  return TRITONSERVER_ErrorNew(code, status.message().c_str());
}

// What Triton is told of one request. Called with one thing at a time; releases the request at its end.
class Reply : public answers::Listener, public std::enable_shared_from_this<Reply> {
 public:
  Reply(Model& model, TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request* request)
      : model_(model), instance_(instance), request_(request) {}

  Status Open() { return ToStatus(TRITONBACKEND_ResponseFactoryNew(&factory_, request_)); }
  void Begin(kserve::Generation generation) {
    outputs_ = std::move(generation.outputs);
    stream_ = generation.stream;
    rows_ = generation.question.requests.size();
    {
      const std::lock_guard lock(mutex_);
      answer_ = std::make_shared<answers::Answer>(shared_from_this());
    }
    answer_->Begin(*model_.llm_, std::move(generation.question));
  }
  bool wants_whole() const override { return !stream_; }
  void Piece(const answers::Choice& choice, const llm::Event& event) override {
    if (!stream_) return;
    if (event.text.empty() && event.token_ids.empty() && !event.finish) return;
    Send(outputs_->Piece(choice, event), 0);
  }
  void Ended(const std::vector<answers::Choice>& choices, const llm::Usage&) override {
    if (stream_) {
      Complain(ToStatus(TRITONBACKEND_ResponseFactorySendFlags(factory_, kFinal)));
    } else {
      Send(outputs_->Whole(choices), kFinal);
    }
    Close(true);
  }
  void Failed(const Status& status) override {
    TRITONBACKEND_Response* response = nullptr;
    const Status made = ToStatus(TRITONBACKEND_ResponseNewFromFactory(&response, factory_));
    if (made.ok()) {
      TRITONSERVER_Error* error = ToError(status);
      Complain(ToStatus(TRITONBACKEND_ResponseSend(response, kFinal, error)));
      TRITONSERVER_ErrorDelete(error);
    }
    Complain(made);
    Close(false);
  }

  // The engine hears of it once.
  void CancelWhereAsked() {
    std::shared_ptr<answers::Answer> answer;
    {
      const std::lock_guard lock(mutex_);
      bool is_cancelled = false;
      if (factory_ == nullptr || answer_ == nullptr) return;
      if (!ToStatus(TRITONBACKEND_ResponseFactoryIsCancelled(factory_, &is_cancelled)).ok() || !is_cancelled) return;
      answer = std::move(answer_);
    }
    answer->Cancel();
  }

 private:
  // What could not be sent has a client that is gone: the log says why.
  static void Complain(const Status& status) {
    if (status.ok()) return;
    const Status logged =
        ToStatus(TRITONSERVER_LogMessage(kLogError, __FILE__, __LINE__, ("ingot: " + status.message()).c_str()));
    (void)logged;
  }
  void Send(const kserve::InferResponse& answer, uint32_t flags) {
    TRITONBACKEND_Response* response = nullptr;
    Status status = ToStatus(TRITONBACKEND_ResponseNewFromFactory(&response, factory_));
    if (!status.ok()) return Complain(status);
    for (const kserve::Tensor& tensor : answer.outputs) {
      if (status.ok()) status = AddOutput(tensor, response);
    }
    TRITONSERVER_Error* error = status.ok() ? nullptr : ToError(status);
    Complain(ToStatus(TRITONBACKEND_ResponseSend(response, flags, error)));
    if (error != nullptr) TRITONSERVER_ErrorDelete(error);
  }
  void Close(bool success) {
    const uint64_t end = NowNs();
    Complain(
        ToStatus(TRITONBACKEND_ModelInstanceReportStatistics(instance_, request_, success, begin_, begin_, end, end)));
    if (success)
      Complain(ToStatus(TRITONBACKEND_ModelInstanceReportBatchStatistics(instance_, rows_, begin_, begin_, end, end)));
    Complain(ToStatus(TRITONBACKEND_RequestRelease(request_, kReleaseAll)));
    {
      const std::lock_guard lock(mutex_);
      Complain(ToStatus(TRITONBACKEND_ResponseFactoryDelete(std::exchange(factory_, nullptr))));
      answer_ = nullptr;
    }
    model_.Ended(this);
  }

  Model& model_;
  TRITONBACKEND_ModelInstance* const instance_;
  TRITONBACKEND_Request* const request_;
  std::shared_ptr<kserve::Outputs> outputs_;
  bool stream_ = false;
  size_t rows_ = 1;
  const uint64_t begin_ = NowNs();
  std::mutex mutex_;  // guards what follows, of which the factory is changed by the listener alone
  TRITONBACKEND_ResponseFactory* factory_ = nullptr;
  std::shared_ptr<answers::Answer> answer_;
};

Result<std::unique_ptr<Model>> Model::Load(const std::string& name, const ModelConfig& config) {
  std::unique_ptr<Model> model(new Model(config.decoupled));
  INGOT_ASSIGN_OR_RETURN(model->llm_, llm::Llm::Load(config.load));
  INGOT_ASSIGN_OR_RETURN(model->sessions_, llm::Sessions::Open(*model->llm_, {.db = config.session_db}));
  const answers::ModelLimits limits{.model_name = name,
                                    .session_len = model->llm_->session_len(),
                                    .vocab_size = model->llm_->model().spec().vocab_size,
                                    .max_output_len = config.max_output_len};
  model->served_ = std::make_unique<answers::ServedModel>(
      answers::ServedModel{*model->llm_, name, std::time(nullptr), limits, name});
  model->generator_ = std::make_unique<kserve::Generator>(*model->served_, model->sessions_.get());
  model->watch_ = std::thread([self = model.get()] { self->Watch(); });
  return model;
}

Model::~Model() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return running_.empty(); });
  }
  if (watch_.joinable()) watch_.join();
}

void Model::Execute(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request* request) {
  const auto reply = std::make_shared<Reply>(*this, instance, request);
  const Status opened = reply->Open();
  if (!opened.ok()) {
    const Status logged = ToStatus(TRITONSERVER_LogMessage(kLogError, __FILE__, __LINE__, opened.message().c_str()));
    const Status released = ToStatus(TRITONBACKEND_RequestRelease(request, kReleaseAll));
    (void)logged;
    (void)released;
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    running_.insert(reply);
    changed_.notify_all();
  }
  const auto read = ReadRequest(request);
  if (!read) return reply->Failed(read.error());
  auto generation = generator_->FromTensors(*read, "");
  if (!generation) return reply->Failed(generation.error());
  if (generation->stream && !decoupled_) {
    return reply->Failed(
        InvalidArgument("input 'stream': this model is not decoupled (config.pbtxt: "
                        "model_transaction_policy), so its answers come whole"));
  }
  reply->Begin(*std::move(generation));
}

void Model::Watch() {
  std::unique_lock lock(mutex_);
  while (!stopping_ || !running_.empty()) {
    if (running_.empty()) {
      changed_.wait(lock, [this] { return stopping_ || !running_.empty(); });
      continue;
    }
    const auto running = running_;
    lock.unlock();
    for (const auto& reply : running) reply->CancelWhereAsked();
    lock.lock();
    changed_.wait_for(lock, kWatchEvery);
  }
}

void Model::Ended(Reply* reply) {
  const std::lock_guard lock(mutex_);
  running_.erase(reply->shared_from_this());
  changed_.notify_all();
}

}  // namespace ingot::triton
