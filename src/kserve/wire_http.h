// KServe v2's requests and responses as bodies of HTTP: JSON, with tensors in it or, as bytes, behind it.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

#include "kserve/tensor.h"

namespace ingot::kserve {

// Header that says how long the JSON before binary data is.
inline constexpr const char* kJsonLengthHeader = "Inference-Header-Content-Length";

struct HttpInfer {
  InferRequest request;
  bool binary_outputs = false;                    // all, but for those that say otherwise
  std::unordered_set<std::string> binary, plain;  // outputs that do
};

// `json_length`: the header's value; "": the body is JSON alone.
Result<HttpInfer> ParseInfer(std::string_view body, std::string_view json_length);

struct HttpBody {
  std::string text;
  size_t json_length = 0;  // of the JSON before the bytes; 0: all of it is JSON
};
HttpBody WriteInfer(const InferResponse& response, const HttpInfer& asked);

// The flat object of the generate extension: outputs of one element as values, others as lists.
std::string WriteGenerate(const InferResponse& response);

}  // namespace ingot::kserve
