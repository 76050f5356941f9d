// Where the rows of a weight matrix come from. Rows are outputs, columns are inputs: y[n] = Σ_k W[n][k] · x[k].
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/encoding.h"

namespace ingot {

// Column j of the stored matrix multiplies input order[j]: what GPTQ's act-order leaves, so that a group's columns lie
// together. A permutation of [0, cols).
using InputOrder = std::vector<int32_t>;

// Read-only view of a matrix in a checkpoint. Its sizes were checked when it was made, so reading cannot fail.
// Thread safety: Read from any thread at once, each with its own `out`.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual int64_t rows() const = 0;
  virtual int64_t cols() const = 0;
  virtual Format format() const = 0;
  virtual std::shared_ptr<const InputOrder> input_order() const { return nullptr; }  // null: as they come
  virtual void Read(int64_t row, int64_t count, WeightRows* out) const = 0;
  // The rows will not be read again: lets go of the pages they came from.
  virtual void Drop() const {}
};

using WeightSourcePtr = std::shared_ptr<const WeightSource>;

// The weights of some rows as numbers, columns in the order of the inputs: [count, cols].
void ReadDense(const WeightSource& source, int64_t row, int64_t count, float* out);

// Row i of the result is row index[i] of `source`: un-permuting rotary rows, taking Q, K, V out of a fused matrix.
WeightSourcePtr SelectRows(WeightSourcePtr source, std::vector<int32_t> index);
// [begin, begin + count) of `source`.
WeightSourcePtr SliceRows(WeightSourcePtr source, int64_t begin, int64_t count);
// Inputs [begin, begin + count) of `source`. Groups of columns that share a scale stay whole: kInvalidArgument names
// the borders of a cut that would divide one. Where the columns are stored in another order, the groups of these inputs
// must have no others (kUnsupported).
Result<WeightSourcePtr> SliceCols(WeightSourcePtr source, int64_t begin, int64_t count);
// The parts one below the other; same cols, format and order of inputs. Empty pointer when those differ.
WeightSourcePtr ConcatRows(std::vector<WeightSourcePtr> parts);

}  // namespace ingot
