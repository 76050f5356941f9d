#include "lite/quantize_layer.h"

#include <cmath>
#include <limits>

#include "lite/matrices.h"
#include "quant/gptq.h"
#include "quant/output_error.h"
#include "quant/round_to_nearest.h"

namespace ingot::lite {
namespace {

// Rows of all experts' matrices that a search of scales looks at.
constexpr int64_t kSearchedRows = 4096;

const Observed* Find(const LayerStats& stats, const Group& group) {
  const auto found = stats.find({group.input, group.expert});
  return found == stats.end() || found->second.stats.tokens < kFewestTokens ? nullptr : &found->second;
}

std::vector<size_t> QuantizedOf(const Layer& layer, const Group& group) {
  std::vector<size_t> members;
  for (const size_t i : group.matrices) {
    if (models::IsQuantized(layer.tensors()[i].role)) members.push_back(i);
  }
  return members;
}

// Evenly spaced rows of a matrix: [count, cols].
std::vector<float> ReadSome(const WeightSource& source, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count * source.cols()));
  for (int64_t i = 0; i < count; ++i) {
    ReadDense(source, i * source.rows() / count, 1, values.data() + i * source.cols());
  }
  source.Drop();
  return values;
}

ScaleExponent MergeScale(const ops::Host& host, const Recipe& recipe, const Group& group, Layer* layer,
                         Observed* observed) {
  const std::vector<size_t> members = QuantizedOf(*layer, group);
  std::vector<std::vector<float>> dense;
  std::vector<quant::LinearWeight> linears;
  const int64_t most = std::max<int64_t>(1, kSearchedRows / std::ssize(members));
  for (const size_t i : members) {
    const WeightSource& source = *layer->tensors()[i].matrix;
    const bool is_sampled = layer->tensors()[i].expert >= 0 && source.rows() > most;
    dense.push_back(is_sampled ? ReadSome(source, most) : ReadAll(source, *host.pool));
    linears.push_back({dense.back().data(), is_sampled ? most : source.rows()});
  }
  const quant::InputScale found =
      recipe.scales == Scales::kAwq
          ? quant::SearchScale(host, linears, observed->stats, recipe.format, group.pools)
          : quant::SearchSmoothing(host, linears, observed->stats, observed->sample, group.pools);
  if (found.exponent != 0) {
    layer->Merge(group, found.scale);
    quant::DivideInputs(found.scale, &observed->stats);
  }
  const models::RoleTensor& first = layer->tensors()[members.front()];
  return {first.role, first.expert, found.exponent};
}

// Matrices that are rounded together: one below the other, as they share their input.
struct Stack {
  std::vector<float> w;  // [rows, channels]
  int64_t rows = 0, channels = 0;
};

Stack ReadStack(const Layer& layer, std::span<const size_t> members, ThreadPool& pool) {
  Stack stack;
  for (const size_t i : members) {
    const WeightSource& source = *layer.tensors()[i].matrix;
    stack.channels = source.cols();
    stack.rows += source.rows();
  }
  stack.w.reserve(static_cast<size_t>(stack.rows * stack.channels));
  for (const size_t i : members) {
    const std::vector<float> part = ReadAll(*layer.tensors()[i].matrix, pool);
    stack.w.insert(stack.w.end(), part.begin(), part.end());
  }
  return stack;
}

Result<quant::GptqWeight> Round(const ops::Host& host, const Recipe& recipe, const Stack& stack,
                                const quant::InputStats* stats) {
  const quant::LinearWeight linear{stack.w.data(), stack.rows};
  quant::GptqWeight out;
  if (stats == nullptr || recipe.rounding == Rounding::kNearest) {
    quant::RoundToNearest(stack.w.data(), stack.rows, stack.channels, recipe.format, &out.rows);
    return out;
  }
  if (recipe.rounding == Rounding::kGptq)
    return quant::Gptq(host, linear, *stats, recipe.format, {.act_order = recipe.act_order});
  quant::RoundClipped(host, linear, *stats, recipe.format, &out.rows);
  if (recipe.rounding == Rounding::kClipped) return out;
  return quant::Gptq(host, linear, *stats, recipe.format, {.act_order = true, .grids = &out.rows});
}

// Rounds some matrices of one input.
class StackQuantizer {
 public:
  StackQuantizer(const ops::Host& host, const Recipe& recipe, const Layer& layer)
      : host_(host), recipe_(recipe), layer_(layer) {}

  Status Run(std::span<const size_t> members, const quant::InputStats* stats, QuantizedLayer* out) {
    Stack stack = ReadStack(layer_, members, *host_.pool);
    INGOT_RETURN_IF_ERROR(quant::CheckScheme(recipe_.format, stack.channels));
    INGOT_RETURN_IF_ERROR(quant::CheckWeights(stack.w.data(), std::ssize(stack.w)));
    INGOT_ASSIGN_OR_RETURN(quant::GptqWeight rounded, Round(host_, recipe_, stack, stats));
    const auto order = rounded.order.empty() ? nullptr : std::make_shared<const InputOrder>(std::move(rounded.order));
    const WeightSourcePtr codes = CodesMatrix(std::move(rounded.rows), order);
    int64_t begin = 0;
    for (const size_t i : members) {
      const int64_t rows = layer_.tensors()[i].matrix->rows();
      const WeightSourcePtr part = SliceRows(codes, begin, rows);
      out->errors.push_back(
          {layer_.tensors()[i].role, layer_.tensors()[i].expert, RelativeError(&stack, *part, begin, stats)});
      part->Read(0, rows, &out->weights[i].rows);
      out->weights[i].order = order;
      begin += rows;
    }
    return {};
  }

 private:
  // Of the rows of `stack` from `begin` on, which are used up.   codes: what became of them
  double RelativeError(Stack* stack, const WeightSource& codes, int64_t begin, const quant::InputStats* stats) const {
    if (stats == nullptr) return std::numeric_limits<double>::quiet_NaN();
    const int64_t rows = codes.rows(), cols = codes.cols();
    float* const w = stack->w.data() + begin * cols;
    const double whole = quant::OutputError(host_, w, rows, *stats);
    host_.pool->ParallelFor(rows, [&](int64_t row) {
      std::vector<float> values(static_cast<size_t>(cols));
      ReadDense(codes, row, 1, values.data());
      for (int64_t c = 0; c < cols; ++c) w[row * cols + c] -= values[static_cast<size_t>(c)];
    });
    return whole > 0 ? std::sqrt(quant::OutputError(host_, w, rows, *stats) / whole) : 0;
  }

  const ops::Host& host_;
  const Recipe& recipe_;
  const Layer& layer_;
};

}  // namespace

Result<QuantizedLayer> QuantizeLayer(const ops::Host& host, const Recipe& recipe, Layer* layer, LayerStats* stats) {
  for (const auto& [key, observed] : *stats) {
    if (observed.stats.tokens > 0) INGOT_RETURN_IF_ERROR(quant::CheckStats(observed.stats));
  }
  QuantizedLayer out;
  if (recipe.scales != Scales::kNone) {
    // From the end: what a scale does to the rows of the matrix before is known when that one's turn comes.
    for (auto group = layer->groups().rbegin(); group != layer->groups().rend(); ++group) {
      if (!group->can_merge() || Find(*stats, *group) == nullptr) continue;
      Observed& observed = stats->at({group->input, group->expert});
      out.exponents.push_back(MergeScale(host, recipe, *group, layer, &observed));
    }
  }
  StackQuantizer quantizer(host, recipe, *layer);
  for (const Group& group : layer->groups()) {
    const std::vector<size_t> members = QuantizedOf(*layer, group);
    const Observed* observed = Find(*stats, group);
    const quant::InputStats* input = observed ? &observed->stats : nullptr;
    // All at once, except experts: together they are too many.
    const size_t step = group.input == models::LinearInput::kRouter ? 1 : members.size();
    for (size_t begin = 0; begin < members.size(); begin += step) {
      INGOT_RETURN_IF_ERROR(quantizer.Run(std::span(members).subspan(begin, step), input, &out));
    }
  }
  return out;
}

}  // namespace ingot::lite
