#pragma once

#include <cstdint>

#include "ops/backend.h"

namespace ingot::quant {

// h = rᵀ · r with a lower triangular r, in place: r takes the lower triangle. (Not h = r · rᵀ: this one begins at the
// last row.) False, and h spoilt, when h is not positive definite.   h: [n, n], of which the lower triangle is read
bool FactorFromTheEnd(const ops::Host& host, int64_t n, float* h);

}  // namespace ingot::quant
