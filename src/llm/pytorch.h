// The second engine's way to a model: PyTorch computes its forward pass. A process has it where it runs a Python
// interpreter with the package `ingot`, which brings the loader; nothing here knows Python.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "llm/llm.h"
#include "models/model.h"

namespace ingot::llm {

struct PytorchRequest {
  std::string path;         // of a Hugging Face checkpoint's folder
  std::string fingerprint;  // what the model's is to be
  std::string dtype;
  Device device;  // where the cache and the logits are
  int num_threads = 0;
  int64_t session_len = 0;  // 0: not said
};
struct PytorchModel {
  std::unique_ptr<models::Model> model;
  std::string dtype;        // of weights, activations and cache: float32, float16 or bfloat16
  std::string description;  // "PyTorch 2.15.0 on the CPU, float32"
};
using PytorchLoader = std::function<Result<PytorchModel>(const PytorchRequest&)>;

// REQUIRES: no model is being loaded.
void SetPytorchLoader(PytorchLoader loader);
bool HasPytorchLoader();
// kUnsupported where there is no loader, or for what the engine does not offer. `backend`: whose memory cache and
// logits are in, and whose threads there are.
Result<PytorchModel> LoadPytorch(const LoadOptions& options, const formats::Checkpoint& checkpoint,
                                 const ops::Backend& backend);

}  // namespace ingot::llm
