// A device: its memory, its layouts, and one function per op.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "ops/context.h"
#include "ops/kv_view.h"
#include "ops/linear.h"
#include "ops/step_batch.h"
#include "ops/transformer.h"

namespace ingot::kernels {
struct KernelTable;
}

namespace ingot::ops {

// Threads and kernels of the host, for what is computed there whatever the device is.
struct Host {
  ThreadPool* pool;
  const kernels::KernelTable* kernels;
};

// Ops are called through the functions of linear.h and transformer.h, which check shapes; the members here trust them.
// They are asynchronous, in order; Download and ReadBack wait for what came before. Every op keeps contract 1 of batch
// invariance: a row of its output depends on that row's inputs alone.
// Thread safety: one thread at a time, but for Allocate and the layouts.
class Backend {
 public:
  // `isa`: an instruction set of this machine by its name (GetIsaInfo); "": the fastest, or what INGOT_ISA names.
  Backend(int num_threads, std::string_view isa);
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  const Host& host() const { return host_; }
  virtual Device device() const = 0;
  // Of activations but for the residual stream, logits and router logits, which are f32.
  virtual DType activation_dtype() const = 0;

  virtual Result<Buffer> Allocate(int64_t bytes) = 0;  // 64-byte aligned, zeroed
  virtual void Upload(std::byte* to, const void* from, int64_t bytes) = 0;
  virtual void Download(void* to, const std::byte* from, int64_t bytes) = 0;
  virtual void Copy(std::byte* to, const std::byte* from, int64_t bytes) = 0;  // within the device
  // Memory of the host that DownloadLater writes.
  virtual Result<Buffer> AllocatePinned(int64_t bytes) { return Buffer::Allocate(bytes); }
  // As Download, but what is read is there only once a mark behind it was waited for.
  virtual void DownloadLater(std::byte* pinned, const std::byte* from, int64_t bytes) { Download(pinned, from, bytes); }
  virtual int64_t Mark() { return 0; }
  virtual void WaitFor(int64_t) {}
  // Whether a step should be launched before the one before it is collected: ops return before they are done.
  virtual bool runs_behind() const { return false; }
  // `x` as f32 where the host may read and change it: in place on a CPU, else a copy that is valid until the next call.
  // WriteBack brings what was changed there back into x.
  virtual float* ReadBack(const TensorView& x) = 0;
  virtual void WriteBack(const TensorView& x) = 0;

  // How weights and the cache lie in memory.
  virtual Format HeldFormat(const Format& source) const = 0;  // the same, or the next wider with a kernel
  virtual int64_t PackedBytes(const Format& source, int64_t out_features, int64_t in_features) const = 0;
  virtual PackedWeight Outline(const WeightSource& source) const = 0;
  virtual Result<PackedWeight> Prepack(const WeightSource& source) = 0;
  // Tells this layout of packed weights from others: what was packed under the same name fits. "": it is not stored.
  virtual std::string packing() const { return ""; }
  // kUnsupported says for what of an attention there are no kernels.
  virtual Status CheckAttention(const KvShape&) const { return {}; }
  virtual KvLayout LayoutOf(const KvShape& shape) const = 0;  // REQUIRES: CheckAttention(shape).ok()

  // How many sequences a step of `num_seqs` decodes is to be filled up to (StepBatch::is_padded); 0: it stays as it is.
  virtual int64_t PaddedDecodes(int64_t) const { return 0; }
  // Takes what steps of this size need besides scratch; a larger step takes more when it begins.
  virtual Status ReserveStep(const StepLimits&, std::span<const KvLayout>) { return {}; }
  // Bytes of scratch: of a step as long as it lasts, and of an op while it runs.
  virtual int64_t StepBytes(const StepLimits& limits, std::span<const KvLayout> groups) const = 0;
  virtual int64_t AttentionBytes(const StepLimits& limits, const KvLayout& group) const = 0;
  virtual int64_t LinearBytes(int64_t max_rows, std::span<const PackedWeight> parts) const = 0;

  virtual Step BeginStep(const Context& context, const StepBatch& batch, std::span<const KvView> kv) = 0;
  virtual void Embed(const Context&, const Step& step, const PackedWeight& table, float scale, const TensorView& y) = 0;
  // bias: f32 [N] or empty.   y: [M, N], the parts' outputs side by side
  virtual void Linear(const Context&, const TensorView& x, std::span<const PackedWeight> parts, const TensorView& bias,
                      const TensorView& y) = 0;
  virtual void ExpertLinear(const Context&, const TensorView& x, const Routing& routing,
                            std::span<const FusedLinear> experts, const TensorView& y) = 0;
  virtual void RmsNorm(const Context&, const TensorView& x, const NormWeight& norm, const TensorView& y) = 0;
  virtual void AddRmsNorm(const Context&, const TensorView& x, const TensorView& residual, const NormWeight& norm,
                          const TensorView& y) = 0;
  virtual void Add(const Context&, const TensorView& x, const TensorView& y) = 0;
  virtual void ActMul(const Context&, const TensorView& gate_up, Activation activation, const TensorView& y) = 0;
  virtual void Softcap(const Context&, const TensorView& x, float cap) = 0;
  virtual void RopeAngles(const Context&, const TensorView& positions, const RopeTable& table, const TensorView& cos,
                          const TensorView& sin) = 0;
  virtual void RopeKvWrite(const Context&, const Step& step, const RopeKvWriteParams& params) = 0;
  virtual void Attention(const Context&, const Step& step, const AttentionParams& params) = 0;
  virtual void Route(const Context&, const TensorView& router_logits, RouteRule rule, const Routing& routing) = 0;
  virtual void CombineExperts(const Context&, const TensorView& x, const Routing& routing, const TensorView& y) = 0;
  virtual void GatherRows(const Context&, const TensorView& x, const TensorView& rows, const TensorView& y) = 0;
  // Whether there is a Draw for such rows; else the host draws from the logits that it reads back.
  virtual bool draws(int64_t /*vocab_size*/) const { return false; }
  // The draws of the step that was begun last, whose forward pass is over: results, and drawn tokens of slots.
  virtual void Draw(const Context&, const DrawTargets&) { INGOT_CHECK(false); }

 private:
  ThreadPool pool_;
  const Host host_;
};

// x86-64.
std::unique_ptr<Backend> MakeCpuBackend(int num_threads, std::string_view isa = "");

// Zeros in the backend's memory.
Result<Tensor> AllocateTensor(Backend& backend, DType dtype, Shape shape);
// f32 values in the backend's memory, [values.size()]; none: an empty tensor.
Result<Tensor> ToDevice(Backend& backend, const std::vector<float>& values);

}  // namespace ingot::ops
