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

// Borrows memory of a device. The host reads and writes `data` only where the device is the CPU.
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
  bool empty() const { return data == nullptr; }
  // The first elements, in another shape.
  TensorView As(Shape other) const {
    INGOT_CHECK(other.NumElements() <= shape.NumElements());
    return {data, dtype, other, device};
  }
  // Rows [begin, begin + count) of a matrix.
  TensorView Rows(int64_t begin, int64_t count) const {
    INGOT_CHECK(shape.rank() == 2 && begin >= 0 && count >= 0 && begin + count <= shape[0]);
    return {
        Data<std::byte>() + begin * shape[1] * static_cast<int64_t>(SizeOf(dtype)), dtype, {count, shape[1]}, device};
  }
};

// Owns memory of a device, 64-byte aligned.
class Buffer {
 public:
  using Release = void (*)(std::byte* data, int64_t size);

  Buffer() = default;
  // The host's, zeroed. Big pieces come straight from the operating system, so untouched pages cost nothing, and ask
  // for huge pages.
  static Result<Buffer> Allocate(int64_t bytes);
  // Takes over `data`, which `release` frees.
  static Buffer Adopt(std::byte* data, int64_t size, Release release);
  std::byte* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    Free() : release(nullptr), size(0) {}
    Free(Release how, int64_t bytes) : release(how), size(bytes) {}
    Release release;
    int64_t size;
    void operator()(std::byte* data) const { release(data, size); }
  };
  std::unique_ptr<std::byte, Free> data_;
  int64_t size_ = 0;
};

// Owns its memory.
class Tensor {
 public:
  Tensor() = default;
  Tensor(Buffer buffer, DType dtype, Shape shape, Device device);
  static Result<Tensor> Allocate(DType dtype, Shape shape);  // the host's, zeroed
  const TensorView& view() const { return view_; }
  bool empty() const { return view_.empty(); }
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
