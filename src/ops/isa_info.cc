#include "ops/isa_info.h"

#include "kernels/isa.h"

namespace ingot::ops {

IsaInfo GetIsaInfo() {
  IsaInfo info{.chosen = kernels::IsaName(kernels::ChosenIsa()), .available = {}, .problem = kernels::IsaProblem()};
  for (const kernels::Isa isa : kernels::AvailableIsas()) info.available.emplace_back(kernels::IsaName(isa));
  info.is_vectorized = kernels::ChosenIsa() != kernels::Isa::kReference;
  return info;
}

}  // namespace ingot::ops
