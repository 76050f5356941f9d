// What the machine does at most, measured: for `ingot bench roofline` and to compare kernels with.
#pragma once

#include "base/thread_pool.h"
#include "ops/limits.h"
#include "tensor/tensor.h"

namespace ingot::cli {

double Now();  // seconds of a steady clock

// Multiply-adds a second of all threads together, over at least `seconds`.
double MultiplyRate(ThreadPool& pool, const ops::MultiplyLimit& limit, double seconds);
// Bytes a second: `bytes` of `buffer` in all, each thread its own part, in pieces of up to 1 MiB.
// REQUIRES: bytes >= 1024 a thread
double ReadRate(ThreadPool& pool, const Buffer& buffer, int64_t bytes, double seconds);

// A buffer whose pages are its own, so that reading it reads memory.
Result<Buffer> TouchedBuffer(int64_t bytes);

}  // namespace ingot::cli
