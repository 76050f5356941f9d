#include "kernels/kernel_table.h"

#include "base/check.h"

namespace ingot::kernels {

const KernelTable& TableFor(Isa isa) {
  static const KernelTable tables[] = {
      {Isa::kReference, reference::kGemm, reference::kAttention, reference::kElementwise, reference::kMatrixUpdate},
      {Isa::kAmxEmulated, amx_emulated::kGemm, avx2::kAttention, avx2::kElementwise, avx2::kMatrixUpdate},
      {Isa::kAvx2, avx2::kGemm, avx2::kAttention, avx2::kElementwise, avx2::kMatrixUpdate},
      {Isa::kAvx2Vnni, avx2vnni::kGemm, avx2vnni::kAttention, avx2vnni::kElementwise, avx2vnni::kMatrixUpdate},
      {Isa::kAvx512, avx512::kGemm, avx512::kAttention, avx512::kElementwise, avx512::kMatrixUpdate},
      {Isa::kAmx, amx::kGemm, avx512::kAttention, avx512::kElementwise, avx512::kMatrixUpdate},
  };
  for (const KernelTable& table : tables) {
    if (table.isa == isa) return table;
  }
  INGOT_CHECK(false);
  return tables[0];
}

}  // namespace ingot::kernels
