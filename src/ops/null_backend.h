// For tests: a device that computes nothing. Its memory cannot be read or written by the host (PROT_NONE), so a host
// access crashes; it counts its calls, and logits are zeros.
#pragma once

#include <sys/mman.h>

#include <map>
#include <string>
#include <vector>

#include "base/check.h"
#include "ops/backend.h"

namespace ingot::ops {

class NullBackend final : public Backend {
 public:
  NullBackend() : Backend(1, "reference") {}

  std::vector<std::string> calls;  // of ops, in order
  int64_t uploads = 0, downloads = 0, allocations = 0;

  Device device() const override { return {DeviceKind::kCuda, 0}; }
  DType activation_dtype() const override { return DType::kF16; }

  Result<Buffer> Allocate(int64_t bytes) override {
    ++allocations;
    const auto size = static_cast<size_t>(bytes) + 1;
    void* const data = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    INGOT_CHECK(data != MAP_FAILED);
    return Buffer::Adopt(static_cast<std::byte*>(data), bytes,
                         [](std::byte* at, int64_t count) { munmap(at, static_cast<size_t>(count) + 1); });
  }
  void Upload(std::byte*, const void*, int64_t) override { ++uploads; }
  void Download(void* to, const std::byte*, int64_t bytes) override {
    ++downloads;
    std::fill_n(static_cast<std::byte*>(to), bytes, std::byte{0});
  }
  void Copy(std::byte*, const std::byte*, int64_t) override { Called("Copy"); }
  float* ReadBack(const TensorView& x) override {
    ++downloads;
    read_back_.assign(static_cast<size_t>(x.shape.NumElements()), 0.0f);
    return read_back_.data();
  }
  void WriteBack(const TensorView&) override { ++uploads; }

  Format HeldFormat(const Format& source) const override { return source; }
  int64_t PackedBytes(const Format& source, int64_t out_features, int64_t in_features) const override {
    return out_features * in_features * source.bits / 8;
  }
  PackedWeight Outline(const WeightSource& source) const override { return PackedWeight(PartsOf(source)); }
  Result<PackedWeight> Prepack(const WeightSource& source) override {
    PackedWeight::Parts parts = PartsOf(source);
    INGOT_ASSIGN_OR_RETURN(parts.data, Allocate(parts.bytes));
    return PackedWeight(std::move(parts));
  }
  KvLayout LayoutOf(const KvShape& shape) const override { return CpuKvLayout(shape); }

  int64_t StepBytes(const StepLimits& limits, std::span<const KvLayout>) const override {
    return 3 * 64 + limits.max_tokens * 3 * 4;
  }
  int64_t AttentionBytes(const StepLimits&, const KvLayout&) const override { return 0; }
  int64_t LinearBytes(int64_t, std::span<const PackedWeight>) const override { return 0; }

  Step BeginStep(const Context& context, const StepBatch& batch, std::span<const KvView> kv) override {
    Called("BeginStep");
    ++uploads;
    const auto take = [&](std::span<const int32_t> values) {
      return context.scratch->Take(DType::kI32, {std::ssize(values)});
    };
    return {.num_tokens = batch.num_tokens(),
            .token_ids = take(batch.token_ids),
            .drawn_tokens = batch.drawn_tokens,
            .positions = take(batch.positions),
            .logits_rows = take(batch.logits_rows),
            .kv = kv};
  }
  void Embed(const Context&, const Step&, const PackedWeight&, float, const TensorView&) override { Called("Embed"); }
  void Linear(const Context&, const TensorView&, std::span<const PackedWeight>, const TensorView&,
              const TensorView&) override {
    Called("Linear");
  }
  void ExpertLinear(const Context&, const TensorView&, const Routing&, std::span<const FusedLinear>,
                    const TensorView&) override {
    Called("ExpertLinear");
  }
  void RmsNorm(const Context&, const TensorView&, const NormWeight&, const TensorView&) override { Called("RmsNorm"); }
  void AddRmsNorm(const Context&, const TensorView&, const TensorView&, const NormWeight&, const TensorView&) override {
    Called("AddRmsNorm");
  }
  void Add(const Context&, const TensorView&, const TensorView&) override { Called("Add"); }
  void ActMul(const Context&, const TensorView&, Activation, const TensorView&) override { Called("ActMul"); }
  void Softcap(const Context&, const TensorView&, float) override { Called("Softcap"); }
  void RopeAngles(const Context&, const TensorView&, const RopeTable&, const TensorView&, const TensorView&) override {
    Called("RopeAngles");
  }
  void RopeKvWrite(const Context&, const Step&, const RopeKvWriteParams&) override { Called("RopeKvWrite"); }
  void Attention(const Context&, const Step&, const AttentionParams&) override { Called("Attention"); }
  void Route(const Context&, const TensorView&, RouteRule, const Routing&) override { Called("Route"); }
  void CombineExperts(const Context&, const TensorView&, const Routing&, const TensorView&) override {
    Called("CombineExperts");
  }
  void GatherRows(const Context&, const TensorView&, const TensorView&, const TensorView&) override {
    Called("GatherRows");
  }

 private:
  static PackedWeight::Parts PartsOf(const WeightSource& source) {
    const int64_t bytes = source.rows() * source.cols() * source.format().bits / 8;
    return {.out_features = source.rows(),
            .in_features = source.cols(),
            .source_format = source.format(),
            .format = source.format(),
            .bytes = bytes,
            .layout = nullptr,
            .data = {}};
  }
  void Called(const char* op) { calls.emplace_back(op); }

  std::vector<float> read_back_;
};

}  // namespace ingot::ops
