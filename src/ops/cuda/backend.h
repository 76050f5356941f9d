// NVIDIA GPUs: activations of 16 bits with an f32 residual, weights in the order of tensor cores, the cache in the same
// tiles as the CPU's (kernels/attention.h). Ops are launches of kernels/cuda/ on one stream.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/topology.h"
#include "ops/backend.h"
#include "ops/cpu/step_tiles.h"
#include "ops/cuda/driver.h"
#include "ops/cuda/gemm_table.h"
#include "ops/cuda/graphs.h"
#include "ops/cuda/weights.h"

namespace ingot::ops {

class CudaBackend final : public Backend {
 public:
  enum class Graphs : uint8_t { kOff, kOn };
  CudaBackend(int num_threads, std::unique_ptr<CudaDriver> driver, DType activation_dtype, Graphs graphs = Graphs::kOn);

  Device device() const override { return {DeviceKind::kCuda, 0}; }
  std::string description() const;
  CudaDeviceInfo device_info() const { return driver_->Info(); }
  // For products from now on, and the LinearBytes that they need.
  void UseGemmTable(const GemmTable& table) { gemm_table_ = table; }
  // For weights that are packed from now on.
  void UseInt8Products(bool use) { tile_options_.int8_products = use; }
  MemoryAllowance memory() const;
  DType activation_dtype() const override { return activation_dtype_; }
  Result<Buffer> Allocate(int64_t bytes) override { return driver_->Allocate(bytes); }
  void Upload(std::byte* to, const void* from, int64_t bytes) override { driver().Upload(to, from, bytes); }
  void Download(void* to, const std::byte* from, int64_t bytes) override { driver().Download(to, from, bytes); }
  void Copy(std::byte* to, const std::byte* from, int64_t bytes) override { driver().Copy(to, from, bytes); }
  Result<Buffer> AllocatePinned(int64_t bytes) override { return driver_->AllocatePinned(bytes); }
  void DownloadLater(std::byte* pinned, const std::byte* from, int64_t bytes) override {
    driver().DownloadLater(pinned, from, bytes);
  }
  int64_t Mark() override { return driver().Mark(); }
  void WaitFor(int64_t mark) override { driver().WaitFor(mark); }
  bool runs_behind() const override { return true; }
  float* ReadBack(const TensorView& x) override;
  void WriteBack(const TensorView& x) override;

  Format HeldFormat(const Format& source) const override;
  int64_t PackedBytes(const Format& source, int64_t out_features, int64_t in_features) const override;
  PackedWeight Outline(const WeightSource& source) const override;
  Result<PackedWeight> Prepack(const WeightSource& source) override;
  Status CheckAttention(const KvShape& shape) const override;
  KvLayout LayoutOf(const KvShape& shape) const override;

  int64_t PaddedDecodes(int64_t num_seqs) const override;
  Status ReserveStep(const StepLimits& limits, std::span<const KvLayout> groups) override;
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

  bool draws(int64_t vocab_size) const override {
    return vocab_size <= int64_t{kernels::cuda::kMaxSumBlocks} * kSumBlock;
  }
  void Draw(const Context&, const DrawTargets& targets) override;

  const CudaGraphs& graphs() const { return graphs_; }

 private:
  // Tokens that a block attends together, on the device.
  struct QueryTiles {
    const kernels::cuda::QueryTile* tiles = nullptr;  // [count]
    int64_t count = 0;
  };
  // Where a group's tokens lie, on the device, and its tiles: those of a few tokens, whose positions are split, and
  // others.
  struct GroupMetadata {
    const int32_t* block_tables = nullptr;  // [S, block_table_stride]
    int64_t block_table_stride = 0;
    const int32_t* kv_slots = nullptr;  // [T]
    QueryTiles few, many;
  };
  struct StepMetadata {
    int64_t num_splits = 1;                                                       // that positions are cut into
    StepTiles tiles;                                                              // of the host
    const int32_t *tile_index = nullptr, *closing = nullptr, *carried = nullptr;  // of the device
    std::vector<GroupMetadata> groups;
    const DrawRow* draws = nullptr;  // [num_draws]
    LogitEdit* edits = nullptr;
    int64_t num_draws = 0;
  };
  // Numbers that a step needs on the device: gathered in memory of the host, uploaded in one piece.
  class Staging;
  struct StagingMemory {
    Buffer pinned;
    int64_t mark = 0;  // behind the upload from it
  };

  // For what is no launch: those that are kept come before it.
  CudaDriver& driver() {
    EndRecording();
    return *driver_;
  }
  void EndRecording();
  Status ReserveStaging(int64_t bytes);
  GroupMetadata StageGroup(const StepBatch& batch, size_t g, const KvLayout& layout, Staging* staging);
  void PlanTiles(const Context& context, const StepBatch& batch, const KvLayout& layout, Staging* staging);
  void AttendInSplits(const Context& context, const QueryTiles& tiles, kernels::cuda::AttendParams attend,
                      const KvLayout& layout);
  kernels::KvLayer LayerOf(const KvView& kv, int layer) const;
  kernels::OpenTiles OpenTilesOf(const KvView& kv, int layer) const;
  struct Product;  // linear.cc
  void Multiply(const Context& context, const Product& product);
  void QuantizeRows(const Context& context, const TensorView& x, kernels::cuda::GemmParams* params);
  void Norm(const TensorView& x, float* residual, const NormWeight& norm, const TensorView& y);
  // The variant for the activations' type.
  kernels::cuda::KernelId Pick(kernels::cuda::KernelId half, kernels::cuda::KernelId bfloat16) const {
    return activation_dtype_ == DType::kF16 ? half : bfloat16;
  }
  template <typename Params>
  void Launch(const CudaLaunch& launch, const Params& params);

  std::unique_ptr<CudaDriver> driver_;
  const DType activation_dtype_;
  TileOptions tile_options_;
  GemmTable gemm_table_;
  Buffer split_counters_;  // of products whose splits have blocks of their own: zeros between launches
  const Graphs use_graphs_;
  CudaGraphs graphs_;
  bool is_recording_ = false;  // launches are kept for a graph
  StepMetadata metadata_;      // of the step that was begun last: there is one at a time
  StagingMemory staging_[2];   // by turns: one is filled while the other may be being uploaded
  size_t next_staging_ = 0;
  std::vector<float> read_back_;
  std::vector<uint16_t> read_bits_;
};

}  // namespace ingot::ops
