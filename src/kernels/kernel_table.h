// One table of functions per instruction set. Kernels take raw pointers and one Params struct; they do not allocate, do
// not fail, and do their own part of the work (a range of rows, panels or heads) on the calling thread.
#pragma once

#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/isa.h"
#include "kernels/matrix_update.h"

namespace ingot::kernels {

struct KernelTable {
  Isa isa;
  GemmKernels gemm;
  AttentionKernels attention;
  ElementwiseKernels elementwise;
  MatrixUpdateKernels matrix_update;
};

// REQUIRES: isa is in AvailableIsas().
const KernelTable& TableFor(Isa isa);
inline const KernelTable& ChosenTable() { return TableFor(ChosenIsa()); }

}  // namespace ingot::kernels
