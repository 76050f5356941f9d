// Tensors of KServe's v2 protocol, as HTTP, gRPC and Triton carry them.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace ingot::kserve {

enum class DataType : uint8_t {
  kBool,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kFp16,
  kBf16,
  kFp32,
  kFp64,
  kBytes
};
const char* NameOf(DataType type);  // "FP32"
std::optional<DataType> FindDataType(std::string_view name);
// Bytes of an element; 0 for BYTES, whose elements have lengths of their own.
size_t SizeOf(DataType type);

struct Tensor {
  std::string name;
  DataType type = DataType::kBytes;
  std::vector<int64_t> shape;
  // Little-endian elements in row-major order, as on the wire; of BYTES a uint32 length before each.
  std::string data;
};

// "INT32 of shape [1,1]"
std::string Describe(DataType type, std::span<const int64_t> shape);

// Elements of the shape. kInvalidArgument names the tensor: a negative dimension, or more elements than any request
// needs.
Result<int64_t> NumElements(const Tensor& tensor);
// That the data is as long as type and shape say, and that lengths of BYTES stay within it.
Status CheckData(const Tensor& tensor);
// Booleans, numbers or texts. REQUIRES: CheckData was ok, the type is not FP16 or BF16. kInvalidArgument: BYTES that
// are no UTF-8. An FP32 becomes the number whose shortest decimal form it has: 0.7 stays 0.7.
Result<boost::json::array> Values(const Tensor& tensor);
// The number that the value's shortest decimal form denotes: 0.7, not 0.699999988.
double ShortestDecimal(float value);
// The reverse of Values; kInvalidArgument names the element that does not fit the type. Lists in lists are read in
// order.
Status AppendValues(const boost::json::array& values, Tensor* tensor);

void AppendBytes(std::string_view text, std::string* data);  // an element of BYTES
template <typename T>
void AppendNumber(T value, std::string* data) {
  data->append(reinterpret_cast<const char*>(&value), sizeof(value));
}
Tensor TextTensor(std::string name, std::vector<int64_t> shape, std::span<const std::string> texts);
template <typename T>
Tensor NumberTensor(std::string name, DataType type, std::vector<int64_t> shape, std::span<const T> values) {
  Tensor tensor{std::move(name), type, std::move(shape), {}};
  tensor.data.assign(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return tensor;
}

// A request, whatever carried it.
struct InferRequest {
  std::string id;
  boost::json::object parameters;  // booleans, numbers, texts
  std::vector<Tensor> inputs;
  std::vector<std::string> outputs;  // names of the wanted ones; empty: all
};
struct InferResponse {
  std::string id, model_name;
  boost::json::object parameters;
  std::vector<Tensor> outputs;
};
// There is one version of a model.
inline constexpr const char* kModelVersion = "1";

}  // namespace ingot::kserve
