#include "kserve/tensor.h"

#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/json.h"
#include "text/utf8.h"

namespace ingot::kserve {
namespace {

// Of a tensor: no prompt has as many tokens, and no larger body is taken.
constexpr int64_t kMaxElements = int64_t{1} << 28;
constexpr size_t kMaxDimensions = 8;
constexpr size_t kLengthBytes = sizeof(uint32_t);

struct TypeRow {
  const char* name;
  size_t size;
};
// By DataType.
constexpr TypeRow kTypes[] = {{"BOOL", 1}, {"UINT8", 1}, {"UINT16", 2}, {"UINT32", 4}, {"UINT64", 8},
                              {"INT8", 1}, {"INT16", 2}, {"INT32", 4},  {"INT64", 8},  {"FP16", 2},
                              {"BF16", 2}, {"FP32", 4},  {"FP64", 8},   {"BYTES", 0}};

template <typename T>
T Load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// Signed where it fits, as a parser gives it.
boost::json::value Unsigned(uint64_t value) {
  if (std::in_range<int64_t>(value)) return static_cast<int64_t>(value);
  return value;
}

boost::json::value NumberAt(DataType type, const char* at) {
  switch (type) {
    case DataType::kBool:
      return *at != 0;
    case DataType::kUint8:
      return int64_t{Load<uint8_t>(at)};
    case DataType::kUint16:
      return int64_t{Load<uint16_t>(at)};
    case DataType::kUint32:
      return int64_t{Load<uint32_t>(at)};
    case DataType::kUint64:
      return Unsigned(Load<uint64_t>(at));
    case DataType::kInt8:
      return Load<int8_t>(at);
    case DataType::kInt16:
      return Load<int16_t>(at);
    case DataType::kInt32:
      return Load<int32_t>(at);
    case DataType::kInt64:
      return Load<int64_t>(at);
    case DataType::kFp32:
      return ShortestDecimal(Load<float>(at));
    case DataType::kFp64:
      return Load<double>(at);
    case DataType::kFp16:
    case DataType::kBf16:
    case DataType::kBytes:
      break;
  }
  return nullptr;
}

template <typename T>
Status AppendInteger(const JsonView& value, Tensor* tensor) {
  if (value.value().is_uint64() && sizeof(T) == sizeof(uint64_t) && std::is_unsigned_v<T>) {
    AppendNumber(value.value().get_uint64(), &tensor->data);
    return {};
  }
  INGOT_ASSIGN_OR_RETURN(const int64_t number, value.AsInt());
  if (!std::in_range<T>(number)) {
    return InvalidArgument("{} is {}, outside {}…{} of {}", value.path(), number, std::numeric_limits<T>::min(),
                           std::numeric_limits<T>::max(), NameOf(tensor->type));
  }
  AppendNumber(static_cast<T>(number), &tensor->data);
  return {};
}

Status AppendOne(const JsonView& value, Tensor* tensor) {
  switch (tensor->type) {
    case DataType::kBool: {
      INGOT_ASSIGN_OR_RETURN(const bool flag, value.AsBool());
      tensor->data += static_cast<char>(flag);
      return {};
    }
    case DataType::kUint8:
      return AppendInteger<uint8_t>(value, tensor);
    case DataType::kUint16:
      return AppendInteger<uint16_t>(value, tensor);
    case DataType::kUint32:
      return AppendInteger<uint32_t>(value, tensor);
    case DataType::kUint64:
      return AppendInteger<uint64_t>(value, tensor);
    case DataType::kInt8:
      return AppendInteger<int8_t>(value, tensor);
    case DataType::kInt16:
      return AppendInteger<int16_t>(value, tensor);
    case DataType::kInt32:
      return AppendInteger<int32_t>(value, tensor);
    case DataType::kInt64:
      return AppendInteger<int64_t>(value, tensor);
    case DataType::kFp32: {
      INGOT_ASSIGN_OR_RETURN(const double number, value.AsDouble());
      AppendNumber(static_cast<float>(number), &tensor->data);
      return {};
    }
    case DataType::kFp64: {
      INGOT_ASSIGN_OR_RETURN(const double number, value.AsDouble());
      AppendNumber(number, &tensor->data);
      return {};
    }
    case DataType::kBytes: {
      INGOT_ASSIGN_OR_RETURN(const std::string text, value.AsString());
      AppendBytes(text, &tensor->data);
      return {};
    }
    case DataType::kFp16:
    case DataType::kBf16:
      break;
  }
  return InvalidArgument("input '{}': {} has no form in JSON; send it as binary data", tensor->name,
                         NameOf(tensor->type));
}

// REQUIRES: BYTES. Calls each(text) for each element; an error where a length passes the end.
template <typename Each>
Status ForEachText(const Tensor& tensor, const Each& each) {
  std::string_view rest = tensor.data;
  for (int64_t i = 0; !rest.empty(); ++i) {
    const size_t length = rest.size() < kLengthBytes ? 0 : Load<uint32_t>(rest.data());
    if (rest.size() < kLengthBytes || length > rest.size() - kLengthBytes) {
      return InvalidArgument("input '{}': element {} of its BYTES passes the end of the data, which has {} bytes",
                             tensor.name, i, tensor.data.size());
    }
    INGOT_RETURN_IF_ERROR(each(i, rest.substr(kLengthBytes, length)));
    rest.remove_prefix(kLengthBytes + length);
  }
  return {};
}

}  // namespace

double ShortestDecimal(float value) {
  if (!std::isfinite(value)) return static_cast<double>(value);
  char text[64];
  const auto written = std::to_chars(text, text + sizeof(text), value);
  double result = 0;
  std::from_chars(text, written.ptr, result);
  return result;
}

const char* NameOf(DataType type) { return kTypes[static_cast<size_t>(type)].name; }
size_t SizeOf(DataType type) { return kTypes[static_cast<size_t>(type)].size; }

std::optional<DataType> FindDataType(std::string_view name) {
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    if (name == kTypes[i].name) return static_cast<DataType>(i);
  }
  return std::nullopt;
}

std::string Describe(DataType type, std::span<const int64_t> shape) {
  return fmt::format("{} of shape [{}]", NameOf(type), fmt::join(shape, ","));
}

Result<int64_t> NumElements(const Tensor& tensor) {
  if (tensor.shape.size() > kMaxDimensions) {
    return InvalidArgument("input '{}': a shape of {} dimensions; at most {} are taken", tensor.name,
                           tensor.shape.size(), kMaxDimensions);
  }
  int64_t count = 1;
  for (const int64_t size : tensor.shape) {
    if (size < 0) return InvalidArgument("input '{}': a dimension of its shape is {}", tensor.name, size);
    if (size > kMaxElements || count * size > kMaxElements) {
      return InvalidArgument("input '{}': shape [{}] has more than {} elements", tensor.name,
                             fmt::join(tensor.shape, ","), kMaxElements);
    }
    count *= size;
  }
  return count;
}

Status CheckData(const Tensor& tensor) {
  INGOT_ASSIGN_OR_RETURN(const int64_t elements, NumElements(tensor));
  int64_t given = 0;
  if (tensor.type == DataType::kBytes) {
    INGOT_RETURN_IF_ERROR(ForEachText(tensor, [&](int64_t, std::string_view) -> Status {
      ++given;
      return {};
    }));
    if (given == elements) return {};
    return InvalidArgument("input '{}': {} has {} elements, the data has {}", tensor.name,
                           Describe(tensor.type, tensor.shape), elements, given);
  }
  const size_t expected = static_cast<size_t>(elements) * SizeOf(tensor.type);
  if (tensor.data.size() == expected) return {};
  return InvalidArgument("input '{}': {} takes {} bytes, {} are given", tensor.name,
                         Describe(tensor.type, tensor.shape), expected, tensor.data.size());
}

Result<boost::json::array> Values(const Tensor& tensor) {
  boost::json::array values;
  if (tensor.type == DataType::kBytes) {
    INGOT_RETURN_IF_ERROR(ForEachText(tensor, [&](int64_t i, std::string_view text) -> Status {
      if (!IsValidUtf8(text)) return InvalidArgument("input '{}': element {} is no UTF-8", tensor.name, i);
      values.emplace_back(boost::json::string(text));
      return {};
    }));
    return values;
  }
  const size_t size = SizeOf(tensor.type);
  values.reserve(tensor.data.size() / size);
  for (size_t at = 0; at + size <= tensor.data.size(); at += size)
    values.push_back(NumberAt(tensor.type, tensor.data.data() + at));
  return values;
}

Status AppendValues(const boost::json::array& values, Tensor* tensor) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].is_array()) {
      INGOT_RETURN_IF_ERROR(AppendValues(values[i].get_array(), tensor));
    } else {
      INGOT_RETURN_IF_ERROR(
          AppendOne(JsonView(values[i], fmt::format("input '{}': data[{}]", tensor->name, i)), tensor));
    }
  }
  return {};
}

void AppendBytes(std::string_view text, std::string* data) {
  AppendNumber(static_cast<uint32_t>(text.size()), data);
  *data += text;
}

Tensor TextTensor(std::string name, std::vector<int64_t> shape, std::span<const std::string> texts) {
  Tensor tensor{std::move(name), DataType::kBytes, std::move(shape), {}};
  for (const std::string& text : texts) AppendBytes(text, &tensor.data);
  return tensor;
}

}  // namespace ingot::kserve
