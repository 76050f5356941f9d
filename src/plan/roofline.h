// At which batch size decode turns from memory-bound to compute-bound (Williams, Waterman and Patterson 2009).
//
// A step of B sequences reads the weights once, whatever B is, and multiplies each with B tokens:
//   bytes(B) / bandwidth  against  2 · weights · B / FLOPS
// and is compute-bound from the B on where the second is larger. Of a mixture's experts a step reads those that at
// least one of its tokens chooses; with even routing E · (1 - (1 - k/E)^B) of E. Each sequence also reads its own KV
// cache, which grows with B as the products do: beyond some context that alone takes longer than all arithmetic, and
// no batch makes decode compute-bound.
#pragma once

#include <cstdint>
#include <optional>

#include "models/model_spec.h"
#include "ops/kv_view.h"
#include "plan/devices.h"

namespace ingot::plan {

enum class Scheme : uint8_t { kFp16, kW8A8, kW4A16 };
inline constexpr Scheme kSchemes[] = {Scheme::kFp16, Scheme::kW8A8, Scheme::kW4A16};
const char* SchemeName(Scheme scheme);  // "FP16", "W8A8", "W4A16"

// Weights that a token is multiplied with.
struct Products {
  int64_t shared = 0;  // in the layers, by every token
  int64_t expert = 0;  // of one expert, all layers together
  int64_t head = 0;    // the output matrix, which stays in fp16
  int experts = 0, experts_per_token = 0;

  int64_t per_token() const { return shared + expert * experts_per_token + head; }
};
Products ProductsOf(const models::ModelSpec& spec);

struct Crossover {
  int64_t batch = 0;                   // smallest that is compute-bound, with a cache of no length
  double tokens_per_second_alone = 0;  // limit of one sequence, by bandwidth
  double tokens_per_second = 0;        // limit at `batch`
  // From this context on no batch is compute-bound; nullopt: there is none.
  std::optional<int64_t> hopeless_context;
};

struct RooflineParams {
  const models::ModelSpec* spec;
  Scheme scheme = Scheme::kFp16;
  int group_size = 128;  // of W4A16's weights
  ops::KvFormat kv_format = ops::KvFormat::kF16;
};
Crossover FindCrossover(const RooflineParams& params, const Device& device);

// Bytes of KV cache that a sequence of `context` tokens reads in a step: what windows see of it.
int64_t KvBytesRead(const models::ModelSpec& spec, ops::KvFormat format, int64_t context);

}  // namespace ingot::plan
