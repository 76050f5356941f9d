#include "tensor/tensor.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <limits>

namespace ingot {
namespace {

// From here on a huge page fits; smaller pieces come from the heap.
constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kSmallPage = 4096;
constexpr int64_t kAlignment = 64;

}  // namespace

Shape::Shape(std::initializer_list<int64_t> dims) {
  INGOT_CHECK(dims.size() <= dims_.size());
  for (const int64_t dim : dims) {
    INGOT_CHECK(dim >= 0);
    dims_[static_cast<size_t>(rank_++)] = dim;
  }
}

int64_t Shape::NumElements() const {
  int64_t count = 1;
  for (int i = 0; i < rank_; ++i) count *= (*this)[i];
  return count;
}

std::string Shape::ToString() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", (*this)[i]);
  return text + "]";
}

Buffer Buffer::Adopt(std::byte* data, int64_t size, Release release) {
  Buffer buffer;
  buffer.data_ = {data, Free(release, size)};
  buffer.size_ = size;
  return buffer;
}

Result<Buffer> Buffer::Allocate(int64_t bytes) {
  if (bytes < 0 || bytes > std::numeric_limits<int64_t>::max() - 2 * kHugePage) {
    return InvalidArgument("a buffer of {} bytes", bytes);
  }
  if (bytes < kHugePage) {
    const int64_t padded = (bytes + kAlignment) / kAlignment * kAlignment;  // at least one, so that data() is not null
    auto* heap = static_cast<std::byte*>(std::aligned_alloc(kAlignment, static_cast<size_t>(padded)));
    if (heap == nullptr) return ResourceExhausted("no memory for {} bytes", bytes);
    std::memset(heap, 0, static_cast<size_t>(padded));
    return Adopt(heap, bytes, [](std::byte* data, int64_t) { std::free(data); });
  }
  // Mapped with room to begin on a huge page; what is before and after is given back. It ends with small pages: a
  // model has hundreds of matrices, and each would waste a megabyte in its last huge page.
  const int64_t size = (bytes + kSmallPage - 1) / kSmallPage * kSmallPage;
  void* mapped = mmap(nullptr, static_cast<size_t>(size + kHugePage), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return ResourceExhausted("no memory for {} bytes", bytes);
  auto* begin = static_cast<std::byte*>(mapped);
  const int64_t past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(begin) % kHugePage);
  const int64_t head = (kHugePage - past) % kHugePage;
  if (head > 0) munmap(begin, static_cast<size_t>(head));
  if (head < kHugePage) munmap(begin + head + size, static_cast<size_t>(kHugePage - head));
  madvise(begin + head, static_cast<size_t>(size), MADV_HUGEPAGE);
  return Adopt(begin + head, bytes, [](std::byte* data, int64_t count) {
    munmap(data, static_cast<size_t>((count + kSmallPage - 1) / kSmallPage * kSmallPage));
  });
}

Tensor::Tensor(Buffer buffer, DType dtype, Shape shape, Device device)
    : buffer_(std::move(buffer)), view_{.data = buffer_.data(), .dtype = dtype, .shape = shape, .device = device} {
  INGOT_CHECK(view_.bytes() <= buffer_.size());
}

Result<Tensor> Tensor::Allocate(DType dtype, Shape shape) {
  int64_t bytes = static_cast<int64_t>(SizeOf(dtype));
  for (int i = 0; i < shape.rank(); ++i) {
    if (__builtin_mul_overflow(bytes, shape[i], &bytes)) {
      return InvalidArgument("a tensor of shape {} passes 2^63 bytes", shape.ToString());
    }
  }
  INGOT_ASSIGN_OR_RETURN(Buffer buffer, Buffer::Allocate(bytes));
  return Tensor(std::move(buffer), dtype, shape, {});
}

}  // namespace ingot
