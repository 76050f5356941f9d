// Memory with a type and a shape. Contiguous, row-major.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "base/check.h"
#include "base/status.h"
#include "tensor/dtype.h"

namespace ingot {

enum class DeviceKind : uint8_t { kCpu, kCuda };
struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

// Up to four dimensions.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);
  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t NumElements() const;
  bool operator==(const Shape&) const = default;
  std::string ToString() const;  // "[3, 64]"

 private:
  std::array<int64_t, 4> dims_{};
  int rank_ = 0;
};

// Borrows memory.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;
  Device device;

  template <typename T>
  T* Data() const {
    return static_cast<T*>(data);
  }
  int64_t bytes() const { return shape.NumElements() * static_cast<int64_t>(SizeOf(dtype)); }
};

// Owns zeroed memory, 64-byte aligned; big pieces come straight from the kernel, so untouched pages cost nothing, and
// ask for huge pages.
class Buffer {
 public:
  Buffer() = default;
  static Result<Buffer> Allocate(int64_t bytes);
  std::byte* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    Free() : mapped(0) {}
    explicit Free(int64_t mapped_bytes) : mapped(mapped_bytes) {}
    void operator()(std::byte* p) const;
    int64_t mapped;  // 0: from the heap
  };
  std::unique_ptr<std::byte, Free> data_;
  int64_t size_ = 0;
};

// Owns its memory.
class Tensor {
 public:
  Tensor() = default;
  static Result<Tensor> Allocate(DType dtype, Shape shape);
  const TensorView& view() const { return view_; }
  template <typename T>
  T* Data() const {
    return view_.Data<T>();
  }
  const Shape& shape() const { return view_.shape; }

 private:
  Buffer buffer_;
  TensorView view_;
};

}  // namespace ingot
