// What code compiled with -fsanitize=thread calls before each access to memory. The program is linked without the
// sanitizer's own library: these are its functions.
#include "kernels/cuda/emulator/hooks.h"

#include <cstring>

#include "kernels/cuda/emulator/primitives.h"

using ingot::kernels::emulator::Access;
using ingot::kernels::emulator::CheckAccess;

#define INGOT_HOOKS(bytes)                                                               \
  void __tsan_read##bytes(void* p) { CheckAccess(p, bytes, Access::kRead); }             \
  void __tsan_write##bytes(void* p) { CheckAccess(p, bytes, Access::kWrite); }           \
  void __tsan_unaligned_read##bytes(void* p) { CheckAccess(p, bytes, Access::kRead); }   \
  void __tsan_unaligned_write##bytes(void* p) { CheckAccess(p, bytes, Access::kWrite); } \
  void __tsan_volatile_read##bytes(void* p) { CheckAccess(p, bytes, Access::kRead); }    \
  void __tsan_volatile_write##bytes(void* p) { CheckAccess(p, bytes, Access::kWrite); }  \
  void __tsan_read_write##bytes(void* p) { CheckAccess(p, bytes, Access::kWrite); }      \
  void __tsan_unaligned_read_write##bytes(void* p) { CheckAccess(p, bytes, Access::kWrite); }

extern "C" {
INGOT_HOOKS(1)
INGOT_HOOKS(2)
INGOT_HOOKS(4)
INGOT_HOOKS(8)
INGOT_HOOKS(16)
void __tsan_read_range(void* p, size_t bytes) { CheckAccess(p, bytes, Access::kRead); }
void __tsan_write_range(void* p, size_t bytes) { CheckAccess(p, bytes, Access::kWrite); }
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  CheckAccess(from, bytes, Access::kRead);
  CheckAccess(to, bytes, Access::kWrite);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  CheckAccess(from, bytes, Access::kRead);
  CheckAccess(to, bytes, Access::kWrite);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, size_t bytes) {
  CheckAccess(to, bytes, Access::kWrite);
  return std::memset(to, value, bytes);
}
void __tsan_init() { ingot::kernels::emulator::SayThatAccessesAreSeen(); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
