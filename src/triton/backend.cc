// The functions that tritonserver calls.
#include <string>

#include "triton/model.h"

namespace {

using ingot::Error;
using ingot::Result;
using ingot::Status;
using ingot::triton::Model;
using ingot::triton::ToError;
using ingot::triton::ToStatus;

#define INGOT_TRITON_RETURN_IF_ERROR(call)              \
  do {                                                  \
    TRITONSERVER_Error* const triton_error_ = (call);   \
    if (triton_error_ != nullptr) return triton_error_; \
  } while (false)

Result<std::string> ConfigOf(TRITONBACKEND_Model* model) {
  TRITONSERVER_Message* message = nullptr;
  INGOT_RETURN_IF_ERROR(ToStatus(TRITONBACKEND_ModelConfig(model, 1, &message)));
  const char* base = nullptr;
  size_t size = 0;
  const Status status = ToStatus(TRITONSERVER_MessageSerializeToJson(message, &base, &size));
  std::string json = status.ok() ? std::string(base, size) : "";
  INGOT_RETURN_IF_ERROR(ToStatus(TRITONSERVER_MessageDelete(message)));
  INGOT_RETURN_IF_ERROR(status);
  return json;
}

Status SetConfig(TRITONBACKEND_Model* model, const std::string& json) {
  TRITONSERVER_Message* message = nullptr;
  INGOT_RETURN_IF_ERROR(ToStatus(TRITONSERVER_MessageNewFromSerializedJson(&message, json.data(), json.size())));
  const Status status = ToStatus(TRITONBACKEND_ModelSetConfig(model, 1, message));
  INGOT_RETURN_IF_ERROR(ToStatus(TRITONSERVER_MessageDelete(message)));
  return status;
}

Status Load(TRITONBACKEND_Model* model) {
  const char *name = nullptr, *folder = nullptr;
  int kind = 0;
  bool complete = false;
  INGOT_RETURN_IF_ERROR(ToStatus(TRITONBACKEND_ModelName(model, &name)));
  INGOT_RETURN_IF_ERROR(ToStatus(TRITONBACKEND_ModelRepository(model, &kind, &folder)));
  INGOT_RETURN_IF_ERROR(ToStatus(TRITONBACKEND_ModelAutoCompleteConfig(model, &complete)));
  INGOT_ASSIGN_OR_RETURN(const std::string json, ConfigOf(model));
  // Before the model is loaded, which takes long.
  INGOT_ASSIGN_OR_RETURN(const auto config, ingot::triton::ReadModelConfig(json, std::string(folder) + "/1"));
  if (complete) {
    INGOT_ASSIGN_OR_RETURN(const std::string completed, ingot::triton::CompleteModelConfig(json));
    INGOT_RETURN_IF_ERROR(SetConfig(model, completed));
  }
  INGOT_ASSIGN_OR_RETURN(std::unique_ptr<Model> loaded, Model::Load(name, config));
  INGOT_RETURN_IF_ERROR(ToStatus(TRITONBACKEND_ModelSetState(model, loaded.get())));
  (void)loaded.release();  // until ModelFinalize
  return {};
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend*) {
  uint32_t major = 0, minor = 0;
  INGOT_TRITON_RETURN_IF_ERROR(TRITONBACKEND_ApiVersion(&major, &minor));
  if (major == ingot::triton::kMajorVersion && minor >= ingot::triton::kMinMinorVersion) return nullptr;
  return ToError(ingot::Unsupported("this server's backend API is {}.{}; Ingot's backend is for {}.x from {}.{} on",
                                    major, minor, ingot::triton::kMajorVersion, ingot::triton::kMajorVersion,
                                    ingot::triton::kMinMinorVersion));
}

__attribute__((visibility("default"))) TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  const Status status = Load(model);
  return status.ok() ? nullptr : ToError(status);
}

__attribute__((visibility("default"))) TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  void* state = nullptr;
  INGOT_TRITON_RETURN_IF_ERROR(TRITONBACKEND_ModelState(model, &state));
  delete static_cast<Model*>(state);
  return nullptr;
}

__attribute__((visibility("default"))) TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, uint32_t count) {
  TRITONBACKEND_Model* model = nullptr;
  void* state = nullptr;
  INGOT_TRITON_RETURN_IF_ERROR(TRITONBACKEND_ModelInstanceModel(instance, &model));
  INGOT_TRITON_RETURN_IF_ERROR(TRITONBACKEND_ModelState(model, &state));
  // From here on the requests are the backend's.
  for (uint32_t i = 0; i < count; ++i) static_cast<Model*>(state)->Execute(instance, requests[i]);
  return nullptr;
}

}  // extern "C"
