#include "kserve/wire_http.h"

#include <algorithm>
#include <charconv>

#include "answers/schema.h"
#include "base/json.h"
#include "base/json_writer.h"
#include "kserve/inputs.h"

namespace ingot::kserve {
namespace {

constexpr size_t kMaxTensors = 256;

// The bytes behind the JSON, taken from the front.
class BinaryData {
 public:
  explicit BinaryData(std::string_view bytes) : rest_(bytes) {}
  Result<std::string> Take(const std::string& tensor, int64_t size) {
    if (size < 0 || static_cast<uint64_t>(size) > rest_.size()) {
      return InvalidArgument("input '{}': binary_data_size is {}, and {} bytes are left", tensor, size, rest_.size());
    }
    std::string taken(rest_.substr(0, static_cast<size_t>(size)));
    rest_.remove_prefix(static_cast<size_t>(size));
    return taken;
  }
  size_t left() const { return rest_.size(); }

 private:
  std::string_view rest_;
};

Result<Tensor> ParseTensor(const JsonView& json, BinaryData* binary) {
  Tensor tensor;
  INGOT_ASSIGN_OR_RETURN(tensor.name, json.String("name"));
  INGOT_ASSIGN_OR_RETURN(const std::string datatype, json.String("datatype"));
  const auto type = FindDataType(datatype);
  if (!type) return InvalidArgument("input '{}': datatype '{}' is not known", tensor.name, datatype.substr(0, 32));
  tensor.type = *type;
  INGOT_ASSIGN_OR_RETURN(const JsonView shape, json.Get("shape"));
  INGOT_ASSIGN_OR_RETURN(const auto* sizes, shape.AsArray());
  for (size_t i = 0; i < sizes->size(); ++i) {
    INGOT_ASSIGN_OR_RETURN(const int64_t size, shape.At(i).AsInt());
    tensor.shape.push_back(size);
  }
  const auto parameters = json.Find("parameters");
  const auto binary_size = parameters ? parameters->Find("binary_data_size") : std::nullopt;
  const auto data = json.Find("data");
  if (parameters && parameters->Find("shared_memory_region"))
    return Unsupported("input '{}': shared memory is not supported", tensor.name);
  if (binary_size.has_value() == data.has_value()) {
    return InvalidArgument("input '{}': the tensor's data is in \"data\", or of binary_data_size bytes behind the JSON",
                           tensor.name);
  }
  if (binary_size) {
    INGOT_ASSIGN_OR_RETURN(const int64_t size, binary_size->AsInt());
    INGOT_ASSIGN_OR_RETURN(tensor.data, binary->Take(tensor.name, size));
  } else {
    INGOT_ASSIGN_OR_RETURN(const auto* values, data->AsArray());
    INGOT_RETURN_IF_ERROR(AppendValues(*values, &tensor));
  }
  INGOT_RETURN_IF_ERROR(CheckData(tensor));
  return tensor;
}

Status CheckObject(const JsonView& json) {
  const auto object = json.AsObject();
  return object ? Status() : object.error();
}

// Calls each(item) for the objects of a list that may be absent.
template <typename Each>
Status ForEachObject(const JsonView& json, const char* member, const Each& each) {
  const auto list = json.Find(member);
  if (!list) return {};
  INGOT_ASSIGN_OR_RETURN(const auto* array, list->AsArray());
  if (array->size() > kMaxTensors)
    return InvalidArgument("{} has {} tensors; at most {} are taken", member, array->size(), kMaxTensors);
  for (size_t i = 0; i < array->size(); ++i) {
    INGOT_RETURN_IF_ERROR(CheckObject(list->At(i)));
    INGOT_RETURN_IF_ERROR(each(list->At(i)));
  }
  return {};
}

Status ParseOutput(const JsonView& json, HttpInfer* infer) {
  INGOT_ASSIGN_OR_RETURN(std::string name, json.String("name"));
  const auto parameters = json.Find("parameters");
  if (parameters) {
    if (parameters->Find("shared_memory_region"))
      return Unsupported("output '{}': shared memory is not supported", name);
    if (parameters->Find("classification")) return Unsupported("output '{}': there are no classes", name);
    if (parameters->Find("binary_data")) {
      INGOT_ASSIGN_OR_RETURN(const bool binary, parameters->Bool("binary_data", false));
      (binary ? infer->binary : infer->plain).insert(name);
    }
  }
  infer->request.outputs.push_back(std::move(name));
  return {};
}

std::string DataJson(const Tensor& tensor) {
  std::string out;
  const auto values = Values(tensor);
  if (!values) return "[]";
  out = "[";
  for (size_t i = 0; i < values->size(); ++i) {
    const boost::json::value& value = (*values)[i];
    if (i > 0) out += ',';
    if (value.is_string()) {
      AppendJson(out, std::string_view(value.get_string()));
    } else if (value.is_bool()) {
      AppendJson(out, value.get_bool());
    } else if (value.is_double()) {
      AppendJson(out, value.get_double());
    } else {
      AppendJson(out, value.is_uint64() ? static_cast<int64_t>(value.get_uint64()) : value.get_int64());
    }
  }
  return out + "]";
}

}  // namespace

Result<HttpInfer> ParseInfer(std::string_view body, std::string_view json_length) {
  size_t length = body.size();
  if (!json_length.empty()) {
    const auto [end, error] = std::from_chars(json_length.data(), json_length.data() + json_length.size(), length);
    if (error != std::errc() || end != json_length.data() + json_length.size() || length > body.size()) {
      return InvalidArgument("{} is '{}'; it is how many of the body's {} bytes are JSON", kJsonLengthHeader,
                             json_length.substr(0, 32), body.size());
    }
  }
  INGOT_ASSIGN_OR_RETURN(const boost::json::value parsed,
                         ParseJson(body.substr(0, length), "body", answers::kMaxBodyParts));
  const JsonView json(parsed, "body");
  INGOT_RETURN_IF_ERROR(CheckObject(json));
  BinaryData binary(body.substr(length));
  HttpInfer infer;
  INGOT_ASSIGN_OR_RETURN(infer.request.id, json.String("id", ""));
  if (const auto parameters = json.Find("parameters")) {
    INGOT_ASSIGN_OR_RETURN(const auto* object, parameters->AsObject());
    infer.request.parameters = *object;
    INGOT_ASSIGN_OR_RETURN(infer.binary_outputs, parameters->Bool("binary_data_output", false));
  }
  INGOT_RETURN_IF_ERROR(ForEachObject(json, "inputs", [&](const JsonView& one) -> Status {
    INGOT_ASSIGN_OR_RETURN(Tensor tensor, ParseTensor(one, &binary));
    infer.request.inputs.push_back(std::move(tensor));
    return {};
  }));
  if (binary.left() > 0)
    return InvalidArgument("{} bytes behind the JSON are no tensor's (binary_data_size)", binary.left());
  INGOT_RETURN_IF_ERROR(ForEachObject(json, "outputs", [&](const JsonView& one) { return ParseOutput(one, &infer); }));
  return infer;
}

HttpBody WriteInfer(const InferResponse& response, const HttpInfer& asked) {
  std::string bytes;
  const auto tensor_json = [&](const Tensor& tensor) {
    JsonObject json;
    json.Add("name", tensor.name).Add("datatype", NameOf(tensor.type)).AddJson("shape", JsonList(tensor.shape));
    const bool binary =
        asked.binary.contains(tensor.name) || (asked.binary_outputs && !asked.plain.contains(tensor.name));
    if (!binary) return json.AddJson("data", DataJson(tensor)).Text();
    bytes += tensor.data;
    return json.AddJson("parameters", JsonObject().Add("binary_data_size", tensor.data.size()).Text()).Text();
  };
  JsonObject json;
  json.Add("model_name", response.model_name).Add("model_version", kModelVersion);
  if (!response.id.empty()) json.Add("id", response.id);
  json.AddJson("outputs", JsonList(response.outputs, tensor_json));
  HttpBody body{.text = json.Text()};
  if (bytes.empty()) return body;
  body.json_length = body.text.size();
  body.text += bytes;
  return body;
}

std::string WriteGenerate(const InferResponse& response) {
  JsonObject json;
  if (!response.id.empty()) json.Add("id", response.id);
  json.Add("model_name", response.model_name).Add("model_version", kModelVersion);
  for (const Tensor& tensor : response.outputs) {
    const std::string data = DataJson(tensor);
    const bool is_list = std::ranges::any_of(
        AllOutputs(), [&](const Output& output) { return output.is_list && output.name == tensor.name; });
    const bool is_value = !is_list && NumElements(tensor).value_or(0) == 1;
    json.AddJson(tensor.name, is_value ? std::string_view(data).substr(1, data.size() - 2) : std::string_view(data));
  }
  return json.Text();
}

}  // namespace ingot::kserve
