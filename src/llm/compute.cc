#include "llm/compute.h"

#include <fmt/format.h>

#include "base/check.h"
#include "ops/isa_info.h"

namespace ingot::llm {
namespace {

constexpr const char* kNames[] = {"auto", "fast", "exact"};

// Int8 activations change answers noticeably at 576 (SmolLM2-135M) and 640 (Gemma 3 270M). Above, this is an
// extrapolation: docs/performance.md.
constexpr int64_t kSmallHiddenSize = 1024;

}  // namespace

ComputeChoice ChooseCompute(Compute wanted, const models::ModelSpec& spec) {
  if (wanted != Compute::kAuto) return {wanted, ""};
  const ops::IsaInfo isa = ops::GetIsaInfo();
  if (isa.fast_is_close) return {Compute::kFast, fmt::format("bf16 on {} is close to exact", isa.chosen)};
  if (spec.hidden_size >= kSmallHiddenSize)
    return {Compute::kFast, fmt::format("a hidden size of {} is large enough for int8 activations", spec.hidden_size)};
  return {Compute::kExact, fmt::format("a hidden size of {} is too small for int8 activations", spec.hidden_size)};
}

std::string AutoComputeRule() {
  const ops::IsaInfo isa = ops::GetIsaInfo();
  if (isa.fast_is_close) return fmt::format("fast for all models: bf16 on {} is close to exact", isa.chosen);
  return fmt::format("exact for models with a hidden size below {}, else fast", kSmallHiddenSize);
}

const char* ComputeName(Compute compute) { return kNames[static_cast<size_t>(compute)]; }

Compute ComputeOf(std::string_view name) {
  for (const Compute compute : {Compute::kAuto, Compute::kFast, Compute::kExact}) {
    if (name == ComputeName(compute)) return compute;
  }
  INGOT_CHECK(false);
}

bool HasBf16Cache(const LoadOptions& options) {
  if (options.kv_bf16 || options.pytorch_dtype != "auto") return options.kv_bf16;
  return options.device == "cpu" && !options.exact && ops::GetIsaInfo().fast_is_close;
}

}  // namespace ingot::llm
