#include "models/random_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/hash.h"
#include "formats/checkpoint_in_memory.h"
#include "models/roles.h"

namespace ingot::models {
namespace {

// Rows of numbers with mean 0 and standard deviation 1 / sqrt(cols).
class RandomMatrix : public WeightSource {
 public:
  RandomMatrix(int64_t rows, int64_t cols, const Format& format, uint64_t seed)
      : rows_(rows), cols_(cols), format_(format), seed_(seed) {}

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  Format format() const override { return format_; }

  void Read(int64_t row, int64_t count, WeightRows* out) const override {
    INGOT_CHECK(row >= 0 && count >= 0 && row <= rows_ - count);
    out->format = format_;
    out->rows = count;
    out->cols = cols_;
    SizeToFormat(out);
    format_.quantized() ? ReadCodes(row, out) : ReadNumbers(row, out);
  }

 private:
  // Bytes of row `row`, uniform: fill(column, byte).
  template <typename Fill>
  void FillRow(int64_t row, const Fill& fill) const {
    uint64_t state = MixBits(seed_ ^ static_cast<uint64_t>(row) * kMixStep);
    for (int64_t k = 0; k < cols_; k += 8) {
      state += kMixStep;
      const uint64_t bits = MixBits(state);
      for (int64_t i = 0; i < std::min<int64_t>(8, cols_ - k); ++i) fill(k + i, static_cast<uint8_t>(bits >> (8 * i)));
    }
  }
  // The step between codes of `bits` bits, whose standard deviation is 2^bits / sqrt(12).
  float Step(int bits) const {
    return static_cast<float>(std::sqrt(12.0 / static_cast<double>(cols_)) / static_cast<double>(1 << bits));
  }

  void ReadNumbers(int64_t row, WeightRows* out) const {
    const float step = Step(8);
    for (int64_t r = 0; r < out->rows; ++r) {
      float* to = out->dense.data() + r * cols_;
      FillRow(row + r, [&](int64_t k, uint8_t byte) { to[k] = (static_cast<float>(byte) - 127.5f) * step; });
    }
  }
  void ReadCodes(int64_t row, WeightRows* out) const {
    INGOT_CHECK(format_.zero != Format::Zero::kMin && format_.scale != Format::Scale::kSuper);
    const int shift = 8 - format_.bits;
    std::ranges::fill(out->scale, Step(format_.bits));
    std::ranges::fill(out->zero, static_cast<float>(1 << (format_.bits - 1)));
    for (int64_t r = 0; r < out->rows; ++r) {
      uint8_t* to = out->codes.data() + r * cols_;
      FillRow(row + r, [&](int64_t k, uint8_t byte) { to[k] = static_cast<uint8_t>(byte >> shift); });
    }
  }

  const int64_t rows_, cols_;
  const Format format_;
  const uint64_t seed_;
};

class RandomCheckpoint : public formats::CheckpointInMemory {
 public:
  RandomCheckpoint(const ModelSpec& spec, const Format& weights, std::string name)
      : CheckpointInMemory(std::move(name)), norm_(spec.norm_plus_one ? 0.0f : 1.0f) {
    const NameTable& table = *FamilyNamed(spec.family).names.front();
    const CheckpointNames names = {&table, table.prefixes.front(), false};
    for (int layer = -1; layer < spec.num_layers; ++layer) {
      const std::vector<RoleSize> sizes = RolesOf(spec, layer);
      for (const RoleSize& size : sizes) {
        const bool of_expert = size.role >= Role::kExpertGate;
        for (int expert = of_expert ? 0 : -1; expert < (of_expert ? spec.num_experts : 0); ++expert) {
          AddRole(names, sizes, size, {size.role, layer, expert}, weights);
        }
      }
    }
  }

  Result<WeightSourcePtr> Weight(const std::string& name) const override {
    const formats::TensorEntry* entry = Find(name);
    if (entry == nullptr) return NotFound("{}: no tensor {}", path(), name);
    const Numbers& numbers = numbers_.at(name);
    return std::make_shared<RandomMatrix>(entry->shape[0], entry->shape[1], numbers.format, numbers.seed);
  }
  // Norms of one, biases of zero.
  Result<std::vector<float>> Floats(const std::string& name, int64_t expected) const override {
    const formats::TensorEntry* entry = Find(name);
    if (entry == nullptr) return NotFound("{}: no tensor {}", path(), name);
    INGOT_CHECK(expected < 0 || expected == entry->shape[0]);
    return std::vector<float>(static_cast<size_t>(entry->shape[0]), name.ends_with("bias") ? 0.0f : norm_);
  }

 private:
  static constexpr Format kF16 = {.bits = 16, .dense = DType::kF16};
  struct Numbers {
    Format format;
    uint64_t seed;
  };

  void Add(const std::string& name, std::vector<int64_t> shape, const Format& format) {
    entries_[name] = {.name = name, .encoding = Encoding::kF16, .shape = std::move(shape)};
    numbers_[name] = {format, MixBits(numbers_.size() + 1)};
  }
  // sizes: of the layer
  void AddRole(const CheckpointNames& names, const std::vector<RoleSize>& sizes, const RoleSize& size,
               const RoleTensor& place, const Format& weights) {
    const TensorName* name = names.table->Find(size.role);
    int64_t rows = size.rows;
    if (name == nullptr) {  // the first of several in one tensor
      name = &*std::ranges::find_if(names.table->tensors, [&](const TensorName& whole) {
        const std::vector<Role> parts = PartsOf(whole.role);
        return std::ranges::find(parts, size.role) != parts.end();
      });
      const std::vector<Role> parts = PartsOf(name->role);
      if (parts.front() != size.role) return;
      rows = 0;
      for (const RoleSize& part : sizes) rows += std::ranges::count(parts, part.role) * part.rows;
    }
    const std::string full = names.NameOf(*name, place.layer, place.expert);
    if (IsNorm(size.role)) return Add(full + name->weight, {rows}, Format::Dense(DType::kF32));
    Add(full + name->weight, {rows, size.cols}, IsQuantized(size.role) ? weights : kF16);
    if (size.bias) Add(full + name->bias, {rows}, Format::Dense(DType::kF32));
  }

  const float norm_;                        // of one, or what is stored of it
  std::map<std::string, Numbers> numbers_;  // of the entries
};

}  // namespace

std::shared_ptr<const formats::Checkpoint> MakeRandomCheckpoint(const ModelSpec& spec, const Format& weights,
                                                                const std::string& name) {
  return std::make_shared<RandomCheckpoint>(spec, weights, name);
}

}  // namespace ingot::models
