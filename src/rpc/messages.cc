#include "rpc/messages.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "base/json.h"

namespace ingot::rpc {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

Result<boost::json::value> FieldJson(const Message& message, const FieldDescriptor& field, int index);

// google.protobuf.Struct and the like are JSON.
bool IsJson(const google::protobuf::Descriptor& type) { return type.file()->name() == "google/protobuf/struct.proto"; }

Result<boost::json::value> MessageJson(const Message& message) {
  if (IsJson(*message.GetDescriptor())) {
    std::string text;
    if (!google::protobuf::util::MessageToJsonString(message, &text).ok())
      return InvalidArgument("{} is no JSON value", message.GetDescriptor()->name());
    return ParseJson(text, message.GetDescriptor()->name());
  }
  INGOT_ASSIGN_OR_RETURN(boost::json::object object, ToJson(message));
  return boost::json::value(std::move(object));
}

Result<boost::json::value> MapJson(const Message& message, const FieldDescriptor& field) {
  boost::json::object object;
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    INGOT_ASSIGN_OR_RETURN(const auto key, FieldJson(entry, *field.message_type()->map_key(), -1));
    INGOT_ASSIGN_OR_RETURN(auto value, FieldJson(entry, *field.message_type()->map_value(), -1));
    if (key.is_string()) object[key.get_string()] = std::move(value);
  }
  return boost::json::value(std::move(object));
}

// index -1: the field is not repeated.
Result<boost::json::value> FieldJson(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  const bool one = index < 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return one ? reflection.GetInt32(message, &field) : reflection.GetRepeatedInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return one ? reflection.GetInt64(message, &field) : reflection.GetRepeatedInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_UINT32:
      return one ? reflection.GetUInt32(message, &field) : reflection.GetRepeatedUInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return one ? reflection.GetUInt64(message, &field) : reflection.GetRepeatedUInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return one ? reflection.GetDouble(message, &field) : reflection.GetRepeatedDouble(message, &field, index);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return one ? reflection.GetFloat(message, &field) : reflection.GetRepeatedFloat(message, &field, index);
    case FieldDescriptor::CPPTYPE_BOOL:
      return one ? reflection.GetBool(message, &field) : reflection.GetRepeatedBool(message, &field, index);
    case FieldDescriptor::CPPTYPE_STRING:
      return boost::json::value(boost::json::string(one ? reflection.GetString(message, &field)
                                                        : reflection.GetRepeatedString(message, &field, index)));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageJson(one ? reflection.GetMessage(message, &field)
                             : reflection.GetRepeatedMessage(message, &field, index));
    case FieldDescriptor::CPPTYPE_ENUM:
      break;
  }
  return Internal("{}: no JSON for its type", field.full_name());
}

std::string Raw(const auto& values) {
  using Element = std::decay_t<decltype(values[0])>;
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Element));
}

// The field that belongs to the type; the others must be empty, which the size of the data tells.
std::string TypedData(const inference::InferTensorContents& contents, kserve::DataType type) {
  std::string data;
  const auto narrow = [&](const auto& values, auto element) {
    for (const auto value : values) kserve::AppendNumber(static_cast<decltype(element)>(value), &data);
    return data;
  };
  switch (type) {
    case kserve::DataType::kBool:
      return narrow(contents.bool_contents(), uint8_t{});
    case kserve::DataType::kInt8:
      return narrow(contents.int_contents(), int8_t{});
    case kserve::DataType::kInt16:
      return narrow(contents.int_contents(), int16_t{});
    case kserve::DataType::kInt32:
      return Raw(contents.int_contents());
    case kserve::DataType::kInt64:
      return Raw(contents.int64_contents());
    case kserve::DataType::kUint8:
      return narrow(contents.uint_contents(), uint8_t{});
    case kserve::DataType::kUint16:
      return narrow(contents.uint_contents(), uint16_t{});
    case kserve::DataType::kUint32:
      return Raw(contents.uint_contents());
    case kserve::DataType::kUint64:
      return Raw(contents.uint64_contents());
    case kserve::DataType::kFp32:
      return Raw(contents.fp32_contents());
    case kserve::DataType::kFp64:
      return Raw(contents.fp64_contents());
    case kserve::DataType::kBytes:
      for (const std::string& text : contents.bytes_contents()) kserve::AppendBytes(text, &data);
      return data;
    case kserve::DataType::kFp16:
    case kserve::DataType::kBf16:
      break;
  }
  return data;
}

boost::json::value ParameterJson(const inference::InferParameter& parameter) {
  switch (parameter.parameter_choice_case()) {
    case inference::InferParameter::kBoolParam:
      return parameter.bool_param();
    case inference::InferParameter::kInt64Param:
      return parameter.int64_param();
    case inference::InferParameter::kStringParam:
      return boost::json::string(parameter.string_param());
    case inference::InferParameter::kDoubleParam:
      return parameter.double_param();
    case inference::InferParameter::kUint64Param:
      return parameter.uint64_param();
    case inference::InferParameter::PARAMETER_CHOICE_NOT_SET:
      break;
  }
  return nullptr;
}

}  // namespace

Status Parse(std::string_view bytes, Message* message) {
  if (message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return {};
  return InvalidArgument("the message is no {}", message->GetDescriptor()->full_name());
}

Result<boost::json::object> ToJson(const Message& message) {
  boost::json::object object;
  std::vector<const FieldDescriptor*> fields;
  const Reflection& reflection = *message.GetReflection();
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    boost::json::value& value = object[field->name()];
    if (field->is_map()) {
      INGOT_ASSIGN_OR_RETURN(value, MapJson(message, *field));
    } else if (field->is_repeated()) {
      boost::json::array& list = value.emplace_array();
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        INGOT_ASSIGN_OR_RETURN(boost::json::value one, FieldJson(message, *field, i));
        list.push_back(std::move(one));
      }
    } else {
      INGOT_ASSIGN_OR_RETURN(value, FieldJson(message, *field, -1));
    }
  }
  return object;
}

Status FromJson(std::string_view json, Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), static_cast<std::ptrdiff_t>(json.size())), message, options);
  if (status.ok()) return {};
  return Internal("{}: {}", message->GetDescriptor()->full_name(), std::string(status.message()));
}

Result<kserve::InferRequest> ToInferRequest(const inference::ModelInferRequest& message) {
  kserve::InferRequest request{.id = message.id(), .parameters = {}, .inputs = {}, .outputs = {}};
  const bool is_raw = message.raw_input_contents_size() > 0;
  if (is_raw && message.raw_input_contents_size() != message.inputs_size()) {
    return InvalidArgument("raw_input_contents has {} entries for {} inputs; it has one for each, or none",
                           message.raw_input_contents_size(), message.inputs_size());
  }
  for (int i = 0; i < message.inputs_size(); ++i) {
    const auto& input = message.inputs(i);
    const auto type = kserve::FindDataType(input.datatype());
    if (!type) return InvalidArgument("input '{}': datatype '{}' is not known", input.name(), input.datatype());
    if (input.parameters().contains("shared_memory_region"))
      return Unsupported("input '{}': shared memory is not supported", input.name());
    if (is_raw && input.has_contents())
      return InvalidArgument("input '{}': has contents beside raw_input_contents", input.name());
    kserve::Tensor tensor{input.name(), *type, {input.shape().begin(), input.shape().end()}, {}};
    tensor.data = is_raw ? message.raw_input_contents(i) : TypedData(input.contents(), *type);
    INGOT_RETURN_IF_ERROR(CheckData(tensor).Of(tensor.name));
    request.inputs.push_back(std::move(tensor));
  }
  for (const auto& output : message.outputs()) request.outputs.push_back(output.name());
  for (const auto& [name, parameter] : message.parameters()) request.parameters[name] = ParameterJson(parameter);
  return request;
}

void FillResponse(const kserve::InferResponse& response, inference::ModelInferResponse* message) {
  message->set_model_name(response.model_name);
  message->set_model_version(kserve::kModelVersion);
  message->set_id(response.id);
  for (const kserve::Tensor& tensor : response.outputs) {
    auto& output = *message->add_outputs();
    output.set_name(tensor.name);
    output.set_datatype(NameOf(tensor.type));
    output.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    message->add_raw_output_contents(tensor.data);
  }
}

}  // namespace ingot::rpc
