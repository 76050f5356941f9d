// config.json and GGUF metadata (as JSON; the first byte says which) → ModelSpec: an error or a spec that holds
// together, and frequencies that are numbers.
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "models/rope.h"
#include "models/spec_internal.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ingot;
  using namespace ingot::models;
  if (size == 0) return 0;
  const auto json = ParseJson({reinterpret_cast<const char*>(data) + 1, size - 1}, "fuzz");
  if (!json) return 0;
  const GgufTensors tensors{.vocab_size = 100, .rope_freqs = {1.0f, 2.0f}};
  const auto spec = data[0] % 2 == 0 ? ReadHuggingFaceSpec(*json) : ReadGgufSpec(*json, tensors);
  if (!spec) return 0;
  INGOT_CHECK(CheckSpec(*spec).ok());
  for (const RopeSpec& rope : spec->ropes) {
    const RopeFrequencies got = MakeRopeFrequencies(rope, spec->rotary_dim, spec->max_position, 0);
    for (const double frequency : got.inv_freq) INGOT_CHECK(std::isfinite(frequency));
    INGOT_CHECK(std::isfinite(got.factor));
  }
  return 0;
}
