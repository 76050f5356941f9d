// Memory, weights and products.
#include "ops/cuda/backend.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "ops/cuda/launch.h"
#include "ops/panels.h"

namespace ingot::ops {

using kernels::cuda::KernelId;

CudaBackend::CudaBackend(int num_threads, std::unique_ptr<CudaDriver> driver, DType activation_dtype, Graphs graphs)
    : Backend(num_threads, ""),
      driver_(std::move(driver)),
      activation_dtype_(activation_dtype),
      use_graphs_(graphs),
      graphs_(*driver_) {
  INGOT_CHECK(activation_dtype == DType::kF16 || activation_dtype == DType::kBF16);
}

std::string CudaBackend::description() const {
  const CudaDeviceInfo info = driver_->Info();
  return fmt::format("{}, compute capability {}.{}, {} multiprocessors", info.name, info.compute_capability / 10,
                     info.compute_capability % 10, info.num_sms);
}

MemoryAllowance CudaBackend::memory() const {
  const CudaDeviceInfo info = driver_->Info();
  return {.total_bytes = info.total_bytes, .available_bytes = info.free_bytes, .cgroup_limit = {}};
}

void CudaBackend::EndRecording() {
  if (!is_recording_) return;
  is_recording_ = false;
  graphs_.Launch();
}

int64_t CudaBackend::PaddedDecodes(int64_t num_seqs) const {
  if (use_graphs_ == Graphs::kOff) return 0;
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(num_seqs)));
}

float* CudaBackend::ReadBack(const TensorView& x) {
  const auto count = static_cast<size_t>(x.shape.NumElements());
  read_back_.resize(count);
  if (x.dtype == DType::kF32) {
    Download(read_back_.data(), x.Data<std::byte>(), x.bytes());
    return read_back_.data();
  }
  read_bits_.resize(count);
  Download(read_bits_.data(), x.Data<std::byte>(), x.bytes());
  const auto to_float = x.dtype == DType::kF16 ? F16ToF32 : BF16ToF32;
  std::ranges::transform(read_bits_, read_back_.begin(), to_float);
  return read_back_.data();
}

void CudaBackend::WriteBack(const TensorView& x) {
  if (x.dtype == DType::kF32) return Upload(x.Data<std::byte>(), read_back_.data(), x.bytes());
  const auto from_float = x.dtype == DType::kF16 ? F32ToF16 : F32ToBF16;
  std::ranges::transform(read_back_, read_bits_.begin(), from_float);
  Upload(x.Data<std::byte>(), read_bits_.data(), x.bytes());
}

Format CudaBackend::HeldFormat(const Format& source) const { return PanelFormat(source); }

int64_t CudaBackend::PackedBytes(const Format& source, int64_t out_features, int64_t in_features) const {
  return PanelBytes(source, out_features, in_features);
}

PackedWeight CudaBackend::Outline(const WeightSource& source) const { return PackedWeight(PanelParts(source)); }

// The panels, then the order of the inputs where there is one.
Result<PackedWeight> CudaBackend::Prepack(const WeightSource& source) {
  PackedWeight::Parts parts = PanelParts(source);
  const auto& layout = static_cast<const PanelPackedLayout&>(*parts.layout);
  INGOT_ASSIGN_OR_RETURN(const Buffer panels, Buffer::Allocate(parts.bytes));
  PackPanels(*host().pool, source, layout.panel, panels.data());
  const int64_t order_bytes = std::ssize(layout.input_order) * static_cast<int64_t>(sizeof(int32_t));
  std::copy_n(reinterpret_cast<const std::byte*>(layout.input_order.data()), order_bytes,
              panels.data() + parts.bytes - order_bytes);
  INGOT_ASSIGN_OR_RETURN(parts.data, driver_->Allocate(parts.bytes));
  driver().Upload(parts.data.data(), panels.data(), parts.bytes);
  return PackedWeight(std::move(parts));
}

void CudaBackend::Embed(const Context&, const Step& step, const PackedWeight& table, float scale, const TensorView& y) {
  Launch({.kernel = KernelId::embed, .grid = {Blocks(step.num_tokens)}},
         kernels::cuda::EmbedParams{.layout = PackedLayoutOf(table).panel,
                                    .packed = table.data(),
                                    .ids = step.token_ids.Data<int32_t>(),
                                    .drawn = step.drawn_tokens.Data<int32_t>(),
                                    .scale = scale,
                                    .y = y.Data<float>()});
}

namespace {

struct LinearKernels {
  KernelId half, bfloat16;
};
LinearKernels KernelsOf(kernels::WeightKind kind) {
  switch (kind) {
    case kernels::WeightKind::kInt4:
      return {KernelId::linear_int4_half, KernelId::linear_int4_bfloat16};
    case kernels::WeightKind::kInt8:
      return {KernelId::linear_int8_half, KernelId::linear_int8_bfloat16};
    case kernels::WeightKind::kF16:
      return {KernelId::linear_f16_half, KernelId::linear_f16_bfloat16};
    case kernels::WeightKind::kBF16:
      return {KernelId::linear_bf16_half, KernelId::linear_bf16_bfloat16};
    case kernels::WeightKind::kF32:
      return {KernelId::linear_f32_half, KernelId::linear_f32_bfloat16};
  }
  INGOT_CHECK(false);
}

}  // namespace

// Each part writes its own columns of y.
void CudaBackend::MultiplyParts(std::span<const PackedWeight> parts, const TensorView& bias, const Product& product) {
  INGOT_CHECK(product.x.dtype == activation_dtype_);
  int64_t begin = 0;
  for (const PackedWeight& part : parts) {
    const PanelPackedLayout& layout = PackedLayoutOf(part);
    const int64_t n = part.out_features(), order_bytes = std::ssize(layout.input_order) * int64_t{4};
    const LinearKernels kernels = KernelsOf(layout.panel.kind);
    const bool is_float = layout.panel.kind == kernels::WeightKind::kF32;
    const int rows = is_float ? kernels::cuda::kLinearRows : kernels::cuda::kMmaRows;  // of a block
    const auto* const order = reinterpret_cast<const int32_t*>(part.data() + part.bytes() - order_bytes);
    Launch({.kernel = Pick(kernels.half, kernels.bfloat16),
            .grid = {Blocks(n, kernels::kPanelChannels), Blocks(product.max_rows, rows)}},
           kernels::cuda::LinearParams{
               .layout = layout.panel,
               .packed = part.data(),
               .x = product.x.data,
               .order = order_bytes > 0 ? order : nullptr,
               .bias = bias.empty() ? nullptr : bias.Data<float>() + begin,
               .y = product.y.Data<std::byte>() + begin * static_cast<int64_t>(SizeOf(product.y.dtype)),
               .y_stride = product.y.shape[1],
               .rows = product.x.shape[0],
               .out_features = n,
               .row_range = product.row_range,
               .y_is_float = product.y.dtype == DType::kF32});
    begin += n;
  }
}

void CudaBackend::Linear(const Context&, const TensorView& x, std::span<const PackedWeight> parts,
                         const TensorView& bias, const TensorView& y) {
  MultiplyParts(parts, bias, {.x = x, .y = y, .row_range = nullptr, .max_rows = x.shape[0]});
}

// How many rows an expert has is known on the device alone; a token goes to an expert once at most.
void CudaBackend::ExpertLinear(const Context&, const TensorView& x, const Routing& routing,
                               std::span<const FusedLinear> experts, const TensorView& y) {
  for (size_t e = 0; e < experts.size(); ++e) {
    MultiplyParts(
        experts[e].parts, experts[e].bias.view(),
        {.x = x, .y = y, .row_range = routing.expert_begin.Data<int32_t>() + e, .max_rows = routing.ids.shape[0]});
  }
}

}  // namespace ingot::ops
