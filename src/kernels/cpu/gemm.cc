#include "kernels/gemm.h"

namespace ingot::kernels {
namespace {
void Quantize(const QuantizeParams& p) { reference::kGemm.quantize(p); }
void MultiplyInt8(const GemmParams& p) { reference::kGemm.multiply_int8(p); }
void MultiplyF32(const GemmParams& p) { reference::kGemm.multiply_f32(p); }
}  // namespace

const GemmKernels INGOT_ISA_NAMESPACE::kGemm = {
    .quantize = Quantize,
    .multiply_int8 = MultiplyInt8,
    .multiply_f32 = MultiplyF32,
    .round_bf16 = nullptr,
    .multiply_bf16 = nullptr,
};

}  // namespace ingot::kernels
