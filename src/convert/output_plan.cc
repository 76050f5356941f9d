#include "convert/output_plan.h"

#include <cmath>
#include <map>
#include <numeric>

#include "models/row_order.h"

namespace ingot::convert {
namespace {

using formats::OutputTensor;
using models::Numbered;

// Bytes of decoded rows that are in hand at a time.
constexpr int64_t kChunkFloats = 4 << 20;

bool IsStackedSlot(Slot slot) {
  return slot == Slot::kExpertGate || slot == Slot::kExpertUp || slot == Slot::kExpertDown;
}

PlannedTensor PlanNumbers(std::string name, Encoding encoding, std::vector<float> numbers) {
  const auto size = static_cast<int64_t>(numbers.size());
  return {{std::move(name), encoding, {size}}, nullptr, std::move(numbers), {}};
}

PlannedTensor PlanMatrix(std::string name, Encoding encoding, WeightSourcePtr matrix) {
  return {{std::move(name), encoding, {matrix->rows(), matrix->cols()}}, matrix, {}, {}};
}

// Row i of the result is the row that stands at i in a stored Q or K of GGUF's Llama: the inverse of SplitHalvesRows.
std::vector<int32_t> InterleavedRows(int64_t rows, const models::ModelSpec& spec) {
  const std::vector<int32_t> split =
      models::SplitHalvesRows(static_cast<int>(rows / spec.head_dim), spec.head_dim, spec.rotary_dim);
  std::vector<int32_t> order(split.size());
  for (size_t i = 0; i < split.size(); ++i) order[static_cast<size_t>(split[i])] = static_cast<int32_t>(i);
  return order;
}

const char* StackedPattern(Slot slot) {
  const models::NameTable& names = models::kGgufNames;
  if (slot == Slot::kExpertGate) return names.experts_gate;
  return slot == Slot::kExpertUp ? names.experts_up : names.experts_down;
}

class GgufPlanner {
 public:
  GgufPlanner(const models::ModelSpec& spec, const models::Family& family, Encoding encoding,
              std::vector<std::string>* notices)
      : spec_(spec), family_(family), encoding_(encoding), notices_(notices) {}

  Result<Plan> Make(std::vector<CanonicalTensor> tensors) {
    for (CanonicalTensor& tensor : tensors) {
      INGOT_RETURN_IF_ERROR(IsStackedSlot(tensor.slot) ? AddExpert(tensor) : AddPlain(std::move(tensor)));
    }
    return std::move(plan_);
  }

 private:
  // The encoding for rows of `cols`: quantized blocks take whole blocks only; the two tables that a 4-bit file's
  // quality hangs on stay in 8 bits.
  Encoding EncodingFor(Slot slot, int64_t cols, const std::string& name) {
    if (slot == Slot::kRouter) return Encoding::kF32;
    const bool is_four_bit = encoding_ == Encoding::kQ4_0 || encoding_ == Encoding::kQ4_1;
    const Encoding wanted =
        is_four_bit && (slot == Slot::kEmbedding || slot == Slot::kLmHead) ? Encoding::kQ8_0 : encoding_;
    if (cols % InfoOf(wanted).block_size == 0) return wanted;
    notices_->push_back(fmt::format("{} is stored in F16: its {} columns are no multiple of {}'s block of {}", name,
                                    cols, InfoOf(wanted).name, InfoOf(wanted).block_size));
    return Encoding::kF16;
  }

  Status AddPlain(CanonicalTensor tensor) {
    const char* pattern = PatternOf(models::kGgufNames, tensor.slot);
    if (pattern == nullptr) return Unsupported("GGUF has no name for one of this model's tensors");
    const bool interleaved = family_.gguf_interleaved_rope && (tensor.slot == Slot::kQ || tensor.slot == Slot::kK);
    const std::string name = Numbered(pattern, tensor.layer);
    if (tensor.matrix != nullptr) {
      if (interleaved) tensor.matrix = SelectRows(tensor.matrix, InterleavedRows(tensor.matrix->rows(), spec_));
      plan_.push_back(PlanMatrix(name + ".weight", EncodingFor(tensor.slot, tensor.matrix->cols(), name),
                                 std::move(tensor.matrix)));
      return {};
    }
    std::vector<float> numbers = std::move(tensor.numbers);
    if (interleaved) {
      std::vector<float> ordered;
      for (const int32_t i : InterleavedRows(static_cast<int64_t>(numbers.size()), spec_))
        ordered.push_back(numbers[static_cast<size_t>(i)]);
      numbers = std::move(ordered);
    }
    plan_.push_back(
        PlanNumbers(name + (IsNormSlot(tensor.slot) ? ".weight" : ".bias"), Encoding::kF32, std::move(numbers)));
    return {};
  }

  Status AddExpert(const CanonicalTensor& tensor) {
    std::vector<WeightSourcePtr>& stack = stacks_[tensor.slot];
    stack.push_back(tensor.matrix);
    if (tensor.expert + 1 < spec_.num_experts) return {};
    const std::string name = Numbered(StackedPattern(tensor.slot), tensor.layer);
    const int64_t rows = tensor.matrix->rows(), cols = tensor.matrix->cols();
    const WeightSourcePtr all = ConcatRows(std::exchange(stack, {}));
    if (all == nullptr) return Unsupported("{}: its experts are stored in different formats", name);
    plan_.push_back(
        {{name + ".weight", EncodingFor(tensor.slot, cols, name), {spec_.num_experts, rows, cols}}, all, {}, {}});
    return {};
  }

  const models::ModelSpec& spec_;
  const models::Family& family_;
  const Encoding encoding_;
  std::vector<std::string>* notices_;
  std::map<Slot, std::vector<WeightSourcePtr>> stacks_;
  Plan plan_;
};

// Rather than infinities that no later tool explains.
Status CheckRange(const OutputTensor& tensor, std::span<const float> values) {
  if (tensor.encoding != Encoding::kF16) return {};
  for (const float value : values) {
    if (std::isfinite(value) && std::abs(value) >= 65520.0f)
      return InvalidArgument("{} holds {}, and F16 ends at 65504; choose BF16 or F32", tensor.name, value);
  }
  return {};
}

Status EncodeRows(const PlannedTensor& tensor, int64_t row, int64_t count, std::vector<std::byte>* out) {
  const WeightSource& source = *tensor.matrix;
  const auto cols = static_cast<size_t>(source.cols());
  if (HoldsCodes(tensor.out.encoding, source.format()) && !source.input_order()) {
    WeightRows rows;
    source.Read(row, count, &rows);
    EncodeCodes(tensor.out.encoding, rows, out);
    return {};
  }
  std::vector<float> values(static_cast<size_t>(count) * cols);
  ReadDense(source, row, count, values.data());
  INGOT_RETURN_IF_ERROR(CheckRange(tensor.out, values));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    INGOT_RETURN_IF_ERROR(EncodeRow(tensor.out.encoding, std::span(values).subspan(i * cols, cols), out));
  }
  return {};
}

// One matrix, a part per thread at a time.
Status StreamMatrix(const PlannedTensor& tensor, ThreadPool& pool,
                    const std::function<Status(std::span<const std::byte>)>& write) {
  const WeightSource& source = *tensor.matrix;
  const int64_t part = std::max<int64_t>(1, kChunkFloats / std::max<int64_t>(1, source.cols()) / pool.num_threads());
  std::vector<std::vector<std::byte>> encoded(static_cast<size_t>(pool.num_threads()));
  std::vector<Status> statuses(encoded.size());
  for (int64_t row = 0; row < source.rows(); row += part * pool.num_threads()) {
    pool.ParallelFor(pool.num_threads(), [&](int64_t i) {
      const int64_t begin = std::min(source.rows(), row + i * part), end = std::min(source.rows(), begin + part);
      encoded[static_cast<size_t>(i)].clear();
      if (begin < end)
        statuses[static_cast<size_t>(i)] = EncodeRows(tensor, begin, end - begin, &encoded[static_cast<size_t>(i)]);
    });
    for (size_t i = 0; i < encoded.size(); ++i) {
      INGOT_RETURN_IF_ERROR(statuses[i]);
      INGOT_RETURN_IF_ERROR(write(encoded[i]));
    }
  }
  source.Drop();
  return {};
}

}  // namespace

Result<std::string> HuggingFaceName(const CanonicalTensor& tensor, const models::Family& family) {
  const models::NameTable& names = *family.names.front();
  const models::NameTable::Prefix& prefix = names.prefixes.front();
  const char* pattern = PatternOf(names, tensor.slot);
  if (pattern == nullptr)
    return Unsupported("the Hugging Face form of {} has no name for one of this model's tensors", family.name);
  return (tensor.slot == Slot::kLmHead ? prefix.head : prefix.body) + Numbered(pattern, tensor.layer, tensor.expert);
}

Result<Plan> PlanHuggingFace(std::vector<CanonicalTensor> tensors, const models::Family& family, Encoding encoding) {
  const bool minus_one = family.norm_plus_one;
  Plan plan;
  for (CanonicalTensor& tensor : tensors) {
    INGOT_ASSIGN_OR_RETURN(const std::string name, HuggingFaceName(tensor, family));
    if (tensor.matrix != nullptr) {
      plan.push_back(PlanMatrix(name + ".weight", encoding, std::move(tensor.matrix)));
      continue;
    }
    const bool is_norm = IsNormSlot(tensor.slot);
    if (is_norm && minus_one) {
      for (float& weight : tensor.numbers) weight -= 1.0f;
    }
    plan.push_back(PlanNumbers(name + (is_norm ? ".weight" : ".bias"), encoding, std::move(tensor.numbers)));
  }
  return plan;
}

Result<Plan> PlanGguf(std::vector<CanonicalTensor> tensors, const models::ModelSpec& spec, const models::Family& family,
                      Encoding encoding, std::vector<std::string>* notices) {
  return GgufPlanner(spec, family, encoding, notices).Make(std::move(tensors));
}

std::vector<OutputTensor> OutputsOf(const Plan& plan) {
  std::vector<OutputTensor> outputs;
  for (const PlannedTensor& tensor : plan) outputs.push_back(tensor.out);
  return outputs;
}

Status StreamPlan(const Plan& plan, ThreadPool& pool, const std::function<Status(std::span<const std::byte>)>& write,
                  const std::function<void(int64_t done, int64_t total)>& progress) {
  int64_t total = 0, done = 0;
  for (const PlannedTensor& tensor : plan) {
    INGOT_ASSIGN_OR_RETURN(const int64_t bytes, formats::BytesOf(tensor.out));
    total += bytes;
  }
  for (const PlannedTensor& tensor : plan) {
    if (progress) progress(done, total);
    if (tensor.matrix != nullptr) {
      INGOT_RETURN_IF_ERROR(StreamMatrix(tensor, pool, write));
    } else if (tensor.raw.owner != nullptr) {
      INGOT_RETURN_IF_ERROR(write(tensor.raw.bytes));
      if (tensor.raw.drop) tensor.raw.drop();
    } else {
      INGOT_RETURN_IF_ERROR(CheckRange(tensor.out, tensor.numbers));
      std::vector<std::byte> bytes;
      INGOT_RETURN_IF_ERROR(EncodeRow(tensor.out.encoding, tensor.numbers, &bytes));
      INGOT_RETURN_IF_ERROR(write(bytes));
    }
    INGOT_ASSIGN_OR_RETURN(const int64_t bytes, formats::BytesOf(tensor.out));
    done += bytes;
  }
  if (progress) progress(total, total);
  return {};
}

}  // namespace ingot::convert
