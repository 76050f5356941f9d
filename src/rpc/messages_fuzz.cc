// Bytes of requests: what parses becomes JSON, or tensors whose data fits their shapes.
#include <ingot/v1/generation.pb.h>

#include <cstdlib>

#include "kserve/inputs.h"
#include "rpc/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    inference::ModelInferRequest message;
    if (!ingot::rpc::Parse(bytes, &message).ok()) return 0;
    const auto request = ingot::rpc::ToInferRequest(message);
    if (!request) return 0;
    for (const auto& tensor : request->inputs) {
      if (!CheckData(tensor).ok()) std::abort();
    }
    (void)RowsOf(*request);
    return 0;
  }
  ingot::v1::ChatRequest message;
  if (ingot::rpc::Parse(bytes, &message).ok()) (void)ingot::rpc::ToJson(message);
  return 0;
}
