#include "plan/roofline.h"

#include <algorithm>
#include <cmath>

#include "models/activations.h"
#include "models/model.h"

namespace ingot::plan {
namespace {

// Of a weight in the layers: fp16 scales and u8 zeros a group with 4 bits, as kernels/gemm.h lays them out.
double BytesPerWeight(const RooflineParams& params) {
  switch (params.scheme) {
    case Scheme::kFp16:
      return 2.0;
    case Scheme::kW8A8:
      return 1.0;
    case Scheme::kW4A16:
      return 0.5 + 3.0 / params.group_size;
  }
  return 0.0;
}

class Step {
 public:
  Step(const RooflineParams& params, const Device& device)
      : params_(params), device_(device), products_(ProductsOf(*params.spec)) {}

  double WeightSeconds(double batch) const {
    double read = static_cast<double>(products_.shared);
    if (products_.experts > 0) {
      const double missed = 1.0 - static_cast<double>(products_.experts_per_token) / products_.experts;
      read += static_cast<double>(products_.expert) * products_.experts * (1.0 - std::pow(missed, batch));
    }
    const double head = 2.0 * static_cast<double>(products_.head);
    return (read * BytesPerWeight(params_) + head) / device_.bandwidth;
  }
  // Of one token.
  double ProductSeconds() const {
    const double rate = params_.scheme == Scheme::kW8A8 ? device_.int8_ops : device_.fp16_flops;
    const auto layers = static_cast<double>(products_.shared + products_.expert * products_.experts_per_token);
    return 2.0 * layers / rate + 2.0 * static_cast<double>(products_.head) / device_.fp16_flops;
  }
  // What one token's attention over its cache takes more of memory than of arithmetic.
  double KvExcessSeconds(int64_t context) const {
    double flops = 0;
    for (const models::LayerSpec& layer : params_.spec->layers) {
      const int64_t seen = layer.window == 0 ? context : std::min<int64_t>(context, layer.window);  // keys of a query
      flops += 2.0 * static_cast<double>(seen * (layer.q_rows() + layer.attended()));
    }
    const auto bytes = static_cast<double>(KvBytesRead(*params_.spec, params_.kv_format, context));
    return bytes / device_.bandwidth - flops / device_.fp16_flops;
  }

 private:
  const RooflineParams params_;
  const Device& device_;
  const Products products_;
};

// The smallest value in [1, high] for which `holds`, which stays true once it is.
template <typename Holds>
int64_t Smallest(int64_t high, const Holds& holds) {
  int64_t low = 1;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    holds(middle) ? high = middle : low = middle + 1;
  }
  return low;
}

}  // namespace

const char* SchemeName(Scheme scheme) {
  switch (scheme) {
    case Scheme::kFp16:
      return "FP16";
    case Scheme::kW8A8:
      return "W8A8";
    case Scheme::kW4A16:
      return "W4A16";
  }
  return "";
}

Products ProductsOf(const models::ModelSpec& spec) {
  Products products{.head = spec.vocab_size * spec.hidden_size,
                    .experts = spec.num_experts,
                    .experts_per_token = spec.experts_per_token};
  for (const models::LayerSpec& layer : spec.layers) {
    products.shared += spec.hidden_size * (layer.qkv_rows() + layer.attended());
    if (layer.moe) {
      products.shared += spec.hidden_size * spec.num_experts;  // the router
      products.expert += 3 * spec.hidden_size * spec.moe_intermediate_size;
    } else {
      products.shared += 3 * spec.hidden_size * spec.intermediate_size;
    }
  }
  return products;
}

int64_t KvBytesRead(const models::ModelSpec& spec, ops::KvFormat format, int64_t context) {
  int64_t bytes = 0;
  for (const models::KvGroup& group : models::KvGroupsOf(spec)) {
    if (group.state_bytes > 0) {
      bytes += 2 * group.state_bytes * std::ssize(group.layers);  // read and written, whatever the context
      continue;
    }
    const ops::KvLayout layout = ops::CpuKvLayout({.format = format,
                                                   .num_layers = static_cast<int>(group.layers.size()),
                                                   .num_heads = spec.heads().num_heads,
                                                   .num_kv_heads = group.num_kv_heads,
                                                   .head_dim = group.head_dim});
    bytes += layout.block_bytes / layout.block_len *
             (group.window == 0 ? context : std::min<int64_t>(context, group.window));
  }
  return bytes;
}

Crossover FindCrossover(const RooflineParams& params, const Device& device) {
  constexpr int64_t kMost = int64_t{1} << 24;
  const Step step(params, device);
  const double products = step.ProductSeconds();
  Crossover found;
  // Weight bytes grow with the batch ever more slowly and arithmetic evenly, so they cross once.
  found.batch = Smallest(kMost, [&](int64_t batch) {
    return products * static_cast<double>(batch) >= step.WeightSeconds(static_cast<double>(batch));
  });
  found.tokens_per_second_alone = 1.0 / std::max(step.WeightSeconds(1), products);
  found.tokens_per_second = 1.0 / products;
  const auto hopeless = [&](int64_t context) { return step.KvExcessSeconds(context) >= products; };
  if (hopeless(kMost)) found.hopeless_context = Smallest(kMost, hopeless);
  return found;
}

}  // namespace ingot::plan
