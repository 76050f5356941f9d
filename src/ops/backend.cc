#include "ops/backend.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "kernels/kernel_table.h"
#include "ops/context.h"

namespace ingot::ops {
namespace {

kernels::Isa IsaNamed(std::string_view name) {
  kernels::Isa isa = kernels::ChosenIsa();
  if (!name.empty()) INGOT_CHECK(kernels::ParseIsa(name, &isa));
  return isa;
}

}  // namespace

Result<Scratch> Scratch::Allocate(Backend& backend, int64_t bytes) {
  Scratch scratch;
  INGOT_ASSIGN_OR_RETURN(scratch.buffer_, backend.Allocate(bytes));
  scratch.device_ = backend.device();
  return scratch;
}

std::byte* Scratch::TakeBytes(int64_t bytes) {
  INGOT_CHECK(bytes >= 0 && bytes <= buffer_.size() - used_);
  std::byte* const taken = buffer_.data() + used_;
  used_ = std::min((used_ + bytes + 63) / 64 * 64, buffer_.size());
  peak_ = std::max(peak_, used_);
  return taken;
}

TensorView Scratch::Take(DType dtype, Shape shape) {
  const int64_t bytes = shape.NumElements() * static_cast<int64_t>(SizeOf(dtype));
  return {.data = TakeBytes(bytes), .dtype = dtype, .shape = shape, .device = device_};
}

Backend::Backend(int num_threads, std::string_view isa)
    : pool_(num_threads), host_{.pool = &pool_, .kernels = &kernels::TableFor(IsaNamed(isa))} {}

Result<Tensor> AllocateTensor(Backend& backend, DType dtype, Shape shape) {
  INGOT_ASSIGN_OR_RETURN(Buffer buffer, backend.Allocate(shape.NumElements() * static_cast<int64_t>(SizeOf(dtype))));
  return Tensor(std::move(buffer), dtype, shape, backend.device());
}

Result<Tensor> ToDevice(Backend& backend, const std::vector<float>& values) {
  if (values.empty()) return Tensor();
  INGOT_ASSIGN_OR_RETURN(Tensor tensor, AllocateTensor(backend, DType::kF32, {std::ssize(values)}));
  backend.Upload(tensor.Data<std::byte>(), values.data(), tensor.view().bytes());
  return tensor;
}

}  // namespace ingot::ops
