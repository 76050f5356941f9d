#include "kernels/cuda/kernels.h"

#ifdef INGOT_CUDA_FATBIN
#include "base/embedded_file.h"
INGOT_EMBED_FILE(ingot_cuda_fatbin, INGOT_CUDA_FATBIN)
#endif

namespace ingot::kernels::cuda {

std::string_view DeviceProgram() {
#ifdef INGOT_CUDA_FATBIN
  return {ingot_cuda_fatbin_begin, static_cast<size_t>(ingot_cuda_fatbin_end - ingot_cuda_fatbin_begin)};
#else
  return {};
#endif
}

}  // namespace ingot::kernels::cuda
