// Every kernel for the emulator, compiled with -fsanitize=thread so that it sees their accesses.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/conformance.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/kv_write.h"
#include "kernels/cuda/mixture.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/sampling.h"

namespace ingot::kernels::cuda {
namespace {

#define INGOT_EMULATED_KERNEL(name, function, Params, threads, shared) \
  {#name, threads, shared, sizeof(Params), [](const void* p) { function(*static_cast<const Params*>(p)); }},
constexpr KernelInfo kKernels[] = {INGOT_CUDA_KERNELS(INGOT_EMULATED_KERNEL)};

}  // namespace

const KernelInfo& InfoOf(KernelId id) { return kKernels[static_cast<int>(id)]; }

}  // namespace ingot::kernels::cuda
