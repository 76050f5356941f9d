#include "ops/cpu/backend.h"

#include <cstring>

#include "base/check.h"

namespace ingot::ops {

std::unique_ptr<Backend> MakeCpuBackend(int num_threads, std::string_view isa) {
  return std::make_unique<CpuBackend>(num_threads, isa);
}

namespace {

// memcpy takes no null pointer, not even for no bytes.
void CopyBytes(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace

void CpuBackend::Upload(std::byte* to, const void* from, int64_t bytes) { CopyBytes(to, from, bytes); }
void CpuBackend::Download(void* to, const std::byte* from, int64_t bytes) { CopyBytes(to, from, bytes); }
void CpuBackend::Copy(std::byte* to, const std::byte* from, int64_t bytes) { CopyBytes(to, from, bytes); }

}  // namespace ingot::ops
