// How a model computes where it is not told: --compute auto.
#pragma once

#include <string>

#include "llm/llm.h"
#include "models/model_spec.h"

namespace ingot::llm {

enum class Compute : uint8_t {
  kAuto,  // exact where int8 activations would be noticed, else fast
  kFast,  // activations in int8, or on AMX weights and activations in bf16
  kExact  // activations in fp32
};

struct ComputeChoice {
  Compute compute;  // kFast or kExact
  std::string why;  // "" where it was asked for
};
// docs/performance.md has the figures behind it.
ComputeChoice ChooseCompute(Compute wanted, const models::ModelSpec& spec);
// What kAuto chooses on this machine, for which models.
std::string AutoComputeRule();
const char* ComputeName(Compute compute);  // "auto", "fast", "exact"
// REQUIRES: one of these names.
Compute ComputeOf(std::string_view name);

// The same as it is said in options.
inline Compute ComputeOf(const LoadOptions& options) {
  if (options.exact) return Compute::kExact;
  return options.auto_compute ? Compute::kAuto : Compute::kFast;
}
inline void SetCompute(Compute compute, LoadOptions* options) {
  options->exact = compute == Compute::kExact;
  options->auto_compute = compute == Compute::kAuto;
}

// Whether a 16-bit KV cache is in bf16: as --dtype says, else where tiles multiply bf16, to which an fp16 cache would
// be converted at each step. REQUIRES: options.exact says how the model computes
bool HasBf16Cache(const LoadOptions& options);

}  // namespace ingot::llm
