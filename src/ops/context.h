// What every op needs besides its operands.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/tensor.h"

namespace ingot::ops {

class Backend;
class Profile;

// kFast: activations in int8 per token and group of 32 before products with 2…8-bit weights (W4A8), bf16 before
// products with bf16 weights where the device multiplies those; on tiles bf16 before all products, attention's too.
// kExact: fp32 activations times dequantized fp32 weights.
enum class Compute : uint8_t { kFast, kExact };

// A bump allocator over one buffer of a backend's memory that is sized once. Marks nest: Scratch::Mark frees on scope
// exit what was taken since.
class Scratch {
 public:
  static Result<Scratch> Allocate(Backend& backend, int64_t bytes);
  // 64-byte aligned, uninitialized. Running out is a bug of the caller's plan (INGOT_CHECK).
  template <typename T>
  T* Take(int64_t count) {
    return reinterpret_cast<T*>(TakeBytes(count * static_cast<int64_t>(sizeof(T))));
  }
  TensorView Take(DType dtype, Shape shape);
  int64_t used() const { return used_; }
  int64_t peak() const { return peak_; }
  int64_t size() const { return buffer_.size(); }

  class Mark {
   public:
    explicit Mark(Scratch& scratch) : scratch_(scratch), used_(scratch.used_) {}
    ~Mark() { scratch_.used_ = used_; }
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;

   private:
    Scratch& scratch_;
    int64_t used_;
  };

 private:
  std::byte* TakeBytes(int64_t bytes);
  Buffer buffer_;
  Device device_;
  int64_t used_ = 0, peak_ = 0;
};

// Thread safety: one op at a time per Context.
struct Context {
  Backend* backend;
  Scratch* scratch;  // of the backend's memory: activations, and what ops need for themselves
  Compute compute;
  Profile* profile = nullptr;  // times every op (ops/profile.h)
};

}  // namespace ingot::ops
