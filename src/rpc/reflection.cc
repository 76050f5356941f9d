// gRPC's server reflection, by which grpcurl and the like learn what can be called.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <inference.pb.h>
#include <ingot/v1/generation.pb.h>
#include <reflection.pb.h>

#include <set>

#include "rpc/messages.h"
#include "rpc/routes.h"

namespace ingot::rpc {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
namespace reflection = ::grpc::reflection::v1alpha;

// The file and those that it imports.
void AddFiles(const FileDescriptor& file, std::set<std::string>* seen, reflection::FileDescriptorResponse* response) {
  if (!seen->insert(file.name()).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFiles(*file.dependency(i), seen, response);
}

void Fill(const reflection::ServerReflectionRequest& request, reflection::ServerReflectionResponse* response) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  response->set_valid_host(request.host());
  *response->mutable_original_request() = request;
  if (request.message_request_case() == reflection::ServerReflectionRequest::kListServices) {
    for (const char* name : {kInferenceService, kGenerationService, "grpc.health.v1.Health",
                             "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"})
      response->mutable_list_services_response()->add_service()->set_name(name);
    return;
  }
  const FileDescriptor* file = nullptr;
  if (request.message_request_case() == reflection::ServerReflectionRequest::kFileByFilename)
    file = pool.FindFileByName(request.file_by_filename());
  if (request.message_request_case() == reflection::ServerReflectionRequest::kFileContainingSymbol)
    file = pool.FindFileContainingSymbol(request.file_containing_symbol());
  if (file == nullptr) {
    response->mutable_error_response()->set_error_code(5);  // NOT_FOUND
    response->mutable_error_response()->set_error_message("there is no such file, symbol or extension here");
    return;
  }
  std::set<std::string> seen;
  AddFiles(*file, &seen, response->mutable_file_descriptor_response());
}

}  // namespace

void AddReflectionRoutes(server::Router& router) {
  // Messages that no route here names are linked by this.
  (void)v1::ChatRequest::descriptor();
  (void)inference::ModelInferRequest::descriptor();
  for (const char* version : {"v1alpha", "v1"}) {
    router.Add("POST", fmt::format("/grpc.reflection.{}.ServerReflection/ServerReflectionInfo", version),
               [](const std::shared_ptr<server::Exchange>& exchange) {
                 reflection::ServerReflectionRequest request;
                 const Status status = Parse(exchange->request().body, &request);
                 if (!status.ok()) return server::Refuse(*exchange, status);
                 reflection::ServerReflectionResponse response;
                 Fill(request, &response);
                 exchange->Respond({.body = response.SerializeAsString()});
               });
  }
}

}  // namespace ingot::rpc
