// inference.GRPCInferenceService: KServe v2.
#include <inference.pb.h>

#include "rpc/messages.h"
#include "rpc/routes.h"
#include "server/statistics.h"

namespace ingot::rpc {
namespace {

using kserve::Generation;
using kserve::Generator;
using server::Access;
using server::Exchange;

constexpr const char* kModelStreamInfer = "/inference.GRPCInferenceService/ModelStreamInfer";
constexpr const char *kFinal = "triton_final_response", *kEmptyFinal = "triton_enable_empty_final_response";

std::string StreamError(const std::string& message) {
  inference::ModelStreamInferResponse response;
  response.set_error_message(message);
  return response.SerializeAsString();
}
// The protocol has no errors as messages: the stream goes on without.
std::string NoMessage(const std::string&) { return ""; }

constexpr Stream kStreams[] = {{kModelStreamInfer, StreamError},
                               {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", NoMessage},
                               {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", NoMessage}};

// Serialized messages: responses of ModelInfer, or of ModelStreamInfer.
class MessageFormat : public answers::Format {
 public:
  struct Style {
    bool in_stream = false;    // of ModelStreamInfer
    bool empty_final = false;  // the client waits for an empty response that says it is the last
  };
  MessageFormat(std::shared_ptr<kserve::Outputs> outputs, kserve::InferResponse head, Style style)
      : outputs_(std::move(outputs)), head_(std::move(head)), style_(style) {}
  std::string Piece(const answers::Choice& choice, const llm::Event& event) override {
    if (event.text.empty() && event.token_ids.empty() && !event.finish) return "";
    return Write(outputs_->Piece(choice, event), /*is_final=*/false);
  }
  std::string End(const llm::Usage&) override { return style_.empty_final ? Write(head_, /*is_final=*/true) : ""; }
  std::string Failure(const answers::WireError&) override { return ""; }
  std::string Whole(const std::vector<answers::Choice>& choices, const llm::Usage&) override {
    return Write(outputs_->Whole(choices), /*is_final=*/true);
  }

 private:
  std::string Write(const kserve::InferResponse& response, bool is_final) const {
    if (!style_.in_stream) {
      inference::ModelInferResponse message;
      FillResponse(response, &message);
      return message.SerializeAsString();
    }
    inference::ModelStreamInferResponse message;
    FillResponse(response, message.mutable_infer_response());
    if (style_.empty_final) (*message.mutable_infer_response()->mutable_parameters())[kFinal].set_bool_param(is_final);
    return message.SerializeAsString();
  }

  const std::shared_ptr<kserve::Outputs> outputs_;
  const kserve::InferResponse head_;
  const Style style_;
};

Status CheckModel(const Generator& generator, const std::string& name, const std::string& version) {
  if (name == generator.model().name && (version.empty() || version == kserve::kModelVersion)) return {};
  return NotFound("model '{}'{} is not served here; this server has '{}', version {}", name,
                  version.empty() ? "" : " version " + version, generator.model().name, kserve::kModelVersion);
}

void Infer(const server::TransportParts& parts, const std::shared_ptr<Exchange>& exchange, bool in_stream) {
  const Generator& generator = *parts.generator;
  inference::ModelInferRequest message;
  Status status = Parse(exchange->request().body, &message);
  exchange->mutable_request().DropBody();
  if (status.ok()) status = CheckModel(generator, message.model_name(), message.model_version());
  if (!status.ok()) return server::Refuse(*exchange, status);
  auto request = ToInferRequest(message);
  if (!request) return server::Refuse(*exchange, request.error());
  auto generation = generator.FromTensors(*request, exchange->request().key_id);
  if (!generation) return server::Refuse(*exchange, generation.error());
  if (generation->stream && !in_stream) {
    return server::Refuse(*exchange,
                          Status(InvalidArgument("input 'stream': an answer to ModelInfer comes whole; pieces "
                                                 "come from ModelStreamInfer"))
                              .Of("stream"));
  }
  const auto wants_final = message.parameters().find(kEmptyFinal);
  const MessageFormat::Style style{in_stream,
                                   wants_final != message.parameters().end() && wants_final->second.bool_param()};
  auto format = std::make_unique<MessageFormat>(
      generation->outputs, kserve::InferResponse{message.id(), generator.model().name, {}, {}}, style);
  Answer(*parts.context, generator.model(), exchange,
         {std::move(generation->question), std::move(format), generation->stream});
}

void FillMetadata(const std::string& model, inference::ModelMetadataResponse* message) {
  message->set_name(model);
  message->add_versions(kserve::kModelVersion);
  message->set_platform(kserve::kPlatform);
  const auto fill = [](const char* name, kserve::DataType type, const std::vector<int64_t>& dims, auto* tensor) {
    const std::vector<int64_t> shape = kserve::MetadataShape(dims);
    tensor->set_name(name);
    tensor->set_datatype(NameOf(type));
    tensor->mutable_shape()->Assign(shape.begin(), shape.end());
  };
  for (const kserve::Input& input : kserve::AllInputs()) {
    if (!input.is_alias) fill(input.name, input.type(), input.dims(), message->add_inputs());
  }
  for (const kserve::Output& output : kserve::AllOutputs())
    fill(output.name, output.type, output.dims(), message->add_outputs());
}

// A route that parses Request and answers with what fill(request, &response) makes of it.
template <typename Request, typename Response>
void AddUnary(server::Router& router, const char* method, Access access,
              std::function<Status(const Request&, Response*)> fill) {
  router.Add({"POST",
              fmt::format("/{}/{}", kInferenceService, method),
              {.access = access, .hidden = true},
              [fill = std::move(fill)](const std::shared_ptr<Exchange>& exchange) {
                Request request;
                Response response;
                Status status = Parse(exchange->request().body, &request);
                if (status.ok()) status = fill(request, &response);
                if (!status.ok()) return server::Refuse(*exchange, status);
                exchange->Respond({.body = response.SerializeAsString()});
              }});
}

}  // namespace

const Stream* FindStream(std::string_view method) {
  for (const Stream& stream : kStreams) {
    if (method == stream.method) return &stream;
  }
  return nullptr;
}

void AddInferenceRoutes(server::Router& router, const server::TransportParts& parts) {
  AddUnary<inference::ServerLiveRequest, inference::ServerLiveResponse>(router, "ServerLive", Access::kOpen,
                                                                        [](const auto&, auto* response) {
                                                                          response->set_live(true);
                                                                          return Status();
                                                                        });
  AddUnary<inference::ServerReadyRequest, inference::ServerReadyResponse>(
      router, "ServerReady", Access::kOpen, [is_ready = parts.is_ready](const auto&, auto* response) {
        response->set_ready(is_ready());
        return Status();
      });
  if (parts.generator == nullptr) return;
  AddUnary<inference::ModelReadyRequest, inference::ModelReadyResponse>(
      router, "ModelReady", Access::kKey, [parts](const auto& request, auto* response) {
        const Status status = CheckModel(*parts.generator, request.name(), request.version());
        response->set_ready(status.ok() && parts.is_ready());
        return Status();
      });
  AddUnary<inference::ServerMetadataRequest, inference::ServerMetadataResponse>(
      router, "ServerMetadata", Access::kKey, [parts](const auto&, auto* response) {
        response->set_name(kserve::kServerName);
        response->set_version(parts.version);
        for (const char* extension : kserve::kExtensions) response->add_extensions(extension);
        return Status();
      });
  AddUnary<inference::ModelMetadataRequest, inference::ModelMetadataResponse>(
      router, "ModelMetadata", Access::kKey, [parts](const auto& request, auto* response) {
        const Status status = CheckModel(*parts.generator, request.name(), request.version());
        if (!status.ok()) return status;
        FillMetadata(parts.generator->model().name, response);
        return Status();
      });
  AddUnary<inference::ModelConfigRequest, inference::ModelConfigResponse>(
      router, "ModelConfig", Access::kKey, [parts](const auto& request, auto* response) {
        const Status status = CheckModel(*parts.generator, request.name(), request.version());
        if (!status.ok()) return status;
        return FromJson(kserve::ModelConfigJson(parts.generator->model().name), response->mutable_config());
      });
  AddUnary<inference::ModelStatisticsRequest, inference::ModelStatisticsResponse>(
      router, "ModelStatistics", Access::kKey, [parts](const auto& request, auto* response) {
        const answers::ServedModel& model = parts.generator->model();
        // Without a name: of all models.
        if (!request.name().empty()) {
          const Status status = CheckModel(*parts.generator, request.name(), request.version());
          if (!status.ok()) return status;
        }
        return FromJson(kserve::ModelStatisticsJson(model.name, StatisticsOf(*parts.context, model.llm)), response);
      });
  for (const bool in_stream : {false, true}) {
    router.Add("POST", in_stream ? kModelStreamInfer : "/inference.GRPCInferenceService/ModelInfer",
               [parts, in_stream](const std::shared_ptr<Exchange>& exchange) {
                 OnTextThread(*parts.context, exchange,
                              [parts, in_stream, exchange] { Infer(parts, exchange, in_stream); });
               });
  }
}

}  // namespace ingot::rpc
