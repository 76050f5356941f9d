#include "models/random_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/hash.h"
#include "models/families.h"
#include "models/weight_names.h"

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

class RandomCheckpoint : public formats::Checkpoint {
 public:
  RandomCheckpoint(const ModelSpec& spec, const Format& weights, std::string name)
      : spec_(spec), weights_(weights), path_(std::move(name)), names_(*FamilyNamed(spec.family).names.front()) {
    prefix_ = names_.prefixes.front();
    Matrix(prefix_.body + std::string(names_.embedding), {spec.vocab_size, spec.hidden_size}, kF16);
    for (int layer = 0; layer < spec.num_layers; ++layer) AddLayer(layer);
    Vector(prefix_.body + std::string(names_.final_norm) + ".weight", spec.hidden_size);
    if (!spec.tied_embeddings) {
      Matrix(prefix_.head + std::string(names_.lm_head), {spec.vocab_size, spec.hidden_size}, kF16);
    }
  }

  formats::CheckpointKind kind() const override { return formats::CheckpointKind::kHuggingFace; }
  const std::string& path() const override { return path_; }
  const boost::json::object& config() const override { return config_; }
  const boost::json::object& generation_config() const override { return config_; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  const std::string& chat_template() const override { return template_; }
  const std::vector<std::string>& files() const override { return files_; }
  int64_t weight_bytes() const override { return 0; }
  const formats::TensorEntry* Find(const std::string& name) const override {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second.entry;
  }
  std::vector<const formats::TensorEntry*> tensors() const override {
    std::vector<const formats::TensorEntry*> all;
    for (const auto& [name, tensor] : tensors_) all.push_back(&tensor.entry);
    return all;
  }
  Result<WeightSourcePtr> Weight(const std::string& name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return NotFound("{}: no tensor {}", path_, name);
    const std::vector<int64_t>& shape = found->second.entry.shape;
    return std::make_shared<RandomMatrix>(shape[0], shape[1], found->second.format, found->second.seed);
  }
  // Norms of one, biases of zero.
  Result<std::vector<float>> Floats(const std::string& name, int64_t expected) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return NotFound("{}: no tensor {}", path_, name);
    INGOT_CHECK(expected < 0 || expected == found->second.entry.shape[0]);
    const bool is_zero = name.ends_with(".bias") || spec_.norm_plus_one;
    return std::vector<float>(static_cast<size_t>(found->second.entry.shape[0]), is_zero ? 0.0f : 1.0f);
  }
  void DropPages(const formats::TensorEntry&) const override {}

 private:
  static constexpr Format kF16 = {.bits = 16, .dense = DType::kF16};
  struct Tensor {
    formats::TensorEntry entry;
    Format format;
    uint64_t seed;
  };
  struct Size {
    int64_t rows, cols;
  };

  void Add(const std::string& name, std::vector<int64_t> shape, const Format& format) {
    formats::TensorEntry entry{.name = name, .encoding = Encoding::kF16, .shape = std::move(shape)};
    tensors_[name] = {std::move(entry), format, MixBits(tensors_.size() + 1)};
  }
  void Vector(const std::string& name, int64_t size) { Add(name, {size}, Format::Dense(DType::kF32)); }
  void Matrix(const std::string& name, Size size, const Format& format) {
    Add(name + ".weight", {size.rows, size.cols}, format);
  }
  std::string Name(const char* pattern, int layer, int expert = -1) const {
    return prefix_.body + Numbered(pattern, layer, expert);
  }
  void Linear(const std::string& name, Size size, bool bias) {
    Matrix(name, size, weights_);
    if (bias) Vector(name + ".bias", size.rows);
  }

  void AddLayer(int layer) {
    const int64_t hidden = spec_.hidden_size, head_dim = spec_.head_dim;
    const int64_t q_rows = spec_.num_heads * head_dim, kv_rows = spec_.num_kv_heads * head_dim;
    const auto norm = [&](const char* pattern, int64_t size) { Vector(Name(pattern, layer) + ".weight", size); };
    norm(names_.attention_norm, hidden);
    norm(names_.mlp_norm, hidden);
    if (spec_.post_norms) norm(names_.post_attention_norm, hidden), norm(names_.post_mlp_norm, hidden);
    if (spec_.qk_norm) norm(names_.q_norm, head_dim), norm(names_.k_norm, head_dim);
    if (names_.qkv_grouped != nullptr) {
      Linear(Name(names_.qkv_grouped, layer), {q_rows + 2 * kv_rows, hidden}, spec_.qkv_bias);
    } else {
      Linear(Name(names_.q, layer), {q_rows, hidden}, spec_.qkv_bias);
      Linear(Name(names_.k, layer), {kv_rows, hidden}, spec_.qkv_bias);
      Linear(Name(names_.v, layer), {kv_rows, hidden}, spec_.qkv_bias);
    }
    Linear(Name(names_.o, layer), {hidden, q_rows}, spec_.o_bias);
    spec_.layers[static_cast<size_t>(layer)].moe ? AddExperts(layer) : AddMlp(layer);
  }
  void AddMlp(int layer) {
    const int64_t hidden = spec_.hidden_size, inner = spec_.intermediate_size;
    Linear(Name(names_.gate, layer), {inner, hidden}, spec_.mlp_bias);
    Linear(Name(names_.up, layer), {inner, hidden}, spec_.mlp_bias);
    Linear(Name(names_.down, layer), {hidden, inner}, spec_.mlp_bias);
  }
  void AddExperts(int layer) {
    const int64_t hidden = spec_.hidden_size, inner = spec_.moe_intermediate_size;
    Matrix(Name(names_.router, layer), {spec_.num_experts, hidden}, kF16);
    for (int expert = 0; expert < spec_.num_experts; ++expert) {
      Linear(Name(names_.expert_gate, layer, expert), {inner, hidden}, false);
      Linear(Name(names_.expert_up, layer, expert), {inner, hidden}, false);
      Linear(Name(names_.expert_down, layer, expert), {hidden, inner}, false);
    }
  }

  const ModelSpec spec_;
  const Format weights_;
  const std::string path_, template_;
  const NameTable& names_;
  NameTable::Prefix prefix_{};
  const boost::json::object config_;
  const Vocabulary vocabulary_;
  const std::vector<std::string> files_ = {"random"};
  std::map<std::string, Tensor> tensors_;
};

}  // namespace

std::shared_ptr<const formats::Checkpoint> MakeRandomCheckpoint(const ModelSpec& spec, const Format& weights,
                                                                const std::string& name) {
  return std::make_shared<RandomCheckpoint>(spec, weights, name);
}

}  // namespace ingot::models
