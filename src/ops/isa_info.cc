#include "ops/isa_info.h"

#include "kernels/isa.h"
#include "kernels/kernel_table.h"

namespace ingot::ops {

IsaInfo GetIsaInfo() {
  IsaInfo info{.chosen = kernels::IsaName(kernels::ChosenIsa()), .available = {}, .problem = kernels::IsaProblem()};
  for (const kernels::Isa isa : kernels::AvailableIsas()) info.available.emplace_back(kernels::IsaName(isa));
  info.is_vectorized = kernels::ChosenIsa() != kernels::Isa::kReference;
  info.fast_is_close = kernels::ChosenTable().gemm.multiply_tiles != nullptr;
  info.fast = info.fast_is_close ? "activations in bf16, weights as they are, sums in fp32, on tiles"
                                 : "activations in int8 by groups of 32 with weights of up to 8 bits";
  return info;
}

}  // namespace ingot::ops
