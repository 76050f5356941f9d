// Bodies of KServe v2: what is taken has tensors whose data fits their shapes, and can be read as values.
#include <cstdlib>
#include <string_view>

#include "kserve/inputs.h"
#include "kserve/wire_http.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  // The first two bytes: how long the JSON is; 0: all.
  const size_t length = static_cast<size_t>(data[0]) | static_cast<size_t>(data[1]) << 8;
  const std::string_view body(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto infer = ingot::kserve::ParseInfer(body, length == 0 ? "" : std::to_string(length));
  if (!infer) return 0;
  for (const ingot::kserve::Tensor& tensor : infer->request.inputs) {
    if (!CheckData(tensor).ok()) std::abort();
    if (tensor.type == ingot::kserve::DataType::kFp16 || tensor.type == ingot::kserve::DataType::kBf16) continue;
    const auto values = Values(tensor);
    if (values && std::ssize(*values) != NumElements(tensor).value()) std::abort();
  }
  (void)RowsOf(infer->request);
  return 0;
}
