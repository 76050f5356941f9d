#include "kernels/kernel_table.h"

#include "base/check.h"

namespace ingot::kernels {

namespace {

AttentionKernels WithTiles(AttentionKernels kernels, decltype(AttentionKernels::attend_on_tiles) attend_on_tiles) {
  kernels.attend_on_tiles = attend_on_tiles;
  return kernels;
}

}  // namespace

const KernelTable& TableFor(Isa isa) {
  static const KernelTable tables[] = {
      {Isa::kReference, reference::kGemm, reference::kAttention, reference::kElementwise, reference::kMatrixUpdate},
      {Isa::kAmxEmulated, amx_emulated::kGemm, WithTiles(avx2::kAttention, amx_emulated::AttendOnTiles),
       avx2::kElementwise, avx2::kMatrixUpdate},
      {Isa::kAvx2, avx2::kGemm, avx2::kAttention, avx2::kElementwise, avx2::kMatrixUpdate},
      {Isa::kAvx2Vnni, avx2vnni::kGemm, avx2vnni::kAttention, avx2vnni::kElementwise, avx2vnni::kMatrixUpdate},
      {Isa::kAvx512, avx512::kGemm, avx512::kAttention, avx512::kElementwise, avx512::kMatrixUpdate},
      {Isa::kAmx, amx::kGemm, WithTiles(avx512::kAttention, amx::AttendOnTiles), avx512::kElementwise,
       avx512::kMatrixUpdate},
  };
  for (const KernelTable& table : tables) {
    if (table.isa == isa) return table;
  }
  INGOT_CHECK(false);
  return tables[0];
}

}  // namespace ingot::kernels
