#include "convert/output_plan.h"

#include <cmath>
#include <map>
#include <numeric>
namespace ingot::convert {
namespace {

using formats::OutputTensor;
using models::Role;
using models::RoleTensor;
using models::TensorName;

// Bytes of decoded rows that are in memory at a time.
constexpr int64_t kChunkFloats = 4 << 20;

PlannedTensor PlanNumbers(std::string name, Encoding encoding, std::vector<float> numbers) {
  const auto size = static_cast<int64_t>(numbers.size());
  return {{std::move(name), encoding, {size}}, nullptr, std::move(numbers), {}};
}

PlannedTensor PlanMatrix(std::string name, Encoding encoding, WeightSourcePtr matrix) {
  return {{std::move(name), encoding, {matrix->rows(), matrix->cols()}}, matrix, {}, {}};
}

// `order` has, for each row that Ingot works with, where it is stored: this has the row that is stored at i.
std::vector<int32_t> Inverse(const std::vector<int32_t>& order) {
  std::vector<int32_t> inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i) inverse[static_cast<size_t>(order[i])] = static_cast<int32_t>(i);
  return inverse;
}

class GgufPlanner {
 public:
  GgufPlanner(const models::ModelSpec& spec, const models::Family& family, Encoding encoding,
              std::vector<std::string>* notices)
      : spec_(spec), names_(GgufNames(family)), encoding_(encoding), notices_(notices) {}

  Result<Plan> Make(std::vector<RoleTensor> tensors) {
    for (RoleTensor& tensor : tensors) {
      const TensorName* name = names_.table->Find(tensor.role, tensor.expert >= 0);
      if (name == nullptr) return Unsupported("GGUF has no name for one of this model's tensors");
      INGOT_RETURN_IF_ERROR(tensor.expert >= 0 ? AddExpert(*name, tensor) : AddPlain(*name, std::move(tensor)));
    }
    return std::move(plan_);
  }

 private:
  // The encoding for rows of `cols`: quantized blocks take whole blocks only; the two tables that a 4-bit file's
  // quality hangs on stay in 8 bits.
  Encoding EncodingFor(Role role, int64_t cols, const std::string& name) {
    if (role == Role::kRouter) return Encoding::kF32;
    const bool is_four_bit = encoding_ == Encoding::kQ4_0 || encoding_ == Encoding::kQ4_1;
    const Encoding wanted = is_four_bit && !models::IsQuantized(role) ? Encoding::kQ8_0 : encoding_;
    if (cols % InfoOf(wanted).block_size == 0) return wanted;
    notices_->push_back(fmt::format("{} is stored in F16: its {} columns are no multiple of {}'s block of {}", name,
                                    cols, InfoOf(wanted).name, InfoOf(wanted).block_size));
    return Encoding::kF16;
  }

  Status AddPlain(const TensorName& row, RoleTensor tensor) {
    const std::string name = names_.NameOf(row, tensor.layer);
    if (const std::vector<int32_t> order = Inverse(names_.RowOrder(spec_, tensor.layer, tensor.role)); !order.empty()) {
      tensor.matrix = SelectRows(tensor.matrix, order);
      std::vector<float> ordered;
      if (!tensor.numbers.empty()) {
        for (const int32_t i : order) ordered.push_back(tensor.numbers[static_cast<size_t>(i)]);
      }
      tensor.numbers = std::move(ordered);
    }
    if (tensor.matrix != nullptr) {
      const Encoding encoding = EncodingFor(tensor.role, tensor.matrix->cols(), name);
      plan_.push_back(PlanMatrix(name + row.weight, encoding, std::move(tensor.matrix)));
    }
    if (!tensor.numbers.empty()) {
      const char* suffix = models::IsNorm(tensor.role) ? row.weight : row.bias;
      plan_.push_back(PlanNumbers(name + suffix, Encoding::kF32, std::move(tensor.numbers)));
    }
    return {};
  }

  Status AddExpert(const TensorName& row, const RoleTensor& tensor) {
    Stack& stack = stacks_[tensor.role];
    stack.matrices.push_back(tensor.matrix);
    stack.bias.insert(stack.bias.end(), tensor.numbers.begin(), tensor.numbers.end());
    if (tensor.expert + 1 < spec_.num_experts) return {};
    const std::string name = names_.NameOf(row, tensor.layer);
    const int64_t rows = tensor.matrix->rows(), cols = tensor.matrix->cols();
    Stack whole = std::exchange(stack, {});
    const WeightSourcePtr all = ConcatRows(std::move(whole.matrices));
    if (all == nullptr) return Unsupported("{}: its experts are stored in different formats", name);
    plan_.push_back(
        {{name + row.weight, EncodingFor(tensor.role, cols, name), {spec_.num_experts, rows, cols}}, all, {}, {}});
    if (whole.bias.empty()) return {};
    plan_.push_back({{name + row.bias, Encoding::kF32, {spec_.num_experts, rows}}, nullptr, std::move(whole.bias), {}});
    return {};
  }

  struct Stack {
    std::vector<WeightSourcePtr> matrices;
    std::vector<float> bias;  // [experts, rows], or empty
  };
  const models::ModelSpec& spec_;
  const models::CheckpointNames names_;
  const Encoding encoding_;
  std::vector<std::string>* notices_;
  std::map<Role, Stack> stacks_;
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

models::CheckpointNames HuggingFaceNames(const models::Family& family) {
  const models::NameTable* table = family.names.front();
  return {table, table->prefixes.front(), false};
}

models::CheckpointNames GgufNames(const models::Family& family) {
  return {&models::kGgufNames, models::kGgufNames.prefixes.front(), family.gguf_interleaved_rope};
}

Result<std::string> HuggingFaceName(const RoleTensor& tensor, const models::Family& family) {
  const models::CheckpointNames names = HuggingFaceNames(family);
  const TensorName* name = names.table->Find(tensor.role);
  if (name == nullptr)
    return Unsupported("the Hugging Face form of {} has no name for one of this model's tensors", family.name);
  return names.NameOf(*name, tensor.layer, tensor.expert);
}

Result<Plan> PlanHuggingFace(std::vector<RoleTensor> tensors, const models::Family& family, Encoding encoding) {
  Plan plan;
  for (RoleTensor& tensor : tensors) {
    INGOT_ASSIGN_OR_RETURN(const std::string name, HuggingFaceName(tensor, family));
    const bool is_norm = models::IsNorm(tensor.role);
    if (tensor.matrix != nullptr) plan.push_back(PlanMatrix(name + ".weight", encoding, std::move(tensor.matrix)));
    if (tensor.numbers.empty()) continue;
    if (is_norm && family.norm_plus_one) {
      for (float& weight : tensor.numbers) weight -= 1.0f;
    }
    plan.push_back(PlanNumbers(name + (is_norm ? ".weight" : ".bias"), encoding, std::move(tensor.numbers)));
  }
  return plan;
}

Result<Plan> PlanGguf(std::vector<RoleTensor> tensors, const models::ModelSpec& spec, const models::Family& family,
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
