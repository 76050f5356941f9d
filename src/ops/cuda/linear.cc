// Weights and products.
#include <algorithm>

#include "base/check.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/weights.h"

namespace ingot::ops {
namespace {

using kernels::cuda::FewRowsShape;
using kernels::cuda::GemmParams;
using kernels::cuda::KernelId;
using kernels::cuda::ManyRowsShape;
using kernels::cuda::OutputType;
using kernels::cuda::TileKind;
using kernels::cuda::WeightTiles;

// A kernel, and the tile of y that its blocks do.
struct GemmKernel {
  KernelId half, bfloat16;
  int64_t rows, channels;
};
template <typename Shape>
constexpr GemmKernel Kernel(KernelId half, KernelId bfloat16) {
  return {half, bfloat16, Shape::kRows, int64_t{Shape::kBlockPanels} * kernels::kPanelChannels};
}
struct GemmKernels {
  GemmKernel few, many;  // rows
};
#define INGOT_GEMM_KERNELS(kind, name)                                                                                \
  case TileKind::kind:                                                                                                \
    return {                                                                                                          \
        Kernel<FewRowsShape<TileKind::kind>>(KernelId::gemm_few_##name##_half, KernelId::gemm_few_##name##_bfloat16), \
        Kernel<ManyRowsShape<TileKind::kind>>(KernelId::gemm_##name##_half, KernelId::gemm_##name##_bfloat16)};
GemmKernels KernelsOf(TileKind kind) {
  switch (kind) {
    case TileKind::kCodedInt4:
      INGOT_GEMM_KERNELS(kInt4, int4)
      INGOT_GEMM_KERNELS(kInt8, int8)
      INGOT_GEMM_KERNELS(kDense, dense)
    case TileKind::kFloat: {
      const GemmKernel kernel{KernelId::gemm_float, KernelId::gemm_float, kernels::cuda::kFloatRows,
                              kernels::kPanelChannels};
      return {kernel, kernel};
    }
    case TileKind::kInt8Products:
      return {
          Kernel<FewRowsShape<TileKind::kInt8Products>>(KernelId::gemm_few_int8_products,
                                                        KernelId::gemm_few_int8_products),
          Kernel<ManyRowsShape<TileKind::kInt8Products>>(KernelId::gemm_int8_products, KernelId::gemm_int8_products)};
  }
  INGOT_CHECK(false);
}
#undef INGOT_GEMM_KERNELS

// How the inputs of a product are cut: by N and K alone, since it decides the bits. So many parts that few rows, whose
// blocks do 64 channels, keep some hundred blocks busy, each with 512 inputs at least.
constexpr int64_t kMaxSplits = 8, kSplitChannels = 32768, kMinSplitTiles = 8;
struct Splits {
  int32_t tiles;  // of a split
  int64_t count;
};
Splits SplitsOf(const PackedWeight& weight) {
  const WeightTiles& layout = TileLayoutOf(weight).tiles;
  if (layout.tiles == 0) return {0, 1};
  int64_t wanted = 1;
  while (wanted < kMaxSplits && 2 * wanted * weight.out_features() <= kSplitChannels &&
         layout.tiles / (2 * wanted) >= kMinSplitTiles) {
    wanted *= 2;
  }
  const int64_t tiles = (layout.tiles + wanted - 1) / wanted;
  return {static_cast<int32_t>(tiles), (layout.tiles + tiles - 1) / tiles};
}

// How a product of so many rows is done. It changes nothing of the bits.
struct GemmPlan {
  GemmKernel kernel;
  int64_t row_tiles, channel_tiles;
  bool spread;
};
GemmPlan PlanOf(const GemmTable& table, const PackedWeight& weight, int64_t rows, bool may_spread) {
  const TileKind kind = TileLayoutOf(weight).tiles.kind;
  const GemmChoice& choice = table.For(kind);
  const GemmKernels kernels = KernelsOf(kind);
  const bool few = rows <= choice.few_rows;
  const GemmKernel& kernel = few ? kernels.few : kernels.many;
  GemmPlan plan{kernel, Blocks(rows, kernel.rows), Blocks(weight.out_features(), kernel.channels), false};
  plan.spread =
      may_spread && SplitsOf(weight).count > 1 && (few || plan.row_tiles * plan.channel_tiles < choice.spread_below);
  return plan;
}
int64_t PartialStride(const PackedWeight& weight) {  // of whole panels
  return Blocks(weight.out_features(), kernels::kPanelChannels) * int64_t{kernels::kPanelChannels};
}
int64_t PartialBytes(const PackedWeight& weight, int64_t rows) {
  return SplitsOf(weight).count * rows * PartialStride(weight) * int64_t{sizeof(float)};
}
int64_t MaxSpreadRows(const GemmTable& table, const PackedWeight& weight, int64_t max_rows) {
  if (SplitsOf(weight).count == 1) return 0;
  const TileKind kind = TileLayoutOf(weight).tiles.kind;
  const GemmChoice& choice = table.For(kind);
  const GemmKernel many = KernelsOf(kind).many;
  const int64_t row_tiles = std::max(0, choice.spread_below - 1) / Blocks(weight.out_features(), many.channels);
  return std::min(max_rows, std::max<int64_t>(choice.few_rows, row_tiles * many.rows));
}
// Whatever the table says.
int64_t CounterBytes(const PackedWeight& weight) {
  const GemmKernel few = KernelsOf(TileLayoutOf(weight).tiles.kind).few;
  const int64_t tiles = int64_t{Blocks(kMaxFewRows, few.rows)} * Blocks(weight.out_features(), few.channels);
  return std::max<int64_t>(kMaxSpreadBelow, tiles) * int64_t{sizeof(uint32_t)};
}

bool HaveSameLayouts(std::span<const PackedWeight> a, std::span<const PackedWeight> b) {
  return std::ranges::equal(a, b, [](const PackedWeight& one, const PackedWeight& other) {
    const TilePackedLayout &first = TileLayoutOf(one), &second = TileLayoutOf(other);
    return first.tiles == second.tiles && first.order_offset == second.order_offset &&
           one.out_features() == other.out_features();
  });
}

// Rows of x in int8, filled up to whole tiles, and their scales.
int64_t CodeRowBytes(const WeightTiles& tiles) { return int64_t{tiles.tiles} * kernels::cuda::kTileRowBytes; }
int64_t QuantizedBytes(const WeightTiles& tiles, int64_t rows) {
  if (tiles.kind != TileKind::kInt8Products) return 0;
  constexpr int64_t kAlignment = 64;  // of scratch
  return rows * (CodeRowBytes(tiles) + int64_t{sizeof(float)}) + 2 * kAlignment;
}

OutputType TypeOf(DType dtype) {
  if (dtype == DType::kF32) return OutputType::kFloat;
  return dtype == DType::kF16 ? OutputType::kHalf : OutputType::kBFloat16;
}

}  // namespace

Format CudaBackend::HeldFormat(const Format& source) const { return TileFormat(source, tile_options_); }

int64_t CudaBackend::PackedBytes(const Format& source, int64_t out_features, int64_t in_features) const {
  return TileBytes(source, tile_options_, out_features, in_features);
}

PackedWeight CudaBackend::Outline(const WeightSource& source) const {
  return PackedWeight(TileParts(source, tile_options_));
}

Result<PackedWeight> CudaBackend::Prepack(const WeightSource& source) {
  PackedWeight::Parts parts = TileParts(source, tile_options_);
  INGOT_ASSIGN_OR_RETURN(const Buffer tiles, Buffer::Allocate(parts.bytes));
  PackTiles(*host().pool, source, static_cast<const TilePackedLayout&>(*parts.layout), tiles.data());
  INGOT_ASSIGN_OR_RETURN(parts.data, driver_->Allocate(parts.bytes));
  driver_->Upload(parts.data.data(), tiles.data(), parts.bytes);
  PackedWeight weight(std::move(parts));
  if (CounterBytes(weight) > split_counters_.size()) {
    INGOT_ASSIGN_OR_RETURN(split_counters_, driver_->Allocate(CounterBytes(weight)));
  }
  return weight;
}

int64_t CudaBackend::LinearBytes(int64_t max_rows, std::span<const PackedWeight> parts) const {
  int64_t most = 0;
  for (const PackedWeight& part : parts) {
    const int64_t quantized = QuantizedBytes(TileLayoutOf(part).tiles, max_rows);
    most = std::max(most, PartialBytes(part, MaxSpreadRows(gemm_table_, part, max_rows)) + quantized);
  }
  return most;
}

void CudaBackend::Embed(const Context&, const Step& step, const PackedWeight& table, float scale, const TensorView& y) {
  Launch({.kernel = KernelId::embed, .grid = {Blocks(step.num_tokens)}},
         kernels::cuda::EmbedParams{.tiles = TileLayoutOf(table).tiles,
                                    .packed = table.data(),
                                    .ids = step.token_ids.Data<int32_t>(),
                                    .drawn = step.drawn_tokens.Data<int32_t>(),
                                    .scale = scale,
                                    .y = y.Data<float>()});
}

// Rows [first_row, params->rows) of x for products of int8, in scratch.
void CudaBackend::QuantizeRows(const Context& context, const TensorView& x, GemmParams* params) {
  const int64_t rows = params->rows - params->first_row, row_bytes = CodeRowBytes(params->tiles);
  int8_t* const codes = context.scratch->Take<int8_t>(rows * row_bytes);
  float* const scales = context.scratch->Take<float>(rows);
  Launch({.kernel = KernelId::quantize_rows, .grid = {Blocks(rows)}},
         kernels::cuda::QuantizeRowsParams{.x = x.Data<uint16_t>() + params->first_row * params->tiles.k,
                                           .y = codes,
                                           .scales = scales,
                                           .k = params->tiles.k,
                                           .y_stride = row_bytes,
                                           .x_is_bfloat16 = x.dtype == DType::kBF16});
  params->x = codes;
  params->row_scales = scales;
  params->x_row_bytes = row_bytes;
  params->x_in_pieces = true;
}

// Columns of y from `column` on: x times a matrix, or times those of up to kExpertsOfLaunch experts, whose layouts are
// the same.
struct CudaBackend::Product {
  const TensorView& x;
  const TensorView& y;
  int64_t column;
  std::span<const PackedWeight* const> weights;
  std::span<const float* const> biases;  // of the columns, or null
  const int32_t* expert_begin;           // [weights + 1] of the device, or null
  int64_t max_rows;                      // of a matrix
};

void CudaBackend::Multiply(const Context& context, const Product& product) {
  INGOT_CHECK(product.x.dtype == activation_dtype_);
  const PackedWeight& weight = *product.weights[0];
  const TilePackedLayout& layout = TileLayoutOf(weight);
  const GemmPlan plan = PlanOf(gemm_table_, weight, product.max_rows, product.expert_begin == nullptr);
  const Splits splits = SplitsOf(weight);
  const int64_t item = static_cast<int64_t>(SizeOf(product.y.dtype));
  GemmParams params{.tiles = layout.tiles,
                    .order_offset = layout.order_offset,
                    .x = product.x.data,
                    .x_row_bytes = layout.tiles.k * 2,
                    .y = product.y.Data<std::byte>() + product.column * item,
                    .y_stride = product.y.shape[1],
                    .rows = product.x.shape[0],
                    .out_features = weight.out_features(),
                    .expert_begin = product.expert_begin,
                    .partial_stride = PartialStride(weight),
                    .counters = reinterpret_cast<uint32_t*>(split_counters_.data()),
                    .split_tiles = splits.tiles,
                    .y_type = TypeOf(product.y.dtype),
                    .spread = plan.spread,
                    .x_in_pieces = layout.order_offset == 0 && layout.tiles.k % 8 == 0,
                    .y_in_pairs = product.y.shape[1] % 2 == 0 && product.column % 2 == 0};
  for (size_t i = 0; i < product.weights.size(); ++i) {
    params.packed[i] = product.weights[i]->data();
    params.bias[i] = product.biases[i];
  }
  const auto row_tiles = static_cast<uint32_t>(plan.row_tiles),
             channel_tiles = static_cast<uint32_t>(plan.channel_tiles);
  CudaLaunch launch{.kernel = Pick(plan.kernel.half, plan.kernel.bfloat16),
                    .grid = {row_tiles, channel_tiles, static_cast<uint32_t>(product.weights.size())}};
  if (layout.tiles.kind != TileKind::kInt8Products && !plan.spread) return Launch(launch, params);
  const Scratch::Mark mark(*context.scratch);
  if (plan.spread) {
    params.partial = context.scratch->Take<float>(PartialBytes(weight, params.rows) / int64_t{sizeof(float)});
    launch.grid.z = static_cast<uint32_t>(splits.count);
  }
  if (layout.tiles.kind != TileKind::kInt8Products) return Launch(launch, params);
  // An expert has max_rows at most, and scratch has room for as many: all rows of a mixture take several turns.
  const int64_t all_rows = params.rows;
  for (; params.first_row < all_rows; params.first_row = params.rows) {
    params.rows = std::min(params.first_row + product.max_rows, all_rows);
    const Scratch::Mark turn(*context.scratch);
    QuantizeRows(context, product.x, &params);
    Launch(launch, params);
  }
}

// Each part writes its own columns of y.
void CudaBackend::Linear(const Context& context, const TensorView& x, std::span<const PackedWeight> parts,
                         const TensorView& bias, const TensorView& y) {
  int64_t column = 0;
  for (const PackedWeight& part : parts) {
    const PackedWeight* const weight = &part;
    const float* const of_columns = bias.empty() ? nullptr : bias.Data<float>() + column;
    Multiply(context, {.x = x,
                       .y = y,
                       .column = column,
                       .weights = {&weight, 1},
                       .biases = {&of_columns, 1},
                       .expert_begin = nullptr,
                       .max_rows = x.shape[0]});
    column += part.out_features();
  }
}

// How many rows an expert has is known on the device alone; a token goes to an expert once at most. Experts whose
// layouts are the same are multiplied together.
void CudaBackend::ExpertLinear(const Context& context, const TensorView& x, const Routing& routing,
                               std::span<const FusedLinear> experts, const TensorView& y) {
  std::vector<const PackedWeight*> weights;
  std::vector<const float*> biases;
  for (size_t first = 0, end = 0; first < experts.size(); first = end) {
    while (end < experts.size() && end - first < kernels::cuda::kExpertsOfLaunch &&
           HaveSameLayouts(experts[first].parts, experts[end].parts)) {
      ++end;
    }
    int64_t column = 0;
    for (size_t part = 0; part < experts[first].parts.size(); ++part) {
      weights.clear(), biases.clear();
      for (const FusedLinear& expert : experts.subspan(first, end - first)) {
        weights.push_back(&expert.parts[part]);
        biases.push_back(expert.bias.empty() ? nullptr : expert.bias.Data<float>() + column);
      }
      Multiply(context, {.x = x,
                         .y = y,
                         .column = column,
                         .weights = weights,
                         .biases = biases,
                         .expert_begin = routing.expert_begin.Data<int32_t>() + first,
                         .max_rows = routing.ids.shape[0]});
      column += weights[0]->out_features();
    }
  }
}

}  // namespace ingot::ops
