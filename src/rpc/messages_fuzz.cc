// Bytes of requests: what parses becomes JSON, or tensors whose data fits their shapes.
#include <ingot/v1/generation.pb.h>

#include <cstdlib>

#include "kserve/inputs.h"
#include "rpc/messages.h"

namespace {

void InferMessage(std::string_view bytes) {
  inference::ModelInferRequest message;
  if (!ingot::rpc::Parse(bytes, &message).ok()) return;
  const auto request = ingot::rpc::ToInferRequest(message);
  if (!request) return;
  for (const auto& tensor : request->inputs) {
    if (!CheckData(tensor).ok()) std::abort();
  }
  (void)RowsOf(*request);
}

template <typename Message>
void TypedMessage(std::string_view bytes) {
  Message message;
  if (ingot::rpc::Parse(bytes, &message).ok()) (void)ingot::rpc::ToJson(message);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  // The first byte: which message. Odd numbers are typed ones.
  switch (data[0] % 8) {
    case 1:
      TypedMessage<ingot::v1::ChatRequest>(bytes);
      break;
    case 3:
      TypedMessage<ingot::v1::CompleteRequest>(bytes);
      break;
    case 5:
      TypedMessage<ingot::v1::TurnRequest>(bytes);
      break;
    case 7:
      TypedMessage<ingot::v1::DetokenizeRequest>(bytes);
      break;
    default:
      InferMessage(bytes);
  }
  return 0;
}
