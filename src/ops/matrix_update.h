// Updates of dense f32 matrices in the host's memory, in place, for what is computed offline: Gram matrices, Cholesky
// factors, feedback.
#pragma once

#include "kernels/matrix_update.h"
#include "ops/backend.h"

namespace ingot::ops {

using MatrixUpdateParams = kernels::MatrixUpdateParams;

// c += alpha · aᵀ · b.   a: [depth, m], b: [depth, n], c: [m, n], each with a row stride. c overlaps neither a nor b.
// The bits of c do not depend on the number of threads.
void AddProduct(const Host& host, const MatrixUpdateParams& params);

// The same where the product is symmetric and only c[i][j] with j <= i is wanted (others may or may not change).
void AddProductLower(const Host& host, const MatrixUpdateParams& params);

// c[j][i] = c[i][j] for j < i.   c: [n, n]
void MirrorLower(const Host& host, float* c, int64_t n);

}  // namespace ingot::ops
