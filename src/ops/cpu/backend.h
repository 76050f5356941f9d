// x86-64: activations are f32, memory is the host's, ops run at once on the threads of a pool.
#pragma once

#include <span>

#include "kernels/kernel_table.h"
#include "ops/backend.h"

namespace ingot::ops {

class CpuBackend final : public Backend {
 public:
  CpuBackend(int num_threads, std::string_view isa)
      : Backend(num_threads, isa), pool_(*host().pool), kernels_(*host().kernels) {}

  Device device() const override { return {}; }
  DType activation_dtype() const override { return DType::kF32; }
  Result<Buffer> Allocate(int64_t bytes) override { return Buffer::Allocate(bytes); }
  void Upload(std::byte* to, const void* from, int64_t bytes) override;
  void Download(void* to, const std::byte* from, int64_t bytes) override;
  void Copy(std::byte* to, const std::byte* from, int64_t bytes) override;
  float* ReadBack(const TensorView& x) override { return x.Data<float>(); }
  void WriteBack(const TensorView&) override {}

  Format HeldFormat(const Format& source) const override;
  int64_t PackedBytes(const Format& source, int64_t out_features, int64_t in_features) const override;
  PackedWeight Outline(const WeightSource& source) const override;
  Result<PackedWeight> Prepack(const WeightSource& source) override;
  std::string packing() const override;
  KvLayout LayoutOf(const KvShape& shape) const override;

  int64_t StepBytes(const StepLimits& limits, std::span<const KvLayout> groups) const override;
  int64_t AttentionBytes(const StepLimits& limits, const KvLayout& group) const override;
  int64_t LinearBytes(int64_t max_rows, std::span<const PackedWeight> parts) const override;

  Step BeginStep(const Context& context, const StepBatch& batch, std::span<const KvView> kv) override;
  void Embed(const Context&, const Step& step, const PackedWeight& table, float scale, const TensorView& y) override;
  void Linear(const Context&, const TensorView& x, std::span<const PackedWeight> parts, const TensorView& bias,
              const TensorView& y) override;
  void ExpertLinear(const Context&, const TensorView& x, const Routing& routing, std::span<const FusedLinear> experts,
                    const TensorView& y) override;
  void RmsNorm(const Context&, const TensorView& x, const NormWeight& norm, const TensorView& y) override;
  void AddRmsNorm(const Context&, const TensorView& x, const TensorView& residual, const NormWeight& norm,
                  const TensorView& y) override;
  void Add(const Context&, const TensorView& x, const TensorView& y) override;
  void ActMul(const Context&, const TensorView& gate_up, Activation activation, const TensorView& y) override;
  void Softcap(const Context&, const TensorView& x, float cap) override;
  void RopeAngles(const Context&, const TensorView& positions, const RopeTable& table, const TensorView& cos,
                  const TensorView& sin) override;
  void RopeKvWrite(const Context&, const Step& step, const RopeKvWriteParams& params) override;
  void Attention(const Context&, const Step& step, const AttentionParams& params) override;
  void Route(const Context&, const TensorView& router_logits, RouteRule rule, const Routing& routing) override;
  void CombineExperts(const Context&, const TensorView& x, const Routing& routing, const TensorView& y) override;
  void GatherRows(const Context&, const TensorView& x, const TensorView& rows, const TensorView& y) override;

 private:
  // One matrix: bias and y may be the columns of a larger whole.
  struct Product {
    const float* x;  // [rows, in_features]
    int64_t rows;
    const float* bias;  // [out_features] or null
    float* y;           // [rows, out_features]
  };
  void Multiply(const Context& context, const PackedWeight& weight, const Product& product);
  // The parts of a fused weight into the columns of y.
  void MultiplyParts(const Context& context, std::span<const PackedWeight> parts, const Product& product);

  // body(begin, end) over ranges of [0, rows), in parallel where that pays. Rows do not depend on how they are cut.
  void ForRows(int64_t rows, int64_t elements_per_row, FunctionRef<void(int64_t begin, int64_t end)> body) const;

  ThreadPool& pool_;
  const kernels::KernelTable& kernels_;
};

}  // namespace ingot::ops
