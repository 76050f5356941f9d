#include "kernel_steps.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>

#include "base/check.h"

namespace ingot::cli {
namespace {

constexpr int kBlockLen = 64;
constexpr int64_t kWeightBytes = int64_t{1} << 30, kCacheBytes = int64_t{1} << 28;

constexpr std::array<ModelShape, 3> kShapes = {{{"135m", 30, 576, 1536, 49152, 9, 3, 64},
                                                {"1b", 22, 2048, 5632, 49152, 32, 4, 64},
                                                {"8b", 32, 4096, 14336, 128256, 32, 8, 128}}};

// The same 64 random rows again and again: quick to make.
class RepeatedRows : public WeightSource {
 public:
  RepeatedRows(const Format& format, int64_t rows, int64_t cols) : rows_(rows) {
    block_.format = format;
    block_.rows = kBlock;
    block_.cols = cols;
    SizeToFormat(&block_);
    std::mt19937 random(1);
    const auto number = [&](float size) {
      return F16ToF32(F32ToF16(size * static_cast<float>(random() % 1000) / 1000));
    };
    for (float& x : block_.dense) x = BF16ToF32(F32ToBF16(number(0.1F) - 0.05F));
    for (uint8_t& code : block_.codes) code = static_cast<uint8_t>(random() & ((1U << format.bits) - 1));
    // Weights of both signs, so that what they make of activations is of everyday size: else exponentials overflow.
    const float middle = static_cast<float>((1 << format.bits) - 1) / 2;
    const auto pair = [&](float* scale, float* min, float size) {
      *scale = number(size);
      if (min != nullptr) *min = F16ToF32(F32ToF16(-middle * *scale));
    };
    const bool has_min = format.zero == Format::Zero::kMin;
    for (size_t i = 0; i < block_.scale.size(); ++i) {
      pair(&block_.scale[i], has_min ? &block_.zero[i] : nullptr, 0.01F);
      if (format.zero == Format::Zero::kInteger) block_.zero[i] = std::floor(middle) + static_cast<float>(random() % 2);
    }
    for (size_t i = 0; i < block_.super_scale.size(); ++i) {
      pair(&block_.super_scale[i], has_min ? &block_.super_min[i] : nullptr, 0.001F);
    }
    for (int16_t& code : block_.scale_code) code = static_cast<int16_t>(random() % 64);
    block_.min_code.assign(block_.min_code.size(), 0);
    if (has_min) std::ranges::copy(block_.scale_code, block_.min_code.begin());
  }
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return block_.cols; }
  Format format() const override { return block_.format; }
  void Read(int64_t, int64_t count, WeightRows* out) const override {
    if (out->rows != count || out->cols != block_.cols) *out = block_;
    out->rows = count;
  }

 private:
  static constexpr int64_t kBlock = 64;
  int64_t rows_;
  WeightRows block_;
};

// Halves of ±0.125…0.25, which are also codes of every kind and sensible scales.
Result<Buffer> SmallNumbers(int64_t bytes) {
  INGOT_ASSIGN_OR_RETURN(Buffer buffer, Buffer::Allocate(bytes));
  auto* half = reinterpret_cast<uint16_t*>(buffer.data());
  for (int64_t i = 0; i < bytes / 2; ++i) half[i] = static_cast<uint16_t>((i * 37 & 0x83ff) | 0x3000);
  return buffer;
}

TensorView RandomActivations(const ops::Context& context, int64_t rows, int64_t width) {
  const TensorView x = context.scratch->Take(DType::kF32, {rows, width});
  std::mt19937 random(2);
  for (int64_t i = 0; i < rows * width; ++i) x.Data<float>()[i] = static_cast<float>(random() % 2001) / 1000 - 1;
  return x;
}

int64_t QkvWidth(const ModelShape& shape) { return int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim; }

}  // namespace

std::span<const ModelShape> ModelShapes() { return kShapes; }

const ModelShape& ModelShapeNamed(const std::string& name) {
  const auto shape = std::ranges::find_if(kShapes, [&](const ModelShape& s) { return name == s.name; });
  INGOT_CHECK(shape != kShapes.end());
  return *shape;
}

std::span<const NamedFormat> WeightFormats() {
  using Zero = Format::Zero;
  using Scale = Format::Scale;
  using Codebook = Format::Codebook;
  static const std::vector<NamedFormat> formats = {
      {"q4_0", {.bits = 4, .group_size = 32}},
      {"q4_1", {.bits = 4, .group_size = 32, .zero = Zero::kMin}},
      {"q4_k", {.bits = 4, .group_size = 32, .zero = Zero::kMin, .scale = Scale::kSuper}},
      {"q5_k", {.bits = 5, .group_size = 32, .zero = Zero::kMin, .scale = Scale::kSuper}},
      {"q6_k", {.bits = 6, .group_size = 16, .scale = Scale::kSuper}},
      {"q8_0", {.bits = 8, .group_size = 32}},
      {"q2_k", {.bits = 2, .group_size = 16, .zero = Zero::kMin, .scale = Scale::kSuper}},
      {"q3_k", {.bits = 3, .group_size = 16, .scale = Scale::kSuper}},
      {"iq4_nl", {.bits = 4, .group_size = 32, .codebook = Codebook::kIq4}},
      {"iq4_xs", {.bits = 4, .group_size = 32, .scale = Scale::kSuper, .codebook = Codebook::kIq4}},
      {"iq2_xs", {.bits = 4, .group_size = 16, .scale = Scale::kSuper, .codebook = Codebook::kIq2}},
      {"mxfp4", {.bits = 4, .group_size = 32, .scale = Scale::kE8M0, .codebook = Codebook::kFp4}},
      {"gptq", {.bits = 4, .group_size = 128}},
      {"awq", {.bits = 4, .group_size = 128, .zero = Zero::kInteger}},
      {"bf16", Format::Dense(DType::kBF16)},
      {"f16", Format::Dense(DType::kF16)},
      {"f32", Format::Dense(DType::kF32)}};
  return formats;
}

Result<ProductSteps> ProductSteps::Make(ops::Backend& backend, const ModelShape& shape, const Format& format) {
  ProductSteps steps;
  steps.shape_ = shape;
  const auto pack = [&](int64_t out, int64_t in) { return backend.Prepack(RepeatedRows(format, out, in)); };
  INGOT_ASSIGN_OR_RETURN(steps.norm_, ops::ToDevice(backend, std::vector<float>(static_cast<size_t>(shape.hidden), 1)));
  INGOT_ASSIGN_OR_RETURN(steps.head_, pack(shape.vocabulary, shape.hidden));
  int64_t bytes = steps.head_.bytes();
  for (int64_t i = 0; i < shape.layers && (i == 0 || bytes < kWeightBytes); ++i) {
    Layer& layer = steps.layers_.emplace_back();
    INGOT_ASSIGN_OR_RETURN(layer.qkv, pack(QkvWidth(shape), shape.hidden));
    INGOT_ASSIGN_OR_RETURN(layer.o, pack(shape.hidden, shape.hidden));
    INGOT_ASSIGN_OR_RETURN(layer.gate_up, pack(2 * shape.ffn, shape.hidden));
    INGOT_ASSIGN_OR_RETURN(layer.down, pack(shape.hidden, shape.ffn));
    bytes += layer.qkv.bytes() + layer.o.bytes() + layer.gate_up.bytes() + layer.down.bytes();
  }
  return steps;
}

int64_t ProductSteps::ScratchBytes(const ops::Backend& backend, int64_t rows) const {
  const int64_t widths = 4 * shape_.hidden + QkvWidth(shape_) + 3 * shape_.ffn + shape_.vocabulary;
  int64_t linear = 0;
  for (const ops::PackedWeight* w : {&layers_[0].qkv, &layers_[0].gate_up, &layers_[0].down, &head_}) {
    linear = std::max(linear, backend.LinearBytes(rows, {w, 1}));
  }
  return rows * widths * 4 + linear + 16 * 64;
}

void ProductSteps::Run(const ops::Context& context, int64_t rows) const {
  const ops::Scratch::Mark mark(*context.scratch);
  const auto take = [&](int64_t width) { return context.scratch->Take(DType::kF32, {rows, width}); };
  const TensorView branch = RandomActivations(context, rows, shape_.hidden);
  const TensorView residual = RandomActivations(context, rows, shape_.hidden);
  const TensorView x = take(shape_.hidden), qkv = take(QkvWidth(shape_)), gate_up = take(2 * shape_.ffn);
  const TensorView inner = take(shape_.ffn), logits = take(shape_.vocabulary);
  for (const Layer& layer : layers_) {
    ops::AddRmsNorm(context, branch, residual, {norm_, 1e-5F}, x);
    ops::Linear(context, x, layer.qkv, qkv);
    ops::Linear(context, x, layer.o, branch);
    ops::AddRmsNorm(context, branch, residual, {norm_, 1e-5F}, x);
    ops::Linear(context, x, layer.gate_up, gate_up);
    ops::ActMul(context, gate_up, ops::Activation::kSilu, inner);
    ops::Linear(context, inner, layer.down, branch);
  }
  ops::Linear(context, x, head_, logits);
}

Result<AttentionSteps> AttentionSteps::Make(ops::Backend& backend, const ModelShape& shape, ops::KvFormat format,
                                            AttentionSize size) {
  AttentionSteps steps;
  steps.size_ = size;
  steps.blocks_per_seq_ = (size.context + kBlockLen - 1) / kBlockLen;
  ops::KvView& kv = steps.kv_;
  kv.num_blocks = static_cast<int32_t>(size.batch * steps.blocks_per_seq_);
  kv.num_tails = size.batch;
  ops::KvShape cache{.format = format,
                     .num_layers = 1,
                     .num_heads = shape.heads,
                     .num_kv_heads = shape.kv_heads,
                     .head_dim = shape.head_dim,
                     .block_len = kBlockLen};
  const int64_t layer_bytes = kv.num_blocks * backend.LayoutOf(cache).block_bytes;
  cache.num_layers = static_cast<int>(std::clamp<int64_t>(kCacheBytes / layer_bytes, 1, 1 << 10));
  kv.layout = backend.LayoutOf(cache);
  INGOT_ASSIGN_OR_RETURN(steps.blocks_, SmallNumbers(kv.num_blocks * kv.layout.block_bytes));
  INGOT_ASSIGN_OR_RETURN(steps.tails_, SmallNumbers(std::max<int64_t>(64, size.batch * kv.layout.tail_bytes)));
  steps.block_tables_.resize(static_cast<size_t>(kv.num_blocks));
  std::iota(steps.block_tables_.begin(), steps.block_tables_.end(), 0);
  std::shuffle(steps.block_tables_.begin(), steps.block_tables_.end(), std::mt19937(1));
  for (int s = 0; s < size.batch; ++s) {
    for (int p = size.context - size.chunk; p < size.context; ++p) {
      const auto entry = static_cast<size_t>(s * steps.blocks_per_seq_ + p / kBlockLen);
      steps.positions_.push_back(p);
      steps.kv_slots_.push_back(steps.block_tables_[entry] * kBlockLen + p % kBlockLen);
    }
    steps.cu_seqlens_.push_back(static_cast<int32_t>(steps.positions_.size()));
    steps.tail_slots_.push_back(s);
  }
  return steps;
}

int64_t AttentionSteps::ScratchBytes(const ops::Backend& backend) const {
  const ops::StepLimits limits{cu_seqlens_.back(), size_.batch, size_.context};
  const ops::KvLayout& layout = kv_.layout;
  const int64_t width = int64_t{2 * layout.num_heads + 2 * layout.num_kv_heads} * layout.head_dim;
  return backend.StepBytes(limits, {&layout, 1}) + backend.AttentionBytes(limits, layout) +
         limits.max_tokens * width * 4 + 16 * 64;
}

void AttentionSteps::Run(const ops::Context& context) {
  const ops::Scratch::Mark mark(*context.scratch);
  kv_.data = blocks_.data();
  kv_.tails = tails_.data();
  const ops::KvLayout& layout = kv_.layout;
  const int64_t heads = int64_t{layout.num_heads} * layout.head_dim;
  const TensorView qkv =
      RandomActivations(context, std::ssize(positions_), heads + int64_t{2 * layout.num_kv_heads} * layout.head_dim);
  const TensorView out = context.scratch->Take(DType::kF32, {std::ssize(positions_), heads});
  const ops::KvGroupBatch group{block_tables_, blocks_per_seq_, kv_slots_};
  const ops::StepBatch batch{.token_ids = positions_,
                             .drawn_tokens = {},
                             .positions = positions_,
                             .cu_seqlens = cu_seqlens_,
                             .groups = {&group, 1},
                             .tail_slots = tail_slots_,
                             .adapters = {},
                             .logits_rows = {},
                             .max_context = size_.context};
  const ops::Step step = ops::BeginStep(context, batch, {&kv_, 1});
  const int layers = size_.chunk == 1 ? layout.num_layers : std::min(layout.num_layers, 4);
  for (int layer = 0; layer < layers; ++layer) {
    const ops::KvPlace place{.group = 0, .layer = layer};
    ops::RopeKvWrite(context, step,
                     {.qkv = qkv, .cos = {}, .sin = {}, .q_norm = {}, .k_norm = {}, .norm_eps = 0, .place = place});
    ops::Attention(context, step,
                   {.qkv = qkv,
                    .out = out,
                    .place = place,
                    .scale = 1 / std::sqrt(static_cast<float>(layout.head_dim)),
                    .softcap = 0});
  }
}

}  // namespace ingot::cli
