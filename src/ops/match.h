// Shapes of an op's operands, matched by the names of their dimensions: the first operand that has a dimension sets it,
// the others must agree. A mismatch is a bug of the caller (INGOT_CHECK).
#pragma once

#include <initializer_list>

#include "base/check.h"
#include "ops/backend.h"

namespace ingot::ops {

class Dim {
 public:
  Dim() = default;
  Dim(int64_t value) : value_(value) {}  // NOLINT: a fixed size stands where a dimension does
  void Match(int64_t value) {
    if (value_ < 0) value_ = value;
    INGOT_CHECK(value == value_);
  }
  int64_t operator*() const { return value_; }

 private:
  int64_t value_ = -1;
};

class Matcher {
 public:
  explicit Matcher(const Context& context) : backend_(*context.backend) {}

  void operator()(const TensorView& x, DType dtype, std::initializer_list<Dim*> dims) const {
    INGOT_CHECK(x.dtype == dtype);
    Shape(x, dims);
  }
  // Of the activation dtype, or f32, which residuals and logits have.
  void Activations(const TensorView& x, std::initializer_list<Dim*> dims) const {
    INGOT_CHECK(x.dtype == backend_.activation_dtype() || x.dtype == DType::kF32);
    Shape(x, dims);
  }

 private:
  void Shape(const TensorView& x, std::initializer_list<Dim*> dims) const {
    INGOT_CHECK(x.device == backend_.device() && x.shape.rank() == static_cast<int>(dims.size()));
    int i = 0;
    for (Dim* dim : dims) dim->Match(x.shape[i++]);
  }
  const Backend& backend_;
};

}  // namespace ingot::ops
