// From names and shapes in a checkpoint to packed weights.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "formats/checkpoint.h"
#include "models/families.h"
#include "models/model.h"
#include "models/weights.h"

namespace ingot::models {

// Finds every tensor that the spec asks for, under the names of one table, and checks its shape; norms and biases are
// read, matrices become sources. Only then are they packed, one after another, so that a checkpoint that does not fit
// is refused before time and memory are spent.
// Thread safety: one thread.
class Binder {
 public:
  Binder(const formats::Checkpoint& checkpoint, const ModelSpec& spec, const Family& family)
      : checkpoint_(checkpoint), spec_(spec), family_(family) {}

  // `weights` must stay where it is until Pack is done.
  Status Bind(Weights* weights);
  // Packs what Bind found; appends what became of it to `infos`.
  Status Pack(const ops::Context& context, const LoadOptions& options, std::vector<WeightInfo>* infos);

 private:
  struct Job {
    std::string name;
    WeightSourcePtr source;
    ops::PackedWeight* target;
    int64_t stored_bytes;
  };
  struct Matrix {  // a tensor, or part of one
    std::string name;
    WeightSourcePtr source;
    int64_t bytes = 0;
  };
  // A matrix of the model: its name in this checkpoint without ".weight", and its shape.
  struct Wanted {
    std::string name;
    int64_t rows, cols;
  };

  Status BindLayer(int layer, LayerWeights* weights);
  Status BindNorms(int layer, LayerWeights* weights);
  Status BindQkv(int layer, LayerWeights* weights);
  Status BindMlp(int layer, LayerWeights* weights);
  Status BindMixture(int layer, LayerWeights* weights);
  Status BindExperts(int layer, LayerWeights* weights);         // a matrix per expert
  Status BindStackedExperts(int layer, LayerWeights* weights);  // all experts in one tensor
  bool IsZeroBias(const formats::TensorEntry& entry) const;
  Status CheckNothingIsLeft() const;

  std::string Name(const char* pattern, int64_t layer = 0, int64_t expert = -1) const;
  bool Has(const char* pattern, int64_t layer = 0, int64_t expert = -1) const;
  Result<Matrix> Find(const Wanted& wanted);
  Result<Matrix> FindStack(const std::string& name, int64_t rows, int64_t cols);
  Result<std::vector<float>> Numbers(const std::string& name, int64_t size);
  Result<std::vector<float>> Norm(const char* pattern, int64_t layer, int64_t size);
  // One matrix where the formats of the parts agree, else one each.
  void Fuse(const std::string& label, std::vector<Matrix> parts, FusedLinear* linear);
  Status BindLinear(const Wanted& wanted, bool bias, FusedLinear* linear);

  const formats::Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  const Family& family_;
  const NameTable* names_ = nullptr;
  NameTable::Prefix prefix_ = {"", ""};
  bool interleaved_ = false;  // rows of Q and K come as GGUF has them
  std::unordered_set<std::string> used_;
  std::vector<Job> jobs_;
};

}  // namespace ingot::models
