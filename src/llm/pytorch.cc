#include "llm/pytorch.h"

#include <utility>

#include "base/hash.h"
#include "formats/checkpoint.h"
#include "llm/compute.h"

namespace ingot::llm {
namespace {

PytorchLoader& Loader() {
  static PytorchLoader loader;
  return loader;
}

}  // namespace

void SetPytorchLoader(PytorchLoader loader) { Loader() = std::move(loader); }

bool HasPytorchLoader() { return static_cast<bool>(Loader()); }

Result<PytorchModel> LoadPytorch(const LoadOptions& options, const formats::Checkpoint& checkpoint,
                                 const ops::Backend& backend) {
  if (!HasPytorchLoader()) {
    return Unsupported(
        "the PyTorch engine is a part of the Python package: `make wheel`, then: pip install build/wheel/*.whl torch "
        "'transformers>=5,<6'; INGOT_PYTHON names the interpreter that has them");
  }
  if (checkpoint.kind() != formats::CheckpointKind::kHuggingFace)
    return Unsupported("{}: the PyTorch engine reads Hugging Face checkpoints, not GGUF files", checkpoint.path());
  if (options.quant_policy != 0) {
    return InvalidArgument(
        "--quant-policy {}: the PyTorch engine's KV cache has the numbers of the model (--dtype); leave it out",
        options.quant_policy);
  }
  if (options.exact || !options.auto_compute) {
    return InvalidArgument("--compute {}: the PyTorch engine computes in the model's numbers; --dtype has others",
                           ComputeName(ComputeOf(options)));
  }
  Fingerprint print;
  formats::AddTo(checkpoint, &print);
  return Loader()({.path = checkpoint.path(),
                   .fingerprint = print.Text(),
                   .dtype = options.kv_bf16 ? "bfloat16" : options.pytorch_dtype,
                   .device = backend.device(),
                   .num_threads = backend.host().pool->num_threads(),
                   .session_len = options.session_len});
}

}  // namespace ingot::llm
