// Every kernel for the device. nvcc makes a fatbin of it, which is part of the program.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/conformance.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/kernel_list.h"
#include "kernels/cuda/kv_write.h"
#include "kernels/cuda/mixture.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/sampling.h"

namespace ingot::kernels::cuda {

#define INGOT_DEVICE_KERNEL(name, function, Params, threads, shared) \
  extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Params p) { function(p); }
INGOT_CUDA_KERNELS(INGOT_DEVICE_KERNEL)

}  // namespace ingot::kernels::cuda
